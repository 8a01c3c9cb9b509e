"""Decoding in processes of its own, as streaming Ray tasks nested in the tagging actor.

One task decodes one track and yields, in order: `Started`, a `StreamInfo`, int16 blocks of two minutes, and one
last item, the `AudioError` that ended the track or None. At most two blocks wait unread, so an hour
of audio never piles up, and a decoder that dies takes only its own track along.

What a decoder reads, `Encoded`, is a place in a local file, or the bytes themselves where they came
over the network; it never gets credentials, or a name it could open by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import ray

from catalog_tagger.audio import AudioStream, StreamInfo
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.encoded import Encoded

#: blocks that a decoder may be ahead of the actor
_BLOCKS_AHEAD: Final = 2


@dataclass(frozen=True, kw_only=True)
class Started:
    """The first item of a decoder: which process it is."""

    pid: int
    node_id: str


def decode(encoded: Encoded, *, max_duration_s: float) -> Iterator[StreamInfo | Pcm | AudioError | StorageError | None]:
    """Decode one track in this process; the order of items is the module's, without `Started`."""
    try:
        with encoded.open() as file, AudioStream(file, max_duration_s=max_duration_s) as stream:
            yield stream.info
            yield from stream.blocks()
    except AudioError as error:
        yield error
    except OSError as error:
        yield AudioError("unreadable", error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - the bytes are hostile, and one track must never end the shard
        yield AudioError("decode_failed", f"the decoder failed on these bytes: {type(error).__name__}")
    else:
        yield None


def _decode_task(
    encoded: Encoded, *, max_duration_s: float, memory_bytes: int
) -> Iterator[Started | StreamInfo | Pcm | AudioError | StorageError | None]:
    yield Started(pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())
    yield from decode(encoded, max_duration_s=max_duration_s)


#: `decode` as a streaming task: one process, one core, never tried twice
decode_task = ray.remote(
    num_cpus=1,
    max_retries=0,
    num_returns="streaming",
    _generator_backpressure_num_objects=_BLOCKS_AHEAD,
)(_decode_task)
