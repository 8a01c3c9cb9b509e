"""Decoding in processes of its own, as streaming Ray tasks nested in the tagging actor.

One task decodes one track and yields, in order: `Started`, a `StreamInfo`, int16 blocks of two minutes, and one
last item: None, the `AudioError` that ended the track, or the systemic `StorageError` that ends the job. At most two
blocks wait unread, so an hour of audio never piles up, and a decoder that dies takes only its own track along.

A task that is to take a look (`skimming`) yields `Windows` in place of the blocks, by seeking. Where the track does not
lend itself to that, it yields the blocks as if it had not been asked: the length is unknown or not one that is
skimmed, the container cannot seek, or a place has less audio than the headers promise.

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
from typing import IO, Final, TypeAlias, cast

import numpy as np
import ray

from catalog_tagger.audio import (
    SEGMENT_S,
    SEGMENT_SAMPLES,
    AudioStream,
    StreamInfo,
    cut_segments,
    seconds_to_samples,
    segment_count,
)
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.memory import within
from catalog_tagger.tagging.skimming import Depth, may_skim, new_places
from catalog_tagger.tagging.turns import ask_for_long_turns
from catalog_tagger.tracing import span

#: blocks that a decoder may be ahead of the actor
_BLOCKS_AHEAD: Final = 2


@dataclass(frozen=True, kw_only=True)
class Started:
    """The first item of a decoder: which process it is."""

    pid: int
    node_id: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a decoder is to give of a track at first, or once more."""

    depth: Depth
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Some segments of a track, by one look at it."""

    places: tuple[int, ...]
    """Numbers of the segments, ascending."""
    samples: Pcm
    """Shape (places, 80000)."""
    n_samples: int
    """Of the whole track, by its headers."""


Item: TypeAlias = "StreamInfo | Pcm | Windows | AudioError | StorageError | None"


def decode(
    encoded: Encoded, *, max_duration_s: float, memory_bytes: int | None = None, look: Look | None = None
) -> Iterator[Item]:
    """Decode one track in this process; the order of items is the module's, without `Started`.

    Parameters
    ----------
    max_duration_s
        As `AudioStream`.
    memory_bytes
        What decoding may take beyond what the process has now, where the system can tell (Linux).
    look
        Take this look, where the track lends itself to it; None: decode the whole.
    """
    watched: _Watched | None = None
    end: AudioError | StorageError | None = None
    try:
        with encoded.open() if look is None else encoded.open(sparse=True) as file:
            watched = _Watched(file)
            yield from within(memory_bytes, _listen(cast(IO[bytes], watched), max_duration_s, look))
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


def _listen(file: IO[bytes], max_duration_s: float, look: Look | None) -> Iterator[StreamInfo | Pcm | Windows]:
    with AudioStream(file, max_duration_s=max_duration_s) as stream:
        yield stream.info
        windows = None if look is None else _look(stream, max_duration_s, look)
        if windows is not None:
            yield windows
            return
        if look is None:
            yield from stream.blocks()
            return
    with AudioStream(file, max_duration_s=max_duration_s) as again:  # where a look has left it is anybody's guess
        yield from again.blocks()


def _look(stream: AudioStream, max_duration_s: float, look: Look) -> Windows | None:
    """The segments that a look adds; None where they cannot be had so."""
    announced_s = stream.info.announced_s
    if announced_s is None or announced_s > max_duration_s:
        return None
    n_samples = seconds_to_samples(announced_s)
    n_segments = segment_count(n_samples)
    if not may_skim(n_segments, look.depth):
        return None
    wanted = new_places(n_segments, look.number)
    parts = []
    for place in wanted:
        try:
            part = stream.window(place * SEGMENT_S)
        except AudioError:
            return None
        if len(part) < min(SEGMENT_SAMPLES, n_samples - place * SEGMENT_SAMPLES):
            return None
        parts.append(cut_segments(part))
    return Windows(places=wanted, samples=np.concatenate(parts), n_samples=n_samples)


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
    encoded: Encoded, *, max_duration_s: float, memory_bytes: int, look: Look | None
) -> Iterator[Started | Item]:
    ask_for_long_turns()
    yield Started(pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())
    with span("decode", uri=encoded.track_uri, look=None if look is None else look.number):
        yield from decode(encoded, max_duration_s=max_duration_s, memory_bytes=memory_bytes, look=look)


#: `decode` as a streaming task: one process, one core, never tried twice
decode_task = ray.remote(
    num_cpus=1,
    max_retries=0,
    num_returns="streaming",
    _generator_backpressure_num_objects=_BLOCKS_AHEAD,
)(_decode_task)
