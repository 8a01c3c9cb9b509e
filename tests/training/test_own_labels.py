"""The way of a user with labels of their own: four commands, from a folder of recordings to tags in a warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from toy_collection import RATE_HZ, write_wav

from catalog_tagger.cli.main import cli
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

pytestmark = pytest.mark.xdist_group("ray")

#: what makes the training a matter of seconds; the network sees a few examples only
SMALL = {
    "architecture": "{name: residual_cnn, channels: [4, 8, 8], hidden: 8, dropout: 0.0}",
    "optimisation": "{steps: 40, batch_size: 8, workers: 0, warmup_steps: 0, learning_rate: 0.01, average_decay: 0.8, "
    "validate_every_steps: 20}",
    "options": "{takes: 1, mixed: 0.0, bins: 0}",
}


def _whistle(rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(3 * RATE_HZ) / RATE_HZ
    hertz = rng.uniform(1500, 2500)
    return 0.4 * np.sin(2 * np.pi * hertz * time_s + 3 * np.sin(2 * np.pi * 5 * time_s))


def _hiss(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.05, 0.2) * rng.standard_normal(3 * RATE_HZ)


def _run(*arguments: Any) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("local_ray")
def test_from_a_folder_of_recordings_to_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    for number in range(7):
        unit = f"session {number}/" if number < 3 else ""
        write_wav(tmp_path / "recordings" / "whistle" / f"{unit}{number}.wav", _whistle(rng))
        write_wav(tmp_path / "recordings" / "hiss" / f"{unit}{number}.wav", _hiss(rng))
    for name, make in (("a", _whistle), ("b", _hiss)):
        write_wav(tmp_path / "catalogue" / f"{name}.wav", make(rng))
    monkeypatch.chdir(tmp_path)

    said = _run("train", "mine.yaml", "--init", "recordings")
    assert "next: catalog-tagger train mine.yaml --out mine" in said
    changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    said = _run("train", "mine.yaml", "--out", "mine", *changes)
    assert "bundle written to mine/bundle" in said
    said = _run("evaluate", "mine/bundle", "mine.csv")
    assert "evaluation.html" in said
    _run("tag", "catalogue", "--warehouse", "tags", "--bundle", "speech_music", "--bundle", "mine/bundle")

    mine = load_bundle("mine/bundle")
    assert mine.labels == ("hiss", "whistle")
    heard = [row for side in ("training", "validation") for row in mine.card[f"{side}_sources"]]
    assert {row["source"] for row in heard} == {"recordings"}
    assert sum(row["minutes"] for row in heard) == pytest.approx(sum(row["clips"] for row in heard) / 20, abs=0.15)
    rows = query(Store("tags"), "SELECT track_id, tags FROM tracks").to_pylist()
    scores = {row["track_id"]: {one["tag"]: one["score"] for one in row["tags"]} for row in rows}
    assert scores["a.wav"]["whistle"] > 0.5 > scores["a.wav"].get("hiss", 0.0)
    assert scores["b.wav"]["hiss"] > 0.5 > scores["b.wav"].get("whistle", 0.0)  # under 0.01 it is left out
