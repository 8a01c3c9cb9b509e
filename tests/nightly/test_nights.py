"""Three nights of a small catalogue: what is new, what changed, what has gone, and on the third a new set of models."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from catalog_tagger.demo import make_demo_catalogue
from catalog_tagger.errors import EXIT_FAILED, EXIT_OK, EXIT_QUARANTINED, RunError, StorageError, UsageError
from catalog_tagger.nightly import job
from catalog_tagger.nightly.config import NightlyConfig
from catalog_tagger.nightly.job import Night, run_night
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import committed_runs
from catalog_tagger.tables.lease import hold
from catalog_tagger.tables.views import query

pytestmark = [pytest.mark.xdist_group("ray")]
#: tracks of the first night: songs, speech, a podcast that plays one of them, a broken file
FIRST = ("DEMO0001", "DEMO0002", "DEMO0013", "DEMO0019", "DEMO0024")
LATER = ("DEMO0010", "DEMO0020")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_catalogue(tmp_path_factory.mktemp("demo")).root


def list_tracks(demo: Path, manifest: Path, tracks: dict[str, Path]) -> None:
    """A catalogue of some tracks, by id the file, with the demo's labels."""
    rows = {row["track_id"]: row for row in csv.DictReader((demo / "manifest.csv").read_text().splitlines())}
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["track_id", "uri", "content_type"])
        writer.writeheader()
        for track, path in tracks.items():
            writer.writerow({"track_id": track, "uri": str(path), "content_type": rows[track]["content_type"]})


def files_of(demo: Path) -> dict[str, Path]:
    rows = csv.DictReader((demo / "manifest.csv").read_text().splitlines())
    return {row["track_id"]: demo / row["uri"] for row in rows}


@pytest.mark.usefixtures("local_ray")
def test_three_nights(demo: Path, tmp_path: Path) -> None:
    files, manifest, warehouse = files_of(demo), tmp_path / "catalogue.csv", tmp_path / "tags"

    def night(name: str, **values: Any) -> Night:
        given = {
            "tag": {"bundles": ["speech_music"]},
            "reconcile": {"metadata": str(manifest)},
            "iceberg": {},
            **values,
        }
        return run_night(NightlyConfig(source=str(manifest), warehouse=str(warehouse), night=name, **given))

    def current() -> dict[str, str]:
        rows = query(Store(warehouse), "SELECT track_id, run_id FROM tracks").to_pylist()
        return {row["track_id"]: row["run_id"] for row in rows}

    list_tracks(demo, manifest, {track: files[track] for track in FIRST})
    first = night("one")
    assert (first.state, first.exit_code) == ("done", EXIT_QUARANTINED)
    assert list(first.stages) == ["tag", "songs", "reconcile", "report", "iceberg"]
    assert first.stages["tag"].said["tracks"] == len(FIRST)
    assert first.stages["tag"].said["quarantined_by_code"] == {"not_audio": 1}
    assert first.stages["songs"].said["songs"] == 1
    assert Path(first.stages["report"].said["page"]).read_text().count("DEMO0019")
    before = current()

    tracks = {track: files[track] for track in (*FIRST[1:], *LATER)}  # the song of DEMO0019 has gone, two are new
    changed = tmp_path / "changed.mp3"
    changed.write_bytes(files["DEMO0002"].read_bytes())
    list_tracks(demo, manifest, {**tracks, "DEMO0002": changed})
    changed.touch()
    second = night("two")
    tag = second.stages["tag"].said
    assert (tag["tracks"], tag["removed"]) == (len(LATER) + 1, 1)
    assert {track for track, run in current().items() if run != before.get(track)} == {*LATER, "DEMO0002"}
    assert second.stages["songs"].said["shows_with_songs"] == 2

    third = night("three", tag={"bundles": ["speech_music", "voice_gender"]}, prune_after_days=0)
    runs = {run.run_id for run in committed_runs(Store(warehouse))}
    assert third.stages["tag"].said["tracks"] == len(tracks)
    assert set(current().values()) <= runs
    assert len(current()) == len(FIRST) + len(LATER), "the row of a track that has gone stays"
    assert second.stages["tag"].said["run_id"] in third.stages["prune"].said["runs"]
    assert first.stages["tag"].said["run_id"] in runs, "which has the row of the track that has gone"
    registered = query_iceberg(warehouse)
    assert registered == runs

    again = night("three", tag={"bundles": ["speech_music", "voice_gender"]}, prune_after_days=0)
    assert again.stages == third.stages, "a night that is done is not done twice"
    assert json.loads((warehouse / "nightly" / "three.json").read_text())["state"] == "done"


