"""Confident learning in batches: how many labels are wrong, and how probable it is of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from cleanlab.count import calibrate_confident_joint, compute_confident_joint
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.reconcile.mapping import LabelField, MetadataMapping, fit_mapping
from catalog_tagger.reconcile.noise import Noise, beliefs_of, estimate

KINDS = ("music", "speech", "mixed", "other")
CLASSES = 7  # and the parts of mixed


@dataclass
class Batches:
    """Joined rows in batches of a size."""

    rows: pa.Table
    size: int = 1000

    def map(self, function: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        for start in range(0, max(1, len(self.rows)), self.size):
            yield function(self.rows.slice(start, self.size))


def mapping_of(columns: tuple[str, ...] = ("id", "content_type")) -> MetadataMapping:
    return fit_mapping(None, list(columns), place="", metadata="m", tags=())


def joined(values: list[str | None], p: np.ndarray) -> pa.Table:
    p = np.pad(p, ((0, 0), (0, CLASSES - p.shape[1])))
    columns = {f"p0_{j}": pa.array(p[:, j], pa.float32()) for j in range(CLASSES)}
    return pa.table({"k0": pa.array(values, pa.string()), "v0": pa.array(values, pa.string()), **columns})


def drawn(n: int, *, wrong: float, seed: int) -> tuple[list[str | None], np.ndarray, np.ndarray]:
    """(labels, calibrated probabilities, whether each label is wrong) of songs and audiobooks."""
    rng = np.random.default_rng(seed)
    heard = rng.integers(0, 2, n)
    sure = 1.0 - rng.exponential(0.02, n).clip(0, 0.5)
    true = np.where(rng.random(n) < sure, heard, 1 - heard)
    p = np.full((n, 4), 1e-6)
    p[np.arange(n), heard], p[np.arange(n), 1 - heard] = sure, 1 - sure
    is_wrong = rng.random(n) < wrong
    said = np.where(is_wrong, 1 - true, true)
    return [("song", "audiobook")[one] for one in said], p, is_wrong


def of_value(field: LabelField, noise: Noise, value: str) -> dict[str, float]:
    return dict(zip(field.classes, noise.expected[field.values.index(value)].tolist(), strict=True))


@given(wrong=st.floats(0.01, 0.2), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_about_as_many_are_expected_wrong_as_are(wrong: float, seed: int) -> None:
    mapping = mapping_of()
    values, p, is_wrong = drawn(5000, wrong=wrong, seed=seed)
    (noise,) = estimate(Batches(joined(values, p)), mapping)
    (field,) = mapping.fields
    for value, other in (("song", "speech"), ("audiobook", "music")):
        carried = np.array([one == value for one in values])
        true = int(is_wrong[carried].sum())
        assert of_value(field, noise, value)[other] == pytest.approx(true, abs=0.02 * carried.sum() + 5)
        assert noise.tracks[field.values.index(value)] == carried.sum()
    assert noise.expected.sum(axis=1) == pytest.approx(noise.tracks)


@given(wrong=st.floats(0.02, 0.2), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_posteriors_are_as_right_as_they_say(wrong: float, seed: int) -> None:
    mapping = mapping_of()
    values, p, is_wrong = drawn(20_000, wrong=wrong, seed=seed)
    rows = joined(values, p)
    (noise,) = estimate(Batches(rows), mapping)
    (field,) = mapping.fields
    labels = np.array([field.values.index(str(value)) for value in values])
    posterior = noise.posterior(beliefs_of(rows, field, 0), labels)
    right = np.array([sorted(field.means[label])[0] for label in labels])
    claimed = 1.0 - posterior[np.arange(len(labels)), right]
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.01)):
        among = (claimed >= low) & (claimed < high)
        if among.sum() >= 100:
            assert is_wrong[among].mean() == pytest.approx(claimed[among].mean(), abs=0.12)


def test_batches_give_what_cleanlab_gives_at_once() -> None:
    mapping = mapping_of()
    values, p, _ = drawn(3000, wrong=0.1, seed=3)
    rows = joined(values, p)
    (noise,) = estimate(Batches(rows, size=137), mapping)
    (field,) = mapping.fields
    believed = beliefs_of(rows, field, 0)[:, :2]
    labels = np.array([("song", "audiobook").index(str(value)) for value in values])
    joint = compute_confident_joint(labels, believed, calibrate=False)
    expected = calibrate_confident_joint(joint, labels)
    for i, value in enumerate(("song", "audiobook")):
        assert noise.confident[field.values.index(value), :2].tolist() == expected[i].tolist()


def test_values_that_mean_the_same_stay_apart() -> None:
    mapping = mapping_of()
    p = np.tile([0.99, 0.01, 0.0, 0.0], (200, 1))
    p[:10] = [0.01, 0.99, 0.0, 0.0]
    values: list[str | None] = ["song"] * 100 + ["single"] * 100
    (noise,) = estimate(Batches(joined(values, p)), mapping)
    (field,) = mapping.fields
    speech = field.classes.index("speech")
    assert noise.confident[field.values.index("song"), speech] == 10
    assert noise.confident[field.values.index("single"), speech] == 0
    assert of_value(field, noise, "song")["speech"] == pytest.approx(10, abs=2)
    assert of_value(field, noise, "single")["speech"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_tracks_of_one_label_make_no_claim_certain(n: int) -> None:
    mapping = mapping_of()
    values: list[str | None] = ["song"] * n
    p = np.tile([0.0, 1.0, 0.0, 0.0], (n, 1))
    rows = joined(values, p)
    (noise,) = estimate(Batches(rows), mapping)
    (field,) = mapping.fields
    label = field.values.index("song")
    posterior = noise.posterior(beliefs_of(rows, field, 0), np.full(n, label))
    assert np.isfinite(posterior).all()
    assert (posterior < 1.0).all()
    assert ((noise.rates > 0) & (noise.rates < 1)).all()
    assert noise.rates.sum(axis=1) == pytest.approx(np.ones(len(field.values)))


def test_nothing_heard_nothing_mapped_and_no_rows_are_no_error() -> None:
    mapping = mapping_of()
    for values, p in (
        (["song", None, "rubbish"], np.full((3, 4), np.nan)),
        ([None, "rubbish"], np.full((2, 4), 0.25)),
        ([], np.zeros((0, 4))),
    ):
        (noise,) = estimate(Batches(joined(list(values), p)), mapping)
        assert not noise.known.any()
        assert noise.confident.sum() == 0
        assert np.isfinite(noise.rates).all()


def test_a_value_of_which_nothing_is_sure_has_no_estimate() -> None:
    mapping = mapping_of()
    p = np.tile([0.99, 0.01, 0.0, 0.0], (51, 1))
    p[-1] = [0.26, 0.25, 0.25, 0.24]
    values: list[str | None] = ["song"] * 50 + ["single"]
    (noise,) = estimate(Batches(joined(values, p)), mapping)
    (field,) = mapping.fields
    assert noise.known[field.values.index("song")]
    assert not noise.known[field.values.index("single")]
