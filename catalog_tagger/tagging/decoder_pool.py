"""The decoders of one shard: a bounded number of tracks at a time, each in a process of its own.

Failure rule: whatever a decoder does, its track ends in one way, and no other track notices.

- The process dies: the track is decoded again from its start; the third time it is
  ``decoder_crashed``. A process that was lost with its node, or whose samples were, has not failed: its
  track is decoded again without being counted.
- No item comes for longer than is allowed for a minute of audio: the process is killed and the track is
  ``decoder_timeout``. Time counts from the process's first sign, not while it waits for a free core.
- A node where decoding cannot even begin, since it lacks the package, ends the shard.
- A store that refuses access while a decoder reads ends the shard; so does one that fails for every large
  object, as for every small one (`fetching`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
import ray.exceptions

from catalog_tagger.audio import BLOCK_S, SAMPLE_RATE_HZ, StreamInfo
from catalog_tagger.errors import AudioError, RunError, StorageError
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.decoding import Started, decode_task
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import StoreHealth
from catalog_tagger.tagging.heard import Heard

#: times that a track may kill its decoder; one kill may be another program's doing
_MOST_CRASHES: Final = 3
#: times that a track may lose its node, so that nothing goes on for ever
_MOST_LOSSES: Final = 20
#: encoded bytes in the hands of decoders at a time, beside those of local files
_IN_FLIGHT_BYTES: Final = 512 * 2**20
_LOOK_EVERY_S: Final = 1.0
#: what a decoder that reads over the network may lose to retries within one block
_NETWORK_S: Final = 180.0

#: what Ray raises for an item of a decoder whose process is gone ...
_CRASHES: Final = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.TaskCancelledError,
)
#: ... or whose node is
_LOSSES: Final = (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError)


@dataclass(kw_only=True, eq=False)
class Track:
    """A track on its way through the actor."""

    row: dict[str, Any]
    info: StreamInfo | None = None
    n_samples: int = 0
    heard: Heard = field(default_factory=Heard)
    unscored: int = 0
    """Segments that wait for the models."""
    ended: bool = False
    """No further samples will come."""
    error: AudioError | None = None


@dataclass(kw_only=True, eq=False)
class _Decoder:
    track: Track
    encoded: Any
    """Reference to the `Encoded`."""
    held_bytes: int
    is_remote: bool
    """It reads from object storage by itself."""
    timeout_s: float
    crashes: int = 0
    losses: int = 0
    started: Started | None = None
    waited_since: float = 0.0


class DecoderPool:
    """Decode tracks as they are fetched.

    Parameters
    ----------
    most
        Tracks at a time.
    max_duration_s, memory_bytes
        Bounds of one track, as of `decoding`.
    timeout_s
        Most seconds for a minute of audio.
    health
        Of the store that large objects are read from.
    """

    def __init__(
        self, *, most: int, max_duration_s: float, memory_bytes: int, timeout_s: float, health: StoreHealth
    ) -> None:
        self._most = most
        self._limits = {"max_duration_s": max_duration_s, "memory_bytes": memory_bytes}
        self._timeout_s = timeout_s * BLOCK_S / 60.0
        self._running: dict[Any, _Decoder] = {}
        self._health = health

    def run(self, fetched: Iterator[tuple[dict[str, Any], Encoded | AudioError]]) -> Iterator[tuple[Track, Pcm | None]]:
        """Blocks of all tracks as they come.

        Yields
        ------
        (track, block)
            A block of int16 samples, or None when something else happened to the track; `Track.ended`
            is set with the last item of each. A track that is begun anew yields a new `Track`; what came
            of the old one is void, and it never ends.

        Raises
        ------
        StorageError
            Access was refused, or the store cannot be reached.
        """
        more = True
        try:
            while more or self._running:
                while more and self._has_room():
                    row, encoded = next(fetched, (None, None))
                    if row is None or encoded is None:
                        more = False
                    elif isinstance(encoded, AudioError):
                        yield Track(row=row, ended=True, error=encoded), None
                    else:
                        self._begin(self._new(row, encoded))
                if not self._running:
                    continue
                streams = list(self._running)
                ready, _ = ray.wait(streams, num_returns=1, fetch_local=False, timeout=_LOOK_EVERY_S)
                for stream in ready:
                    decoder = self._running[stream]
                    block = self._take(stream, decoder)
                    yield decoder.track, block
                for decoder in self._kill_overdue():
                    yield decoder.track, None
        finally:
            for stream in self._running:
                ray.cancel(stream, force=True)
            self._running.clear()

    def _has_room(self) -> bool:
        held = sum(decoder.held_bytes for decoder in self._running.values())
        return len(self._running) < self._most and held < _IN_FLIGHT_BYTES

    def _new(self, row: dict[str, Any], encoded: Encoded) -> _Decoder:
        return _Decoder(
            track=Track(row=row),
            encoded=ray.put(encoded),
            held_bytes=0 if encoded.data is None else encoded.data.nbytes,
            is_remote=encoded.uri is not None,
            timeout_s=self._timeout_s + (_NETWORK_S if encoded.uri is not None else 0.0),
        )

    def _begin(self, decoder: _Decoder) -> None:
        decoder.started = None
        self._running[decode_task.remote(decoder.encoded, **self._limits)] = decoder

    def _take(self, stream: Any, decoder: _Decoder) -> Pcm | None:
        """The next item of a decoder: a block is returned, anything else goes into the track."""
        track = decoder.track
        try:
            item = ray.get(next(stream))
        except _LOSSES + _CRASHES as error:
            del self._running[stream]
            self._again(decoder, error)
            return None
        except ray.exceptions.RayTaskError as error:  # not of the track: decoding catches whatever its bytes do
            reason = str(error.cause or error).strip().splitlines() or [type(error).__name__]
            raise RunError(f"a node cannot decode ({reason[-1]}); install the same version on all nodes") from error
        decoder.waited_since = time.monotonic()
        if isinstance(item, np.ndarray):
            if decoder.is_remote:
                self._health.note(None)
            return item
        if isinstance(item, Started):
            decoder.started = item
        elif isinstance(item, StreamInfo):
            track.info = item
        else:
            del self._running[stream]
            if isinstance(item, StorageError):
                raise item
            if decoder.is_remote and isinstance(item, AudioError) and item.code == "unreadable":
                self._health.note(StorageError(f"{track.row['uri']}: {item}", transient=True))
            track.ended, track.error = True, item
        return None

    def _again(self, decoder: _Decoder, error: Exception) -> None:
        """Decode a track anew whose process is gone, or give it up."""
        if isinstance(error, _LOSSES) or not _is_alive(decoder.started):
            decoder.losses += 1
        else:
            decoder.crashes += 1
        if decoder.crashes >= _MOST_CRASHES or decoder.losses >= _MOST_LOSSES:
            times = decoder.crashes + decoder.losses
            message = f"the decoding process died {times} times: {type(error).__name__}"
            decoder.track.ended, decoder.track.error = True, AudioError("decoder_crashed", message)
            return
        decoder.track = Track(row=decoder.track.row)
        self._begin(decoder)

    def _kill_overdue(self) -> Iterator[_Decoder]:
        """End the decoders that have given nothing for too long."""
        now = time.monotonic()
        for stream, decoder in list(self._running.items()):
            started = decoder.started
            if started is None or now - decoder.waited_since <= decoder.timeout_s:
                continue
            if ray.wait([stream], timeout=0, fetch_local=False)[0]:
                continue  # an item waits for us, not we for it
            del self._running[stream]
            ray.cancel(stream, force=True)
            _kill(started)
            message = f"no further audio within {decoder.timeout_s:.0f} s"
            decoder.track.ended, decoder.track.error = True, AudioError("decoder_timeout", message)
            yield decoder


def _is_alive(started: Started | None) -> bool:
    """Whether the node of a decoder still is there; so it seems for one that never gave a sign."""
    if started is None or started.node_id == ray.get_runtime_context().get_node_id():
        return True
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == started.node_id)


def _kill(started: Started) -> None:
    """End a process of this node for certain: a stopped one does not hear Ray."""
    if started.node_id != ray.get_runtime_context().get_node_id():
        return
    try:
        if b"ray::" in Path(f"/proc/{started.pid}/cmdline").read_bytes():
            os.kill(started.pid, signal.SIGKILL)
    except OSError:
        return  # it has ended, or this is no Linux and Ray's own way must do


def heard_s(block: Pcm) -> float:
    """Seconds of a block."""
    return len(block) / SAMPLE_RATE_HZ
