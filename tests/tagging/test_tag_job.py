"""The job on a local Ray, from sources of every kind to tables."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import wav_bytes
from conftest import BROKEN, TRACKS
from job_runs import (
    CONFIDENCE_TOLERANCE,
    LASTING,
    SCORE_TOLERANCE,
    VERDICT,
    assert_same,
    by_track,
    put_manifest,
    put_tars,
    rows,
    run,
    scores,
)

from catalog_tagger import Tagger
from catalog_tagger.fingerprints.peaks import NO_PEAK, SHOW_PEAKS, SONG_PEAKS
from catalog_tagger.fingerprints.where import may_hold_music
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_manifest
from catalog_tagger.tables.schemas import TABLES
from catalog_tagger.tagging import execution
from catalog_tagger.tagging.job import RunResult
from catalog_tagger.tagging.progress import Progress

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


class Done:
    """One run over the catalogue's folder, and what was seen on the way."""

    def __init__(self, warehouse: Path, catalogue: Path, bundle: str) -> None:
        self.warehouse = warehouse
        self.progress: list[Progress] = []
        self.shards: list[dict[str, Any]] = []
        self.statuses: list[dict[str, Any]] = []
        real = execution.map_pieces

        def watched(shards: list[dict[str, Any]], worker: type, **options: Any) -> Any:
            self.shards += shards
            for status in real(shards, worker, **options):
                self.statuses.append(status)
                yield status

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execution, "map_pieces", watched)
            self.result: RunResult = run(catalogue, warehouse, bundle, shard_tracks=3, on_progress=self.progress.append)


