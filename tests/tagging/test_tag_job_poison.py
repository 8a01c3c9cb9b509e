"""Tracks that kill the tagging process itself, and what a run makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.cloudpickle
from audio_files import wav_bytes
from job_runs import by_track, rows, run

from catalog_tagger.errors import RunError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_manifest
from catalog_tagger.tagging import execution
from catalog_tagger.tagging.actor import PieceTagger
from catalog_tagger.tagging.rows import PieceRows

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]

TRACKS = 40


class DiesOfPoison(PieceTagger):
    """A tagging actor whose models meet an error that nobody foresaw."""

    word = "poison"

    def _tag(self, rows: list[dict[str, Any]], built: PieceRows) -> None:
        if any(self.word in row["track_id"] for row in rows):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        super()._tag(rows, built)


class DiesOfAnything(DiesOfPoison):
    word = ""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for i in range(TRACKS):
        name = "017-poison.wav" if i == 17 else f"{i:03d}.wav"
        (folder / name).write_bytes(wav_bytes(np.full(8000 + i, 100, np.int16)))
    return folder


def with_actor(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actor's process does not find this file
    monkeypatch.setattr(execution, "ShardTagger", kind)


def test_the_track_that_kills_its_actors_is_found_and_quarantined_alone(
    source: Path, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_actor(DiesOfPoison, monkeypatch)
    result = run(source, tmp_path / "w", bundle, shard_tracks=20)
    manifest = result.manifest
    assert manifest is not None
    assert (manifest.tracks, manifest.quarantined_by_code) == (TRACKS, {"tagger_crashed": 1})
    found = by_track(tmp_path / "w", "error_message, attempts, duration_s")
    assert len(found) == TRACKS
    assert found["017-poison.wav"]["error_message"] == (
        "the tagging process died 2 times on this track alone: "
        "RuntimeError: CUDA error: an illegal memory access was encountered"
    )
    assert found["017-poison.wav"]["attempts"] == 1
    assert found["016.wav"]["duration_s"] == (8000 + 16) / 16000
    assert len(rows(tmp_path / "w", "SELECT 1 FROM tracks_history")) == TRACKS
    shards = {file.name.rpartition("/")[2].partition(".")[0] for file in manifest.files}
    assert len(shards) == 2
    assert len(manifest.files) > 4, "a shard was taken apart"


def test_when_everything_kills_the_actors_the_run_stops_with_the_reason_and_can_be_resumed(
    source: Path, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with_actor(DiesOfAnything, patch)
        with pytest.raises(RunError, match=r"3 work shards, and no other was done, killed 2 actors each \(RuntimeE"):
            run(source, tmp_path / "w", bundle, shard_tracks=10)
    assert read_manifest(Store(tmp_path / "w"), "r") is None
    result = run(source, tmp_path / "w", bundle, shard_tracks=10)
    assert result.manifest is not None
    assert (result.manifest.tracks, result.manifest.quarantined) == (TRACKS, 0)
