"""A made-up catalogue of known truth: what is expected of the labels and of the list is about what is the case."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import put_tracks, track, write_csv

from catalog_tagger.reconcile.config import make_config
from catalog_tagger.reconcile.job import ReconcileResult, run_reconcile
from catalog_tagger.storage import Store

TRACKS = 4000


def drawn(folder: Path, *, wrong: float, doubt: float, seed: int) -> tuple[ReconcileResult, dict[str, bool]]:
    """A run over songs and audiobooks of which a share is labelled wrong, and which tracks those are.

    What is heard is as sure as it says, on average 1 - `doubt`.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    metadata, is_wrong = [], {}
    for i in range(TRACKS):
        heard = int(rng.integers(2))
        sure = 1.0 - min(0.45, rng.exponential(doubt))
        true = heard if rng.random() < sure else 1 - heard
        track_id = f"t{i:05d}"
        is_wrong[track_id] = bool(rng.random() < wrong)
        said = 1 - true if is_wrong[track_id] else true
        kinds = ("music", "speech")
        p = {"mixed": 1e-5, "other": 1e-5, kinds[heard]: sure - 1e-5, kinds[1 - heard]: 1.0 - sure - 1e-5}
        rows.append(track(track_id, kinds[heard], sure=sure, content_probabilities=p))
        metadata.append({"id": track_id, "type": ("song", "audiobook")[said]})
    store = Store(folder / "w")
    put_tracks(store, rows, n=1)
    config = make_config(warehouse=store.uri, metadata=write_csv(folder / "m.csv", metadata))
    return run_reconcile(config), is_wrong


@pytest.mark.parametrize(("wrong", "doubt"), [(0.05, 0.005), (0.03, 0.02), (0.15, 0.05)])
def test_expectations_hold(tmp_path: Path, wrong: float, doubt: float) -> None:
    result, is_wrong = drawn(tmp_path, wrong=wrong, doubt=doubt, seed=int(1000 * wrong))
    expected = sum(
        row["expected"]
        for row in result.label_noise.to_pylist()
        if (row["current_value"], row["true_value"]) in {("song", "speech"), ("audiobook", "music")}
    )
    true = sum(is_wrong.values())
    assert expected == pytest.approx(true, rel=0.15)
    flags = {row["track_id"]: row["confidence"] for row in result.flags.to_pylist() if row["kind"] == "mislabelled"}
    levels = [row for row in result.flag_precision.to_pylist() if row["kind"] == "mislabelled"]
    (cut,) = (row for row in levels if row["is_cut"])
    assert cut["flags"] == len(flags)
    assert cut["expected_precision"] >= 0.95
    for level in levels:
        if level["confidence"] >= cut["confidence"]:
            of_level = [is_wrong[one] for one, sure in flags.items() if sure >= level["confidence"]]
            assert level["flags"] == len(of_level)
            assert level["low"] <= np.mean(of_level) <= level["high"]
    observed = np.mean([is_wrong[one] for one in flags])
    assert observed == pytest.approx(cut["expected_precision"], abs=3 * (0.05 / len(flags)) ** 0.5)
