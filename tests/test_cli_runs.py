"""Runs from the command line: summaries, codes, and an interruption that can be taken up again."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav_bytes
from commands import PROGRAM, command, environment
from conftest import BROKEN, ROOT, TRACKS
from servers import free_port

from catalog_tagger.storage import Store
from catalog_tagger.tables.lease import read_leases

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def ray_address(local_ray: None) -> str:
    """The cluster of the other tests, as a cluster that somebody named."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.wav").write_bytes(wav_bytes(np.ones(16000 * (i + 1), np.int16)))
    return folder


def test_tag_ends_with_a_summary_and_the_next_question(
    few: Path, bundle: str, tmp_path: Path, ray_address: str
) -> None:
    warehouse = str(tmp_path / "w")
    arguments = ("tag", str(few), "-w", warehouse, "--bundle", bundle, "--ray-address", ray_address)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    first, heard, where, ask = done.stdout.splitlines()
    assert re.match(r"3 of 3 tracks tagged: 0.00 h of audio in 0:0\d:", first)
    assert re.fullmatch(r"heard (\d (music|speech|mixed|other)(, )?)+", heard)
    assert re.fullmatch(
        rf"run \d{{8}}T\d{{6}}Z-[0-9a-f]{{4}} in {warehouse}; models untrained@[0-9a-f]{{16}}, peaks@1", where
    )
    statement = ask.partition(warehouse)[2].strip().strip('"')
    answer = command("sql", warehouse, statement)
    assert answer.returncode == 0
    again = command(*arguments)
    assert (again.returncode, again.stdout) == (
        0,
        f"Nothing to do: all 3 tracks are up to date in {warehouse}\n",
    )


def test_json_alone_is_on_standard_output_and_quarantined_tracks_are_code_3(
    catalogue: Path, bundle: str, tmp_path: Path, ray_address: str
) -> None:
    done = command(
        *("tag", str(catalogue), "-w", str(tmp_path / "w"), "--bundle", bundle, "--run-id", "r", "--json"),
        RAY_ADDRESS=ray_address,
    )
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["run_id"], summary["warehouse"]) == ("committed", "r", str(tmp_path / "w"))
    assert (summary["tracks"], summary["tagged"], summary["quarantined"]) == (8, len(TRACKS), len(BROKEN))
    assert summary["audio_s"] == pytest.approx(sum(length_s for _, length_s in TRACKS.values()), abs=0.3)


def test_the_job_script_does_the_same_job(few: Path, bundle: str, tmp_path: Path, ray_address: str) -> None:
    (few / "broken.mp3").write_bytes(b"nothing")
    config = tmp_path / "job.yaml"
    config.write_text(
        f"source: {few}\nwarehouse: {tmp_path}/w\nbundles: ['{bundle}']\n"
        f"run_id: from-file\nray_address: '{ray_address}'\n"
    )
    program = [sys.executable, str(ROOT / "jobs" / "tag_catalog.py")]
    done = command("--config", str(config), "--set", "run_id=from-set", program=program)
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["run_id"], summary["tagged"], summary["quarantined_by_code"]) == ("from-set", 3, {"not_audio": 1})
    again = command("--config", str(config), "--set", "run_id=from-set", "--quarantined-ok", program=program)
    assert (again.returncode, json.loads(again.stdout)["state"]) == (0, "already_committed")


@pytest.mark.parametrize("named", ["option", "environment"])
def test_a_cluster_that_is_not_there_is_one_line(named: str, few: Path, bundle: str, tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    option = ["--ray-address", nowhere] if named == "option" else []
    variable = {"RAY_ADDRESS": nowhere} if named == "environment" else {}
    done = command("tag", str(few), "-w", str(tmp_path / "w"), "--bundle", bundle, *option, **variable)
    assert done.returncode == 1
    assert done.stderr == (
        f"catalog-tagger: Ray: no cluster at {nowhere} (Connection refused); check --ray-address and RAY_ADDRESS\n"
    )


def started(process: subprocess.Popen[str], warehouse: Path) -> Path:
    """The tracks of run r, once there are any."""
    tracks = warehouse / "tracks" / "run_id=r"
    ends = time.monotonic() + 120
    while not (tracks.is_dir() and any(tracks.glob("*.parquet"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)
    return tracks


def test_a_job_that_is_stopped_ends_its_lease_and_says_how_to_go_on(
    bundle: str, tmp_path: Path, ray_address: str
) -> None:
    """As ``ray job stop`` does it."""
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    for i in range(8):
        (source / f"{i:02d}.wav").write_bytes(wav_bytes(np.ones(400 * 16000, np.int16)))
    config = tmp_path / "job.yaml"
    config.write_text(
        f"source: {source}\nwarehouse: {warehouse}\nbundles: ['{bundle}']\n"
        f"shard_tracks: 1\nrun_id: r\nray_address: '{ray_address}'\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "tag_catalog.py"), "--config", str(config)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started(process, warehouse)
        process.terminate()
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stdout) == (130, ""), stderr
    assert "Traceback" not in stderr, stderr
    assert stderr.splitlines()[-1] == "tag_catalog: interrupted; resume with --set run_id=r"
    assert [lease.ended for lease in read_leases(Store(warehouse), "r")] == [True]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_goes_on(
    stop: signal.Signals, bundle: str, tmp_path: Path, ray_address: str
) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    for i in range(8):
        (source / f"{i:02d}.wav").write_bytes(wav_bytes(np.ones(400 * 16000, np.int16)))
    process = subprocess.Popen(
        [*PROGRAM, "tag", str(source), "-w", str(warehouse), "--bundle", bundle, "--shard-tracks", "1", "--run-id", "r"]
        + ([] if stop == signal.SIGINT else ["--ray-address", ray_address]),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        tracks = started(process, warehouse)
        process.send_signal(stop)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr, stderr
    assert stdout == ""
    hint = stderr.strip().splitlines()[-1].strip()
    assert hint.startswith(
        f"catalog-tagger tag {source} --warehouse {warehouse} --run-id r --bundle={bundle} --shard-tracks=1"
    )
    finished = {path: path.stat().st_mtime_ns for path in tracks.glob("*.parquet")}
    assert 0 < len(finished) < 8
    assert not (warehouse / "runs/r/manifest.json").exists()

    words = [word for word in shlex.split(hint)[1:] if not word.startswith("--ray-address")]
    done = command(*words, "--json", "--ray-address", ray_address)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["tracks"], summary["tagged"]) == ("committed", 8, 8)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
