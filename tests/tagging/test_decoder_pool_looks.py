"""Tracks that are looked at: what is decoded once more, what whole, and what becomes of those that change meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.cloudpickle

from catalog_tagger.audio import SEGMENT_SAMPLES, StreamInfo
from catalog_tagger.tagging import decoder_pool
from catalog_tagger.tagging.decoder_pool import DecoderPool, Track
from catalog_tagger.tagging.decoding import Look, Started, Windows
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import StoreHealth
from catalog_tagger.tagging.skimming import new_places

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]

SEGMENTS = 30
INFO = StreamInfo(container="flac", codec="flac", sample_rate_hz=16000, channels=1, announced_s=150.0)
WHOLE = SEGMENTS * SEGMENT_SAMPLES


def looked_at(look: Look, *, segments: int = SEGMENTS) -> Windows:
    places = new_places(segments, look.number)
    samples = np.repeat(np.array(places, np.int16)[:, None], SEGMENT_SAMPLES, axis=1)
    return Windows(places=places, samples=samples, n_samples=segments * SEGMENT_SAMPLES)


def decoder(answer: Callable[[Look | None], list[Any]]) -> Any:
    """A decoder task that gives these items after the first two."""

    def decode(*_: object, look: Look | None, **__: object) -> Iterator[Any]:
        import os

        yield Started(pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())
        yield INFO
        for item in [*answer(look), None]:  # noqa: UP028 - Ray cannot send into a list
            yield item

    return ray.remote(num_returns="streaming", max_retries=0)(decode)


def ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Look | None], list[Any]], decisions: list[str]
) -> Track:
    """The track that came of one file, by these decisions after its looks."""
    import sys

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a decoder's process does not find this file
    monkeypatch.setattr(decoder_pool, "decode_task", decoder(answer))
    pool = DecoderPool(
        most=2, max_duration_s=1e9, memory_bytes=2**28, timeout_s=30.0, health=StoreHealth(), depth="auto"
    )
    found: list[Track] = []
    fetched = iter([({"track_id": "a", "uri": "/a.flac"}, Encoded(path=str(tmp_path / "a.flac")))])
    heard: dict[int, int] = {}
    for item in pool.run(fetched):
        if item is None:
            raise AssertionError("a track that was looked at was not decided on")
        track, samples = item
        if isinstance(samples, np.ndarray):
            heard[id(track)] = heard.get(id(track), 0) + len(samples)
            track.n_samples += len(samples)
        if pool.is_open(track):
            getattr(pool, decisions.pop(0))(track)
        if track.ended:
            found.append(track)
    (track,) = found
    assert track.places or heard[id(track)] == track.n_samples
    assert not decisions
    return track


def test_a_second_look_adds_its_places_and_a_settled_track_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = ended(tmp_path, monkeypatch, lambda look: [looked_at(look)] if look else [], ["more", "settle"])
    assert track.places == [*new_places(SEGMENTS, 0), *new_places(SEGMENTS, 1)]
    assert (track.n_samples, track.look, track.error) == (WHOLE, 1, None)


def test_a_track_that_is_to_be_scanned_comes_whole_and_as_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(look: Look | None) -> list[Any]:
        return [looked_at(look)] if look else [np.zeros(WHOLE // 2, np.int16)] * 2

    track = ended(tmp_path, monkeypatch, answer, ["scan"])
    assert (track.places, track.n_samples, track.info) == ([], WHOLE, INFO)


def test_a_later_look_that_cannot_be_taken_gives_the_whole_as_a_new_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(look: Look | None) -> list[Any]:
        return [looked_at(look)] if look and look.number == 0 else [np.zeros(WHOLE // 2, np.int16)] * 2

    track = ended(tmp_path, monkeypatch, answer, ["more"])
    assert (track.places, track.n_samples, track.info) == ([], WHOLE, INFO)


def test_a_file_that_has_another_length_at_a_later_look_is_decoded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(look: Look | None) -> list[Any]:
        if look is None:
            return [np.zeros(WHOLE + SEGMENT_SAMPLES, np.int16)]
        return [looked_at(look, segments=SEGMENTS + look.number)]

    track = ended(tmp_path, monkeypatch, answer, ["more"])
    assert (track.places, track.n_samples) == ([], WHOLE + SEGMENT_SAMPLES)
