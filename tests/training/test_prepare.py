"""Which bank a clip is drawn from, and what is left out because nobody says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from toy_collection import write_collection, write_manifest

from catalog_tagger.errors import UsageError
from catalog_tagger.training.config import ClipConfig, TrainingConfig
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.prepare import UNSAID, kind_of, prepare

CONFIG = ClipConfig(singing=("choir*",), notes=("note_*",), unknown=("organ",), neither=("door_*", "far/*"))


@pytest.mark.parametrize(
    ("role", "label", "source", "kind"),
    [
        ("speech", "", "a", "speech"),
        ("music", "choir 3", "a", "singing"),
        ("music", "rock", "a", "music"),
        ("noise", "anything", "a", "noise"),
        ("tag", "note_c", "a", "notes"),
        ("tag", "organ", "a", "unknown"),
        ("tag", "door_slam", "a", "noise"),
        ("tag", "", "far", "noise"),
        ("tag", "", "a", UNSAID),
        ("tag", "podcast", "a", UNSAID),
        ("tag", "music;guitar", "a", UNSAID),
        ("tag", "door_slam;Speech", "a", UNSAID),
    ],
)
def test_what_is_not_declared_as_neither_is_no_noise(role: str, label: str, source: str, kind: str) -> None:
    clip = Clip(
        path=Path("a.wav"),
        split="train",
        role=role,
        label=label,
        source=source,
        original_path="a.wav",
        speaker="",
        licence="",
        duration_s=1.0,
    )
    assert kind_of(clip, CONFIG) == kind


def _config(manifest: Path) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"name": "toy", "manifest": str(manifest), "clips": {"neither": ["door"]}, "optimisation": {"steps": 1}}
    )


def test_rows_that_say_nothing_train_nothing(tmp_path: Path) -> None:
    with write_collection(tmp_path, per_kind=4, seconds=1.0).open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = {"noise/0.wav": "podcast", "noise/1.wav": "door", "noise/2.wav": ""}
    rows = [{**row, "role": "tag", "label": told[row["path"]]} if row["path"] in told else row for row in rows]
    material = prepare(_config(write_manifest(tmp_path, rows)), tmp_path / "cache", progress=lambda *_: None)
    sides = (material.train, material.validation)
    tags = [clip.label for side in sides for clip in side.clips if clip.role == "tag"]
    assert tags == ["door"]
    assert sum(len(side.banks.noise.recordings) for side in sides) == 1


def test_a_training_of_labels_alone_says_what_it_needs(tmp_path: Path) -> None:
    with write_collection(tmp_path, per_kind=2, seconds=1.0).open(newline="") as file:
        rows = [{**row, "role": "tag", "label": f"{row['role']};live"} for row in csv.DictReader(file)]
    with pytest.raises(UsageError, match="needs clips of speech and of music, by their role"):
        prepare(_config(write_manifest(tmp_path, rows)), tmp_path / "cache", progress=lambda *_: None)