@pytest.fixture(scope="module")
def done(local_ray: None, catalogue: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(tmp_path_factory.mktemp("warehouse") / "w", catalogue, bundle)


def test_every_planned_track_has_exactly_one_row(done: Done) -> None:
    found = rows(done.warehouse, "SELECT track_id FROM tracks_history")
    assert sorted(row["track_id"] for row in found) == sorted([*TRACKS, *BROKEN])
    manifest = done.result.manifest
    assert manifest is not None
    assert done.result.state == "committed"
    assert (manifest.tracks, manifest.tagged, manifest.quarantined) == (len(found), len(TRACKS), len(BROKEN))
    assert manifest.quarantined_by_code == Counter(code for _, code in BROKEN.values())
    assert done.result.exit_code == 3


def test_broken_files_are_quarantined_and_their_neighbours_are_not(done: Done) -> None:
    found = by_track(done.warehouse, "status, error_code, error_message, content_type, duration_s")
    for name, (_, code) in BROKEN.items():
        assert (found[name]["status"], found[name]["error_code"]) == ("quarantined", code)
        assert found[name]["error_message"]
        assert found[name]["content_type"] is found[name]["duration_s"] is None
    for name, (_, length_s) in TRACKS.items():
        assert (found[name]["status"], found[name]["error_code"]) == ("tagged", None)
        assert found[name]["duration_s"] == pytest.approx(length_s, abs=0.1)
    assert rows(done.warehouse, f"SELECT 1 FROM segments WHERE track_id IN {tuple(BROKEN)}") == []


def test_rows_are_what_a_tagger_hears_in_the_same_files(done: Done, catalogue: Path, bundle: str) -> None:
    tagger = Tagger([bundle], precision="float32")
    found = by_track(done.warehouse, VERDICT)
    for name in TRACKS:
        result = tagger.tag(catalogue / name)
        row = found[name]
        assert (row["codec"], row["channels"]) == (result.info.codec, result.info.channels)
        assert (row["sample_rate_hz"], row["bundles"]) == (result.info.sample_rate_hz, tagger.scorer.bundles.ids)
        assert (row["duration_s"], row["scanned_s"]) == (result.duration_s, result.scanned_s)
        assert row["content_type"] == result.content_type
        assert row["speech_fraction"] == pytest.approx(result.verdict.speech_fraction)
        assert row["music_fraction"] == pytest.approx(result.verdict.music_fraction)
        assert row["content_confidence"] == pytest.approx(result.verdict.content_confidence, abs=CONFIDENCE_TOLERANCE)
        heard = scores(done.warehouse, name)
        np.testing.assert_array_equal(heard[:, 0], result.start_s)
        np.testing.assert_array_equal(heard[:, 1], result.end_s)
        expected = np.stack([result.p_speech, result.p_music], axis=1)
        np.testing.assert_allclose(heard[:, 2:], expected, atol=SCORE_TOLERANCE)


def test_fingerprints_are_the_peaks_of_the_same_segments(done: Done, catalogue: Path, bundle: str) -> None:
    tagger = Tagger([bundle], precision="float32")
    for name in TRACKS:
        result = tagger.tag(catalogue / name)
        every = may_hold_music(result.p_speech, result.p_music, beside=3) & (result.content_type != "music")
        found = rows(done.warehouse, f"SELECT * FROM fingerprints WHERE track_id = '{name}' ORDER BY start_s")
        assert [row["start_s"] for row in found] == list(result.start_s)
        for row, codes, all_kept in zip(found, result.scores.peaks, every, strict=True):
            most = SHOW_PEAKS if all_kept else SONG_PEAKS
            expected = {int(code) for code in codes[:most] if code != NO_PEAK}
            same = len(expected & set(row["peaks"]))
            assert same >= 0.95 * len(expected), "of a batch of another size, whose sums differ in their last bits"
            assert len(row["peaks"]) == pytest.approx(len(expected), abs=3)


def test_the_tracks_differ_in_their_scores_so_that_mixing_them_up_would_show(done: Done) -> None:
    (spread,) = rows(done.warehouse, "SELECT stddev(p_speech) AS s, stddev(p_music) AS m FROM segments")
    assert min(spread.values()) > 0.03


def test_no_waveform_is_ever_a_row(done: Done) -> None:
    assert len(done.shards) == 3
    assert max(len(str(shard)) for shard in done.shards) < 200
    assert len(done.statuses) == 3
    for status in done.statuses:
        assert list(status) == ["status"]
        assert len(status["status"]) < 2000


def test_the_manifest_lists_every_file_and_nothing_else_was_left(done: Done) -> None:
    manifest = read_manifest(Store(done.warehouse), "r")
    assert manifest is not None
    assert manifest == done.result.manifest
    listed = {file.name: file.size_bytes for file in manifest.files}
    on_disk = {str(p.relative_to(done.warehouse)): p.stat().st_size for p in done.warehouse.rglob("*.parquet")}
    plan = sorted(name for name in on_disk if name.startswith("runs/r/plan-"))
    assert len(plan) == 2
    for_engines = {name for name in on_disk if "/run_id=none/schema-" in name} | {"commits/r.parquet"}
    assert len(for_engines) == len(TABLES) + 1
    assert listed == {name: size for name, size in on_disk.items() if name not in {*plan, *for_engines}}
    assert sum(file.rows for file in manifest.files if file.table == "tracks") == manifest.tracks
    assert sum(file.rows for file in manifest.files if file.table == "segments") == manifest.segments
    others = {str(p.relative_to(done.warehouse)) for p in done.warehouse.rglob("*") if p.is_file()} - set(on_disk)
    assert others == {"runs/r/job.json", "runs/r/manifest.json", "runs/r/lease/0001.json"}
    assert sum(manifest.workers.values()) == 3
    assert {"ray", "torch", "av", "catalog_tagger"} <= set(manifest.versions)


def test_progress_grows_to_the_total(done: Done) -> None:
    assert done.progress
    tracks = [now.tracks for now in done.progress]
    assert tracks == sorted(tracks)
    last = done.progress[-1]
    assert last.tracks == last.tracks_total == len(TRACKS) + len(BROKEN)
    assert last.size_bytes == last.size_bytes_total
    assert last.quarantined == len(BROKEN)
    assert last.audio_s == pytest.approx(sum(length_s for _, length_s in TRACKS.values()), abs=0.3)


def test_the_same_run_again_changes_nothing(done: Done, catalogue: Path, bundle: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.warehouse.rglob("*")}
    again = run(catalogue, done.warehouse, bundle)
    assert (again.state, again.manifest, again.exit_code) == ("already_committed", done.result.manifest, 0)
    another = run(catalogue, done.warehouse, bundle, run_id="r2")
    assert (another.state, another.up_to_date, another.manifest) == ("nothing_to_do", len(TRACKS) + len(BROKEN), None)
    assert {path: path.stat().st_mtime_ns for path in done.warehouse.rglob("*")} == before


def test_a_manifest_gives_the_same_verdicts_as_the_folder(
    done: Done, catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    uris = {f"00{i}": str(catalogue / name) for i, name in enumerate([*TRACKS, *BROKEN])}
    manifest = put_manifest(tmp_path / "m.csv", {**uris, "gone": "gone.mp3", "folder": str(catalogue / "b")})
    result = run(manifest, tmp_path / "w", bundle)
    assert result.manifest is not None
    assert result.manifest.quarantined_by_code == {"empty": 1, "not_audio": 1, "not_found": 1, "unreadable": 1}
    folder, listed = by_track(done.warehouse, VERDICT), by_track(tmp_path / "w", VERDICT)
    assert set(listed) == {*uris, "gone", "folder"}
    names = enumerate([*TRACKS, *BROKEN])
    assert_same({name: {**listed[f"00{i}"], "track_id": name} for i, name in names}, folder)


def test_tars_give_the_same_verdicts_as_the_folder(done: Done, catalogue: Path, bundle: str, tmp_path: Path) -> None:
    put_tars(catalogue, tmp_path / "tars")
    result = run(tmp_path / "tars" / "part-*.tar", tmp_path / "w", bundle)
    assert result.manifest is not None
    assert result.manifest.tracks == len(TRACKS) + len(BROKEN)
    folder, members = by_track(done.warehouse, VERDICT), by_track(tmp_path / "w", f"uri, size_bytes, {VERDICT}")
    found = {}
    for track_id, row in members.items():
        name = track_id.partition("#")[2]
        assert row.pop("uri") == f"{tmp_path}/tars/{track_id}"
        assert row.pop("size_bytes") == (catalogue / name).stat().st_size
        found[name] = {**row, "track_id": name}
    assert_same(found, folder)


def test_what_changed_is_tagged_again_and_what_is_new_is_added(bundle: str, tmp_path: Path) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    for name in ("same.wav", "changed.wav", "broken.wav"):
        (source / name).write_bytes(wav_bytes(np.ones(16000, np.int16)) if name != "broken.wav" else b"nothing")
    run(source, warehouse, bundle, run_id="first")
    (source / "changed.wav").write_bytes(wav_bytes(np.ones(32000, np.int16)))
    (source / "new.wav").write_bytes(wav_bytes(np.ones(48000, np.int16)))
    (source / "broken.wav").write_bytes(wav_bytes(np.ones(64000, np.int16)))
    second = run(source, warehouse, bundle, run_id="second")
    assert (second.up_to_date, second.manifest and second.manifest.tracks) == (1, 3)
    assert rows(warehouse, "SELECT track_id, run_id, duration_s, status FROM tracks ORDER BY 1") == [
        {"track_id": "broken.wav", "run_id": "second", "duration_s": 4.0, "status": "tagged"},
        {"track_id": "changed.wav", "run_id": "second", "duration_s": 2.0, "status": "tagged"},
        {"track_id": "new.wav", "run_id": "second", "duration_s": 3.0, "status": "tagged"},
        {"track_id": "same.wav", "run_id": "first", "duration_s": 1.0, "status": "tagged"},
    ]
    (history,) = rows(warehouse, "SELECT count(*) AS n FROM tracks_history")
    assert history["n"] == 6


def test_a_resumed_run_does_what_is_missing_and_equals_an_undisturbed_one(
    catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    run(catalogue, whole, bundle, shard_tracks=1)
    expected, expected_scores = by_track(whole, LASTING), scores(whole)
    # as after a kill: no manifest, three shards not ended, of one of them a half-written neighbour
    (whole / "runs/r/manifest.json").unlink()
    shards = sorted((whole / "tracks/run_id=r").iterdir())
    assert len(shards) == len(TRACKS) + len(BROKEN)
    for path in shards[2:5]:
        path.unlink()
    (whole / "segments/run_id=r" / shards[3].name).write_bytes(b"half a file")
    (whole / "segments/run_id=r" / ".partial-0123").write_bytes(b"left by a killed writer")
    kept = {path: path.read_bytes() for path in (whole / "tracks/run_id=r").iterdir()}
    seen: list[Progress] = []
    result = run(catalogue, whole, bundle, shard_tracks=4000, on_progress=seen.append)
    assert result.manifest is not None
    assert result.manifest.tracks == len(TRACKS) + len(BROKEN), "the plan of the run holds, not the new limits"
    assert sum(result.manifest.workers.values()) == len(shards)
    assert {path: path.read_bytes() for path in kept} == kept, "finished shards are left alone"
    assert seen[0].tracks >= 5
    assert seen[-1].tracks == len(shards)
    assert_same(by_track(whole, LASTING), expected)
    np.testing.assert_allclose(scores(whole), expected_scores, atol=SCORE_TOLERANCE)
