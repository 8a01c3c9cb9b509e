"""Scenes: labels follow from what is audible, and every class comes in every shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_collection import babble, melody

from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.layers import BED, GRID, VOCAL, LayerPool
from catalog_tagger.training.scenes import (
    ABSENT_S,
    MUSIC,
    NEITHER,
    SPEECH,
    UNKNOWN,
    Banks,
    Layer,
    SceneSeries,
    compose,
    labels,
    presence,
)


def _layer(kind: str, start_s: float, end_s: float, *, gain: float = 0.1, length_s: float = 5.0) -> Layer:
    start, end = int(start_s * 16_000), int(end_s * 16_000)
    samples = np.zeros(int(length_s * 16_000), np.float32)
    samples[start:end] = gain * np.random.default_rng(len(kind)).standard_normal(end - start)
    active = np.zeros(int(length_s * 100), bool)
    active[int(start_s * 100) : int(end_s * 100)] = True
    return Layer(kind, samples, active)


def _bank(samples: list[np.ndarray], source: str) -> Bank:
    pcm = [(one * 32767).astype(np.int16) for one in samples]
    return Bank([Recording(one, one, -50.0, source, str(index)) for index, one in enumerate(pcm)])


@pytest.fixture(scope="module")
def banks() -> Banks:
    rng = np.random.default_rng(0)
    empty = Bank([])
    return Banks(
        speech=_bank([babble(rng, 8.0) for _ in range(3)], "s"),
        respoken=empty,
        music=_bank([melody(rng, 8.0) for _ in range(3)], "m"),
        singing=empty,
        sung=empty,
        notes=_bank([melody(rng, 1.0) for _ in range(3)], "n"),
        noise=_bank([0.1 * rng.standard_normal(64_000)], "z"),
        unknown=empty,
    )


@given(st.floats(0, 10), st.floats(0.1, 2))
def test_presence_is_certain_or_weightless(audible_s: float, needed_s: float) -> None:
    target, weight = presence(audible_s, needed_s=needed_s)
    assert (target, weight) == ((1.0, 1.0) if audible_s >= needed_s else (0.0, 1.0 if audible_s < ABSENT_S else 0.0))


@pytest.mark.parametrize(
    ("layers", "target", "weight"),
    [
        ([_layer(SPEECH, 0, 5)], (1, 0), (1, 1)),
        ([_layer(MUSIC, 0, 5)], (0, 1), (1, 1)),
        ([_layer(NEITHER, 0, 5)], (0, 0), (1, 1)),
        ([_layer(UNKNOWN, 0, 5)], (0, 0), (1, 0)),
        ([_layer(UNKNOWN, 0, 5), _layer(MUSIC, 0, 5)], (0, 1), (1, 1)),
        ([_layer(SPEECH, 0, 2), _layer(MUSIC, 2, 5)], (1, 1), (1, 1)),
        ([_layer(SPEECH, 0, 0.2), _layer(MUSIC, 0.2, 5)], (0, 1), (0, 1)),  # a word's beginning: open
        ([_layer(SPEECH, 0, 4.5), _layer(MUSIC, 4.5, 5)], (1, 0), (1, 0)),  # half a second of music: open
        ([_layer(SPEECH, 0, 5, gain=0.1), _layer(MUSIC, 0, 5, gain=0.08)], (1, 1), (1, 1)),
        ([_layer(SPEECH, 0, 5, gain=0.1), _layer(MUSIC, 0, 5, gain=0.1 * 10 ** (-40 / 20))], (1, 0), (1, 1)),  # masked
        ([_layer(SPEECH, 0, 5, gain=0.1), _layer(MUSIC, 1, 5, gain=0.001), _layer(NEITHER, 0, 5)], (1, 0), (1, 1)),
        (
            [_layer(SPEECH, 0, 4.5, gain=0.1), _layer(MUSIC, 0, 5, gain=0.1 * 10 ** (-40 / 20))],
            (1, 0),
            (1, 0),
        ),  # in a gap
        ([_layer(SPEECH, 0, 0.3, length_s=0.3)], (1, 0), (1, 1)),  # short, and whole
    ],
)
def test_labels_follow_from_what_is_audible(
    layers: list[Layer], target: tuple[int, int], weight: tuple[int, int]
) -> None:
    found = labels(layers)
    assert found[1] == weight
    assert all(f == t for f, t, w in zip(found[0], target, weight, strict=True) if w)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_scenes_are_five_seconds_of_16_bits(banks: Banks, seed: int) -> None:
    scene = compose(banks, np.random.default_rng(seed))
    assert scene.samples.shape == (80_000,)
    assert scene.samples.dtype == np.float32
    assert float(np.abs(scene.samples).max()) <= 1.0
    steps = scene.samples * 32768
    assert np.array_equal(steps, np.rint(steps))
    assert set(scene.target) <= {0.0, 1.0}
    assert set(scene.weight) <= {0.0, 1.0}


def test_a_quiet_layer_is_heard_in_bands_that_the_loud_one_leaves_free() -> None:
    time_s = np.arange(80_000) / 16_000
    low, high = (
        sum(np.sin(2 * np.pi * hertz * time_s) for hertz in group)
        for group in ((200.0, 350.0), (1900.0, 2500.0, 3400.0))
    )
    everywhere = np.ones(500, bool)
    loud = Layer(MUSIC, (0.1 * low).astype(np.float32), everywhere)
    quiet = Layer(SPEECH, (0.1 * 10 ** (-25 / 20) * high).astype(np.float32), everywhere)
    covered = Layer(SPEECH, (0.1 * 10 ** (-25 / 20) * low).astype(np.float32), everywhere)
    assert labels([loud, quiet]) == ((1.0, 1.0), (1.0, 1.0))
    assert labels([loud, covered]) == ((0.0, 1.0), (1.0, 1.0))


def test_batches_depend_on_the_seed_and_their_number_alone(banks: Banks) -> None:
    in_order = SceneSeries(banks, seed=1, batch_size=4)
    first = [in_order.scenes(index) for index in (0, 1, 8)]
    again = SceneSeries(banks, seed=1, batch_size=4).scenes(1)
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(first[1], again, strict=True))
    other_seed = SceneSeries(banks, seed=2, batch_size=4).scenes(1)
    assert not all(np.array_equal(one.samples, other.samples) for one, other in zip(first[1], other_seed, strict=True))


def test_windows_of_a_pool_keep_samples_and_frames_together(banks: Banks) -> None:
    pool = LayerPool(banks, seed=(3,), sizes={SPEECH: 4})
    rng = np.random.default_rng(1)
    for _ in range(20):
        layer = pool.layer(SPEECH, 8 * GRID, rng)
        assert layer.samples.size == 8 * GRID
        assert layer.active.size == 40
    assert pool.layer(MUSIC, 8 * GRID, rng).samples.size == 8 * GRID  # not in the pool: made anew


def test_same_seed_same_scene(banks: Banks) -> None:
    one, other = (compose(banks, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.samples, other.samples)


def test_padding_tells_nothing_about_the_class(banks: Banks) -> None:
    rng = np.random.default_rng(3)
    share = {}
    for recipe in ("speech", "music", "neither"):
        ends = [np.flatnonzero(compose(banks, rng, recipe=recipe).samples) for _ in range(150)]
        share[recipe] = np.mean([place.size == 0 or place[-1] < 72_000 for place in ends])
    assert max(share.values()) - min(share.values()) < 0.25
    assert min(share.values()) > 0.1


def test_mixture_keeps_the_asked_ratio_of_both_labels(banks: Banks) -> None:
    rng = np.random.default_rng(4)
    scenes = [compose(banks, rng, recipe="speech+music", ratio_db=0.0) for _ in range(20)]
    assert sum(scene.target == (1.0, 1.0) for scene in scenes) >= 18


def test_a_song_is_a_voice_over_its_accompaniment_and_no_speech(banks: Banks) -> None:
    rng = np.random.default_rng(6)
    singer = _bank([babble(rng, 8.0)], "sung")
    asked: list[str] = []

    class Asked:
        def layer(self, kind: str, length: int, rng: np.random.Generator) -> Layer:
            asked.append(kind)
            return replace(banks, sung=singer, music=_bank([np.zeros(80_000)], "silent")).layer(kind, length, rng)

    scenes = [compose(Asked(), rng, recipe="song") for _ in range(30)]
    assert asked.count(VOCAL) == asked.count(BED) == 30
    assert {scene.target for scene in scenes if scene.weight == (1.0, 1.0)} == {(0.0, 1.0)}
    assert all(scene.weight[0] == 1.0 and scene.target[0] == 0.0 for scene in scenes)
    assert sum(scene.weight == (1.0, 1.0) for scene in scenes) >= 20


def test_a_song_without_singers_is_music(banks: Banks) -> None:
    scenes = [compose(banks, np.random.default_rng(seed), recipe="song") for seed in range(10)]
    assert all(scene.target[0] == 0.0 for scene in scenes)
    assert any(scene.target == (0.0, 1.0) for scene in scenes)


@given(st.lists(st.floats(-100, 0), min_size=1, max_size=200))
def test_gate_is_never_below_the_floor(levels: list[float]) -> None:
    gate = gate_level_db(np.array(levels), below_loud_db=32.0)
    assert -65.0 <= gate <= max(-32.0, -65.0)


def test_no_source_outweighs_the_others_by_its_length() -> None:
    short, long = np.zeros(16_000, np.int16), np.zeros(1_600_000, np.int16)
    bank = Bank([Recording(short, short, -50, "a", "1"), Recording(long, long, -50, "b", "1")])
    rng = np.random.default_rng(0)
    drawn = [bank.draw(rng).source for _ in range(2000)]
    assert 0.15 < drawn.count("a") / 2000 < 0.5
