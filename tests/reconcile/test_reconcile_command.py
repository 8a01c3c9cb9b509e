"""``catalog-tagger reconcile`` and its job file as users run them, on folders and in object storage."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import command
from conftest import ROOT
from hand_made import match, put_run, put_tracks, some_metadata, some_tracks, write_csv
from servers import BUCKET, S3Server

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

JOB = [sys.executable, str(ROOT / "jobs" / "reconcile.py")]


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    store = Store(tmp_path / "w")
    put_tracks(store, some_tracks())
    put_run(store, "s1", "songs", {"songs": [match("p01", {"song_track_id": "m01"})]}, minute=1)
    return store.uri


def test_the_command_explains_what_it_found(warehouse: str, tmp_path: Path) -> None:
    metadata = write_csv(tmp_path / "m.csv", some_metadata(m01="audiobook", b01="song", m09="polka"))
    done = command("reconcile", "-w", warehouse, "-m", metadata, "--run-id", "r1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "60 tracks compared" in done.stdout
    assert "content_type: the mapping does not list polka (1); tracks with these are not compared" in done.stdout
    assert "metadata say 'audiobook' (speech); speech is heard in 0 % of it, music in 100 % [0:00-0:20]" in done.stdout
    assert "plays m01 from 1:00 to 1:20" in done.stdout
    assert f"run r1 in {warehouse}" in done.stdout
    short = command("reconcile", "-w", warehouse, "-m", metadata, "--limit", "1")
    assert "... 2 more flags" in short.stdout


def test_json_stands_alone(warehouse: str, tmp_path: Path) -> None:
    metadata = write_csv(tmp_path / "m.csv", some_metadata(m01="audiobook", b01="song"))
    done = command("reconcile", "-w", warehouse, "-m", metadata, "--json", "--precision", "0.9")
    told = json.loads(done.stdout)
    assert {flag["track_id"] for flag in told["flags"]} == {"m01", "b01", "p01"}
    assert told["metadata"]["matched"] == 60
    assert {row["kind"]: row["new"] for row in told["counts"]} == {"embedded_song": 1, "mislabelled": 2}
    (song,) = (row for row in told["labels"] if row["value"] == "song")
    assert song["expected_wrong"] == pytest.approx(1, abs=0.3)


def test_bad_usage_is_code_2_and_one_line(warehouse: str, tmp_path: Path) -> None:
    done = command("reconcile", "-w", warehouse, "-m", str(tmp_path / "none.csv"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"catalog-tagger: {tmp_path}/none.csv: no such file\n"
    assert command("reconcile", "-w", warehouse).returncode == 2
    metadata = write_csv(tmp_path / "m.csv", some_metadata())
    done = command("reconcile", "-w", warehouse, "-m", metadata, "--precision", "1.5")
    assert done.returncode == 2
    assert "precision" in done.stderr


def test_the_job_file_does_the_same(warehouse: str, tmp_path: Path) -> None:
    metadata = write_csv(tmp_path / "m.csv", some_metadata(m01="audiobook", b01="song"))
    job = tmp_path / "job.yaml"
    job.write_text(f"warehouse: {warehouse}\nmetadata: {metadata}\n", encoding="utf-8")
    done = command("--config", str(job), "--set", "run_id=w47", "--set", "precision=0.9", program=JOB)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["run_id"] == "w47"
    assert {flag["track_id"] for flag in told["flags"]} == {"m01", "b01", "p01"}
    again = command("--config", str(job), "--set", "run_id=w47", program=JOB)
    assert (again.returncode, again.stdout) == (2, "")
    assert "run w47 is finished" in again.stderr


def test_everything_may_lie_in_object_storage(s3: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/tags-{s3.kind}")
    put_tracks(store, some_tracks())
    put_run(store, "s1", "songs", {"songs": [match("p01", {"song_track_id": "m01"})]}, minute=1)
    rows = some_metadata(m01="audiobook", b01="song", m02="audiobook")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    metadata = s3.put("metadata.parquet", (tmp_path / "m.parquet").read_bytes())
    options = ("-w", store.uri, "-m", metadata, "--precision", "0.9", "--json")
    first = command("reconcile", *options, "--run-id", "r1")
    assert first.returncode == 0, first.stderr
    flags = json.loads(first.stdout)["flags"]
    assert {flag["track_id"] for flag in flags} == {"m01", "m02", "b01", "p01"}
    assert all(flag["evidence"] for flag in flags)
    dismissed = next(flag["flag_id"] for flag in flags if flag["track_id"] == "m01")
    decisions = s3.put("decided.csv", f"flag_id,decision\n{dismissed},dismissed\n".encode())
    mapping = s3.put(
        "map.yaml",
        b"fields: {content_type: {column: content_type, values: "
        b"{music: [song], speech: [audiobook], speech or mixed: [podcast]}}}",
    )
    second = command("reconcile", *options, "--decisions", decisions, "--mapping", mapping, "--run-id", "r2")
    assert second.returncode == 0, second.stderr
    states = query(store, "SELECT track_id, state FROM flags ORDER BY 1").to_pylist()
    assert {row["track_id"]: row["state"] for row in states}["m01"] == "dismissed"
