"""The decoders of one shard: a bounded number of tracks at a time, each in a process of its own.

Failure rule: whatever a decoder does, its track ends in one way, and no other track notices.

- The process dies: the track is decoded again from its start; the third time it is
  ``decoder_crashed``. A process that was lost with its node, or whose samples were, has not failed: its
  track is decoded again without being counted.
- No item comes for longer than is allowed for a minute of audio: the process is killed and the track is
  ``decoder_timeout``. Time counts from the process's first sign, not while it waits for a free core.
- A track that is looked at here and there (`skimming`) has not ended with its decoder: whoever hears it says what is
  to come of it, `more` or `scan`, or settles it, and until then its encoded bytes are kept.
- A node where decoding cannot even begin, since it lacks the package, ends the shard.
- A store that refuses access while a decoder reads ends the shard; so does one that fails for every large
  object, as for every small one (`fetching`).
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
import ray.exceptions

from catalog_tagger.audio import BLOCK_S, SAMPLE_RATE_HZ, StreamInfo
from catalog_tagger.errors import AudioError, RunError, StorageError
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.decoding import Look, Started, Windows, decode_task
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import StoreHealth
from catalog_tagger.tagging.heard import Heard
from catalog_tagger.tagging.skimming import Depth

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
    look: int = 0
    """Number of the last look at it, where it is skimmed."""
    places: list[int] = field(default_factory=list)
    """Numbers of the segments that came by looks, in the order they came."""
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
    look: Look | None
    """What it is asked for; None: the whole."""
    crashes: int = 0
    losses: int = 0
    started: Started | None = None
    started_at: float = 0.0
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
    depth
        Whether tracks are scanned, or looked at first.
    on_decoded
        Is told how long a decoder took, from its first sign to its last item.
    """

    def __init__(
        self,
        *,
        most: int,
        max_duration_s: float,
        memory_bytes: int,
        timeout_s: float,
        health: StoreHealth,
        depth: Depth = "scan",
        on_decoded: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._most = most
        self._first_look = None if depth == "scan" else Look(depth=depth)
        self._limits = {"max_duration_s": max_duration_s, "memory_bytes": memory_bytes}
        self._on_decoded = on_decoded
        self._timeout_s = timeout_s * BLOCK_S / 60.0
        self._running: dict[Any, _Decoder] = {}
        self._open: dict[int, _Decoder] = {}
        self._waiting: deque[_Decoder] = deque()
        self._more = True
        self._health = health

    @property
    def running(self) -> int:
        """Tracks that are being decoded."""
        return len(self._running)

    def is_open(self, track: Track) -> bool:
        """Whether a track was looked at and has to be decided on."""
        return id(track) in self._open

    def more(self, track: Track) -> None:
        """Take another look at a track."""
        decoder = self._open.pop(id(track))
        assert decoder.look is not None, "who was not looked at is scanned"
        track.look += 1
        decoder.look = replace(decoder.look, number=track.look)
        self._waiting.append(decoder)

    def scan(self, track: Track) -> None:
        """Decode the whole of a track, as a new `Track`."""
        self._begin_whole(self._open.pop(id(track)))

    def _begin_whole(self, decoder: _Decoder) -> None:
        decoder.track, decoder.look = Track(row=decoder.track.row), None
        self._waiting.append(decoder)

    def settle(self, track: Track) -> None:
        """A track needs nothing more."""
        del self._open[id(track)]
        track.ended = True

    def run(
        self, fetched: Iterator[tuple[dict[str, Any], Encoded | AudioError]]
    ) -> Iterator[tuple[Track, Pcm | Windows | None] | None]:
        """Blocks of all tracks as they come.

        Yields
        ------
        (track, block)
            A block of int16 samples, `Windows`, or None when something else happened to the track; `Track.ended`
            is set with the last item of each that is not skimmed. A track that is begun anew yields a new `Track`;
            what came of the old one is void, and it never ends.
        None
            All that can be decoded has been: nothing more comes before a track that was looked at is decided on.

        Raises
        ------
        StorageError
            Access was refused, or the store cannot be reached.
        """
        self._more = True
        try:
            while self._more or self._running or self._open or self._waiting:
                for track in self._fill(fetched):
                    yield track, None
                if not self._running:
                    if self._open:
                        yield None
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
            for decoders in (self._running, self._open, self._waiting):
                decoders.clear()

    def _fill(self, fetched: Iterator[tuple[dict[str, Any], Encoded | AudioError]]) -> Iterator[Track]:
        """Begin as many decoders as there is room for; yields tracks that cannot be decoded."""
        while self._waiting and len(self._running) < self._most:
            self._begin(self._waiting.popleft())
        while self._more and self._has_room():
            row, encoded = next(fetched, (None, None))
            if row is None or encoded is None:
                self._more = False
            elif isinstance(encoded, AudioError):
                yield Track(row=row, ended=True, error=encoded)
            else:
                self._begin(self._new(row, encoded))

    def _has_room(self) -> bool:
        held = sum(decoder.held_bytes for decoder in (*self._running.values(), *self._open.values()))
        return len(self._running) < self._most and held < _IN_FLIGHT_BYTES

    def _new(self, row: dict[str, Any], encoded: Encoded) -> _Decoder:
        return _Decoder(
            track=Track(row=row),
            encoded=ray.put(encoded),
            held_bytes=0 if encoded.data is None else encoded.data.nbytes,
            is_remote=encoded.uri is not None,
            timeout_s=self._timeout_s + (_NETWORK_S if encoded.uri is not None else 0.0),
            look=self._first_look,
        )

    def _begin(self, decoder: _Decoder) -> None:
        decoder.started = None
        self._running[decode_task.remote(decoder.encoded, look=decoder.look, **self._limits)] = decoder

    def _take(self, stream: Any, decoder: _Decoder) -> Pcm | Windows | None:
        """The next item of a decoder: samples are returned, anything else goes into the track."""
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
        if isinstance(item, (np.ndarray, Windows)):
            if decoder.is_remote:
                self._health.note(None)
            return self._samples(stream, decoder, item)
        if isinstance(item, Started):
            decoder.started, decoder.started_at = item, decoder.waited_since
        elif isinstance(item, StreamInfo):
            track.info = item
        else:
            del self._running[stream]
            self._on_decoded(decoder.waited_since - decoder.started_at)
            if isinstance(item, StorageError):
                raise item
            if decoder.is_remote and isinstance(item, AudioError) and item.code == "unreadable":
                self._health.note(StorageError(f"{track.row['uri']}: {item}", transient=True))
            if item is None and track.places:
                self._open[id(track)] = decoder
            else:
                track.ended, track.error = True, item
        return None

    def _samples(self, stream: Any, decoder: _Decoder, item: Pcm | Windows) -> Pcm | Windows | None:
        """Samples as they come, of a track that may be another one than was looked at before."""
        track = decoder.track
        if not isinstance(item, Windows):
            if track.places:  # a later look found that the track does not lend itself to looks: it comes whole
                decoder.track, decoder.look = Track(row=track.row, info=track.info), None
            return item
        if track.places and item.n_samples != track.n_samples:  # another file lies there now
            del self._running[stream]
            ray.cancel(stream, force=True)
            self._begin_whole(decoder)
            return None
        track.places += item.places
        track.n_samples = item.n_samples
        return item

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
        decoder.look = self._first_look if decoder.look is not None else None
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
