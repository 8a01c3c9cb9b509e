"""Decoding in processes of its own, as streaming Ray tasks nested in the tagging actor.

One task decodes one track and yields, in order: `Started`, a `StreamInfo`, int16 blocks of two minutes, and one
last item: None, the `AudioError` that ended the track, or the systemic `StorageError` that ends the job. At most two
blocks wait unread, so an hour of audio never piles up, and a decoder that dies takes only its own track along.

What a decoder reads is an `Encoded`: a place in a local file, an object in a store, or the bytes themselves. FFmpeg
gets it as a file that is open already, and never a name.

Failure rule: whatever the bytes do short of ending the process, the last item says it. A read that failed explains
all that came of it, since FFmpeg may take it for the end of the file. Decoding has a limit on memory
(`catalog_tagger.tagging.memory`); FFmpeg does without some things that it was refused, such as the index of an MP4
file, and that track ends by what is left of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import IO, Final, cast

import ray

from catalog_tagger.audio import AudioStream, StreamInfo
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.memory import within

#: blocks that a decoder may be ahead of the actor
_BLOCKS_AHEAD: Final = 2


@dataclass(frozen=True, kw_only=True)
class Started:
    """The first item of a decoder: which process it is."""

    pid: int
    node_id: str


def decode(
    encoded: Encoded, *, max_duration_s: float, memory_bytes: int | None = None
) -> Iterator[StreamInfo | Pcm | AudioError | StorageError | None]:
    """Decode one track in this process; the order of items is the module's, without `Started`.

    Parameters
    ----------
    max_duration_s
        As `AudioStream`.
    memory_bytes
        What decoding may take beyond what the process has now, where the system can tell (Linux).
    """
    watched: _Watched | None = None
    end: AudioError | StorageError | None = None
    try:
        with encoded.open() as file:
            watched = _Watched(file)
            yield from within(memory_bytes, _listen(cast(IO[bytes], watched), max_duration_s))
    except Exception as error:  # noqa: BLE001 - the bytes are hostile, and one track must never end the shard
        end = _explained(error, memory_bytes)
    failure = watched.failure() if watched is not None else None
    yield end if failure is None else _explained(failure, memory_bytes)


class _Watched:
    """A file that remembers the failure of a read: FFmpeg may take it for the end of the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._raised: Exception | None = None

    def failure(self) -> Exception | None:
        """What a read met, by the file's own account or by this one."""
        own: Exception | None = getattr(self._file, "failure", None)
        return own or self._raised

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            self._raised = error
            raise

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(to, whence)

    def tell(self) -> int:
        return self._file.tell()


def _listen(file: IO[bytes], max_duration_s: float) -> Iterator[StreamInfo | Pcm]:
    with AudioStream(file, max_duration_s=max_duration_s) as stream:
        yield stream.info
        yield from stream.blocks()


def _explained(error: Exception, memory_bytes: int | None) -> AudioError | StorageError:
    """The last item for what went wrong; always a new one, as tracebacks keep the decoder and its memory alive."""
    if isinstance(error, MemoryError) or (isinstance(error, AudioError) and error.code == "out_of_memory"):
        allowed = "there is" if memory_bytes is None else f"the {memory_bytes / 2**20:.0f} MiB it may have"
        return AudioError("out_of_memory", f"decoding asked for more memory than {allowed}")
    if isinstance(error, AudioError) or (isinstance(error, StorageError) and error.systemic):
        return copy(error)
    if isinstance(error, StorageError):
        return AudioError("unreadable", str(error))
    if isinstance(error, FileNotFoundError):
        return AudioError("not_found", "no such object")
    if isinstance(error, OSError):
        return AudioError("unreadable", error.strerror or type(error).__name__)
    return AudioError("decode_failed", f"the decoder failed on these bytes: {type(error).__name__}")


def _decode_task(
    encoded: Encoded, *, max_duration_s: float, memory_bytes: int
) -> Iterator[Started | StreamInfo | Pcm | AudioError | StorageError | None]:
    yield Started(pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())
    yield from decode(encoded, max_duration_s=max_duration_s, memory_bytes=memory_bytes)


#: `decode` as a streaming task: one process, one core, never tried twice
decode_task = ray.remote(
    num_cpus=1,
    max_retries=0,
    num_returns="streaming",
    _generator_backpressure_num_objects=_BLOCKS_AHEAD,
)(_decode_task)
