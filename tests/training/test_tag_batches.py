"""Examples of a tagger: takes, variation, mixing, balance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.audio import SEGMENT_SAMPLES
from catalog_tagger.frontends import build_frontend
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.tag_bank import Retake, TagBank, Truth, build_bank
from catalog_tagger.training.tag_batches import TagBatches, Variation, add_sounds, join_labels, vary

STILL = Variation(bins=0, tempo=0.0, turn=False, equaliser_bits=0.0, mixed=0.0)


def recording(seconds: float, *, silent_after: float = 1e9, seed: int = 0) -> Recording:
    samples = np.random.default_rng(seed).normal(0, 3000, int(seconds * 16000))
    samples[int(min(silent_after, seconds) * 16000) :] = 0
    pcm = samples.astype(np.int16)
    return Recording(pcm=pcm, degraded=pcm, gate_db=-50.0, source="s", group="g")


def bank_of(targets: list[list[float]], weights: list[list[float]] | None = None, frames: int = 4) -> TagBank:
    target = np.array(targets, np.float32)
    weight = np.ones_like(target) if weights is None else np.array(weights, np.float32)
    features = np.arange(len(target), dtype=np.float16)[:, None, None, None] * np.ones((1, 1, frames, 3), np.float16)
    return TagBank(features, np.arange(len(target)), np.full(len(target), 5, np.float32), Truth(target, weight))


def test_first_take_is_the_segment_as_tagging_cuts_it() -> None:
    one = recording(7.0)
    frontend = build_frontend({"name": "cqt"})
    bank = build_bank([one], Truth(np.ones((1, 1)), np.ones((1, 1))), frontend, takes=3, seed=1)
    cut = np.zeros((2, SEGMENT_SAMPLES), np.float32)
    cut.reshape(-1)[: one.pcm.size] = one.pcm / 32768
    torch.testing.assert_close(
        torch.from_numpy(bank.features[:, 0].astype(np.float32)), frontend(torch.from_numpy(cut)), atol=0.01, rtol=1e-3
    )
    assert bank.features.shape == (2, 3, 216, 144)
    assert bank.seconds.tolist() == [5.0, 2.0]
    assert not np.array_equal(bank.features[:, 1], bank.features[:, 2])
    again = build_bank([one], Truth(np.ones((1, 1)), np.ones((1, 1))), frontend, takes=3, seed=1)
    np.testing.assert_array_equal(bank.features, again.features)


def test_other_takes_differ_by_what_they_are_asked_to() -> None:
    seconds = np.arange(SEGMENT_SAMPLES) / 16000
    pcm, degraded = (np.rint(20000 * np.sin(2 * np.pi * hz * seconds)).astype(np.int16) for hz in (440, 880))
    one = Recording(pcm=pcm, degraded=degraded, gate_db=-50.0, source="s", group="g")
    truth, frontend = Truth(np.ones((1, 1)), np.ones((1, 1))), build_frontend({"name": "cqt"})
    none = {"codec": 0, "speed": 0, "room": 0, "equaliser": 0, "gain_db": 0}

    def take(**changes: float) -> np.ndarray:
        retake = Retake.model_validate({**none, **changes})
        return build_bank([one], truth, frontend, takes=2, seed=1, retake=retake).features[0, 1].astype(np.float32)

    plain = take()
    loudest = int(plain.mean(axis=0).argmax())
    assert abs(int(take(speed=1, speed_range=0.5).mean(axis=0).argmax()) - loudest) >= 2
    assert np.abs(take(room=1) - plain).mean() > 0.05
    assert np.abs(take(equaliser=1) - plain).max() > 0.2
    assert take(gain_db=60).max() < plain.max() - 0.5
    # Noise fills what is empty and leaves the tone where it was.
    noisy = take(noise=1)
    assert np.quantile(noisy, 0.2) > np.quantile(plain, 0.2) + 1.0
    assert int(noisy.mean(axis=0).argmax()) == loudest
    assert int(take(codec=1).mean(axis=0).argmax()) == loudest + 24


def test_a_silent_segment_loses_what_is_present_and_keeps_what_is_absent() -> None:
    truth = Truth(np.array([[1.0, 0.0]], np.float32), np.ones((1, 2), np.float32))
    bank = build_bank([recording(10.0, silent_after=5.0)], truth, build_frontend({"name": "cqt"}), takes=1, seed=0)
    assert bank.truth.weight.tolist() == [[1.0, 1.0], [0.0, 1.0]]


def test_segments_per_clip_are_spread_over_the_clip() -> None:
    truth = Truth(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    whole = build_bank([recording(25.0)], truth, build_frontend({"name": "cqt"}), takes=1, seed=0)
    some = build_bank([recording(25.0)], truth, build_frontend({"name": "cqt"}), takes=1, seed=0, per_clip=2)
    np.testing.assert_array_equal(some.features, whole.features[[0, 4]])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), bins=st.integers(0, 9), tempo=st.floats(0, 1), bits=st.floats(0, 2))
def test_variation_keeps_shape_and_sign(seed: int, bins: int, tempo: float, bits: float) -> None:
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 12, (20, 15)).astype(np.float32)
    moved = vary(features, Variation(bins=bins, tempo=tempo, equaliser_bits=bits), rng)
    assert moved.shape == features.shape
    assert moved.dtype == np.float32
    assert bool((moved >= 0).all())


def test_no_variation_leaves_an_example_alone() -> None:
    features = np.random.default_rng(0).uniform(0, 12, (20, 15)).astype(np.float32)
    np.testing.assert_array_equal(vary(features, STILL, np.random.default_rng(1)), features)


def test_no_variation_leaves_maps_of_any_sign_alone() -> None:
    features = np.random.default_rng(0).uniform(-5, 5, (3, 20, 15)).astype(np.float32)
    np.testing.assert_array_equal(vary(features, STILL, np.random.default_rng(1)), features)


def test_transposition_moves_bins_and_leaves_silence_behind() -> None:
    features = np.tile(np.arange(1, 8, dtype=np.float32), (3, 1))
    variation = Variation(bins=2, tempo=0.0, turn=False, equaliser_bits=0.0)
    seen = {tuple(vary(features, variation, np.random.default_rng(seed))[0]) for seed in range(40)}
    assert seen == {
        (1, 2, 3, 4, 5, 6, 7),
        (0, 1, 2, 3, 4, 5, 6),
        (0, 0, 1, 2, 3, 4, 5),
        (2, 3, 4, 5, 6, 7, 0),
        (3, 4, 5, 6, 7, 0, 0),
    }


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), ratio_db=st.floats(-20, 20))
def test_sounds_add_at_their_ratio_and_the_louder_keeps_its_level(seed: int, ratio_db: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.uniform(3, 11, (6, 5)).astype(np.float32) for _ in range(2))
    together = add_sounds(one, other, ratio_db)
    alone = (add_sounds(one, np.zeros_like(other), 300.0), add_sounds(np.zeros_like(one), other, -300.0))
    np.testing.assert_allclose(alone[0], one, atol=1e-3)
    np.testing.assert_allclose(alone[1], other, atol=1e-3)
    # no bin is below both where the one that is turned down counts for nothing, none above their power sum
    assert bool((together <= np.log2(1 + np.hypot(np.exp2(one), np.exp2(other))) + 1e-3).all())
    louder = one if one.mean(axis=1).max() - other.mean(axis=1).max() < ratio_db * np.log2(10) / 20 else other
    assert bool((together >= louder - 1e-3).all())


@pytest.mark.parametrize(
    ("one", "other", "target", "weight"),
    [
        (([1, 0], [1, 1]), ([0, 1], [1, 1]), [1, 1], [1, 1]),
        (([1, 0], [1, 1]), ([0, 0], [0, 0]), [1, 0], [1, 0]),  # there is there, whatever the other holds
        (([0, 0], [1, 1]), ([0, 0], [1, 0]), [0, 0], [1, 0]),  # absent only if both say so
        (([1, 0], [0, 1]), ([0, 0], [1, 1]), [0, 0], [0, 1]),  # a label without weight is not there
    ],
)
def test_labels_of_two_sounds(
    one: tuple[list[int], list[int]], other: tuple[list[int], list[int]], target: list[int], weight: list[int]
) -> None:
    parts = [np.array(part, np.float32) for part in (*one, *other)]
    found = join_labels(*parts)
    assert found[0].tolist() == target
    assert found[1].tolist() == weight


def test_labels_take_equal_turns_across_batches() -> None:
    # nine clips of the first label, one of the second, one of none
    bank = bank_of([[1, 0]] * 9 + [[0, 1], [0, 0]])
    batches = TagBatches(bank, seed=3, batches=6, batch_size=4, variation=STILL)
    drawn = torch.cat([batches[index].target for index in range(6)])
    assert drawn.sum(dim=0).tolist() == [8.0, 8.0]
    assert int((drawn.sum(dim=1) == 0).sum()) == 8


def test_a_label_may_have_several_turns() -> None:
    bank = bank_of([[1, 0]] * 3 + [[0, 1], [0, 0]])
    batches = TagBatches(bank, seed=3, batches=6, batch_size=4, variation=STILL, turns=(2, 1, 3))
    drawn = torch.cat([batches[index].target for index in range(6)])
    assert drawn.sum(dim=0).tolist() == [8.0, 4.0]
    assert int((drawn.sum(dim=1) == 0).sum()) == 12


def test_partners_are_drawn_by_turns_of_their_own() -> None:
    bank = bank_of([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mixed = replace(STILL, mixed=1.0)
    batch = TagBatches(
        bank, seed=3, batches=1, batch_size=300, variation=mixed, turns=(9, 1, 1, 1), partners=(1, 1, 9, 1)
    )
    both = TagBatches(bank, seed=3, batches=1, batch_size=300, variation=mixed, turns=(9, 1, 1, 1))
    first_and_third = [float((one[0].target[:, 0] * one[0].target[:, 2]).sum()) for one in (batch, both)]
    assert first_and_third[0] > 150 > first_and_third[1]


def test_a_batch_depends_on_the_seed_and_its_number_alone() -> None:
    bank = bank_of([[1, 0], [0, 1], [1, 1]], frames=30)
    first = TagBatches(bank, seed=3, batches=9, batch_size=5, variation=Variation(mixed=0.5))
    second = TagBatches(bank, seed=3, batches=9, batch_size=5, variation=Variation(mixed=0.5))
    _ = second[0]
    torch.testing.assert_close(first[4].features, second[4].features, rtol=0, atol=0)
    other = TagBatches(bank, seed=4, batches=9, batch_size=5, variation=Variation(mixed=0.5))
    assert not torch.equal(first[4].features, other[4].features)


def test_what_nobody_says_has_no_weight() -> None:
    bank = bank_of([[1, 0], [0, 1]], weights=[[1, 0], [1, 1]])
    batch = TagBatches(bank, seed=0, batches=1, batch_size=8, variation=STILL)[0]
    assert {tuple(row) for row in torch.cat([batch.target, batch.weight], dim=1).tolist()} == {
        (1.0, 0.0, 1.0, 0.0),
        (0.0, 1.0, 1.0, 1.0),
    }


def test_where_nothing_is_known_there_are_no_batches() -> None:
    bank = bank_of([[1, 0], [0, 1]], weights=[[0, 0], [0, 0]])
    assert len(TagBatches(bank, seed=0, batches=3, batch_size=2, variation=STILL, balanced=False)) == 0


def test_balance_is_a_choice() -> None:
    bank = bank_of([[1.0, 0.0]] * 9 + [[0.0, 1.0]])
    counts = []
    for balanced in (True, False):
        batches = TagBatches(bank, seed=2, batches=1, batch_size=200, variation=STILL, balanced=balanced)
        counts.append(float(batches[0].target[:, 1].sum()))
    assert counts[0] == 100
    assert counts[1] < 40