def query_iceberg(warehouse: Path) -> set[str]:
    from catalog_tagger.tables.iceberg import open_catalog

    table = open_catalog(Store(warehouse)).load_table("catalog_tagger.runs")
    return set(table.scan().to_arrow()["run_id"].to_pylist())


class _Hook(BaseHTTPRequestHandler):
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    _Hook.bodies.clear()
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/night"
        server.shutdown()


def put_stages(monkeypatch: pytest.MonkeyPatch, **stages: Any) -> None:
    monkeypatch.setattr(job, "stages", lambda _: stages)


def config(tmp_path: Path, **values: Any) -> NightlyConfig:
    return NightlyConfig(source=str(tmp_path), warehouse=str(tmp_path / "tags"), night="n", **values)


def test_a_stage_that_fails_ends_the_night_and_the_next_call_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    done: list[str] = []

    def stage(name: str, error: Exception | None = None) -> Any:
        def run() -> dict[str, Any]:
            if error is not None:
                raise error
            done.append(name)
            return {"quarantined": 2} if name == "tag" else {}

        return run

    refused = StorageError("s3://bucket/tags: access denied")
    put_stages(monkeypatch, tag=stage("tag"), songs=stage("songs", refused), report=stage("report"))
    failed = run_night(config(tmp_path, webhook=hook))
    assert (failed.state, failed.exit_code, failed.webhook) == ("failed", EXIT_FAILED, "sent")
    assert failed.stages["songs"].error == "s3://bucket/tags: access denied"
    assert done == ["tag"]
    put_stages(monkeypatch, tag=stage("tag"), songs=stage("songs"), report=stage("report"))
    ended = run_night(config(tmp_path, webhook=hook))
    assert (ended.state, ended.exit_code) == ("done", EXIT_QUARANTINED)
    assert done == ["tag", "songs", "report"]
    assert [body["state"] for body in _Hook.bodies] == ["failed", "done"]


def test_without_a_name_the_newest_that_is_not_done_goes_on_else_a_new_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> dict[str, Any]:
        raise StorageError("refused")

    def night() -> Night:
        return run_night(NightlyConfig(source=str(tmp_path), warehouse=str(tmp_path / "tags")))

    put_stages(monkeypatch, tag=dict, songs=fails)
    first = night()
    assert first.state == "failed"
    put_stages(monkeypatch, tag=fails, songs=dict)
    assert (night().night, night().night) == (first.night, f"{first.night[:10]}-2"), "only its songs were left to do"
    put_stages(monkeypatch, tag=dict)
    assert [night().night for _ in range(3)] == [f"{first.night[:10]}-{number}" for number in (2, 3, 4)]
    for number in range(5, 12):
        assert night().night == f"{first.night[:10]}-{number}"


def test_an_interrupted_night_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> dict[str, Any]:
        raise KeyboardInterrupt

    put_stages(monkeypatch, tag=stopped)
    with pytest.raises(KeyboardInterrupt):
        run_night(config(tmp_path))
    assert json.loads((tmp_path / "tags/nightly/n.json").read_text())["stages"]["tag"]["state"] == "interrupted"
    put_stages(monkeypatch, tag=dict)
    assert run_night(config(tmp_path)).exit_code == EXIT_OK


def test_a_summary_that_cannot_be_posted_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_stages(monkeypatch, tag=dict)
    night = run_night(config(tmp_path, webhook="http://127.0.0.1:9/"))
    assert (night.state, night.exit_code) == ("done", EXIT_OK)
    assert night.webhook is not None
    assert night.webhook.startswith("not sent: ")


def test_one_night_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog_tagger.tables.lease.STALE_S", 0.5)
    monkeypatch.setattr("catalog_tagger.tables.lease.BEAT_S", 0.1)
    put_stages(monkeypatch, tag=dict)
    with hold(Store(tmp_path / "tags"), "nightly.lock"), pytest.raises(RunError, match="being worked on"):
        run_night(config(tmp_path))
    assert run_night(config(tmp_path)).state == "done"


def test_a_key_that_is_wrong_is_said_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reconcile: .*precison"):
        config(tmp_path, reconcile={"metadata": "m.csv", "precison": 0.9})
    with pytest.raises(UsageError, match=r"reconcile: .*metadata"):
        config(tmp_path, reconcile={})
