"""The command and the job as users run them: here, from object storage, on Ray."""

import json
import sys
from pathlib import Path

import pytest
from commands import command
from composed import excerpt, put_tagged, show, some_songs
from conftest import ROOT
from servers import BUCKET, S3Server

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

SHOW = ((excerpt(1, 5.0, 17.0), 10.2), (excerpt(3, 8.0, 20.0), 30.1))


def fill(store: Store) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": show(*SHOW)})


def test_songs_are_shown_with_their_times_and_how_to_ask_for_them(tmp_path: Path) -> None:
    fill(Store(tmp_path / "w"))
    done = command("songs", "-w", str(tmp_path / "w"), "--run-id", "s1", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first, _ = (line.split() for line in lines if line.startswith("show"))
    assert first[:7:2] == ["show", "0:00:10", "0:00:22", "song1"]
    assert "2 songs in 1 track, of 1 track in which there may be music; 4 songs in the index" in lines
    assert any(line.startswith("run s1 in ") for line in lines)
    again = command("songs", "-w", str(tmp_path / "w"), "--json")
    document = json.loads(again.stdout)
    assert [row["song_track_id"] for row in document["songs"]] == ["song1", "song3"]
    sql = command("sql", str(tmp_path / "w"), "select count(*) as n from songs where song_track_id = 'song3'", "--json")
    assert json.loads(sql.stdout) == [{"n": 1}]


def test_a_place_without_a_warehouse_is_one_error(tmp_path: Path) -> None:
    done = command("songs", "-w", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"catalog-tagger: {tmp_path / 'none'}: no warehouse here; "
        "make one with: catalog-tagger tag SOURCE --warehouse W\n"
    )


def test_songs_are_found_in_a_bucket(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/songs")
    fill(store)
    for number in (1, 2):
        done = command("songs", "-w", store.uri, "--json", "--processes", "1", **s3.environment())
        assert done.returncode == 0, done.stderr
        found = [(row["track_id"], row["song_track_id"]) for row in json.loads(done.stdout)["songs"]]
        assert found == [("show", "song1"), ("show", "song3")], number
    assert query(store, "SELECT count(*) AS n FROM songs").to_pylist() == [{"n": 2}]


@pytest.mark.xdist_group("ray_commands")
def test_the_job_does_the_same_as_tasks_on_ray(tmp_path: Path) -> None:
    fill(Store(tmp_path / "w"))
    config = tmp_path / "songs.yaml"
    config.write_text(f"warehouse: {tmp_path / 'w'}\nray_address: local\n", encoding="utf-8")
    program = [sys.executable, str(ROOT / "jobs" / "index_fingerprints.py")]
    done = command("--config", str(config), "--set", "run_id=s1", program=program)
    assert done.returncode == 0, done.stderr
    assert [row["song_track_id"] for row in json.loads(done.stdout)["songs"]] == ["song1", "song3"]
    refused = command("--config", str(config), "--set", "most_flase=1", program=program)
    assert refused.returncode == 2
    assert "unknown key 'most_flase'; known keys: warehouse, run_id, most_false" in refused.stderr
