"""Processes that die while the job runs, and a store that refuses on the way."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_files import glide, wav_bytes, write
from job_runs import Killer, by_track, holds_open, rows, run

from catalog_tagger.audio import seconds_to_samples, segment_count
from catalog_tagger.errors import StorageError

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]

NEIGHBOURS = {f"{i}.wav": 1.0 + i for i in range(5)}


@pytest.fixture
def long_catalogue(tmp_path: Path) -> Path:
    """Short tracks, and one of an hour, which is being decoded long enough to be caught at it."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for name, length_s in NEIGHBOURS.items():
        (folder / name).write_bytes(wav_bytes(np.ones(int(length_s * 16000), np.int16)))
    minute = write(tmp_path / "minute.mp3", glide(60.0, rate_hz=44100), rate_hz=44100, codec="mp3").read_bytes()
    (folder / "long.mp3").write_bytes(minute * 60)
    return folder


def assert_neighbours_are_tagged(warehouse: Path) -> None:
    found = by_track(warehouse, "status, duration_s")
    for name, length_s in NEIGHBOURS.items():
        assert (found[name]["status"], found[name]["duration_s"]) == ("tagged", length_s)


def test_a_decoder_that_is_killed_once_costs_nothing(long_catalogue: Path, bundle: str, tmp_path: Path) -> None:
    killer = Killer(holds_open(long_catalogue / "long.mp3"))
    killer.start()
    result = run(long_catalogue, tmp_path / "w", bundle)
    killer.join()
    assert killer.killed, "no decoder was caught"
    assert result.manifest is not None
    assert (result.manifest.tracks, result.manifest.quarantined) == (len(NEIGHBOURS) + 1, 0)
    (found,) = rows(tmp_path / "w", "SELECT duration_s, attempts FROM tracks WHERE track_id = 'long.mp3'")
    assert (found["duration_s"], found["attempts"]) == (pytest.approx(3600.0, abs=5.0), None)
    (segments,) = rows(
        tmp_path / "w",
        "SELECT count(*) AS n, count(DISTINCT start_s) AS places FROM segments WHERE track_id = 'long.mp3'",
    )
    assert segments["n"] == segments["places"] == segment_count(seconds_to_samples(found["duration_s"]))
    assert_neighbours_are_tagged(tmp_path / "w")


def test_a_track_whose_decoders_always_die_is_quarantined_and_its_neighbours_are_not(
    long_catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    killer = Killer(holds_open(long_catalogue / "long.mp3"), times=3)
    killer.start()
    result = run(long_catalogue, tmp_path / "w", bundle)
    killer.join()
    assert len(killer.killed) == 3
    assert result.manifest is not None
    assert result.manifest.quarantined_by_code == {"decoder_crashed": 1}
    found = by_track(tmp_path / "w", "status, error_code, error_message, duration_s, attempts")
    assert len(found) == len(NEIGHBOURS) + 1
    assert found["long.mp3"]["error_message"] == "the decoding process died 3 times: WorkerCrashedError"
    assert (found["long.mp3"]["duration_s"], found["long.mp3"]["attempts"]) == (None, 1)
    assert_neighbours_are_tagged(tmp_path / "w")
    assert rows(tmp_path / "w", "SELECT 1 FROM segments WHERE track_id = 'long.mp3'") == []


def test_a_decoder_that_hangs_is_ended_and_costs_its_own_track_alone(
    long_catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    stopper = Killer(holds_open(long_catalogue / "long.mp3"), send=signal.SIGSTOP)
    stopper.start()
    result = run(long_catalogue, tmp_path / "w", bundle, decode_timeout_s=3.0)
    stopper.join()
    assert stopper.killed, "no decoder was caught"
    assert result.manifest is not None
    assert result.manifest.quarantined_by_code == {"decoder_timeout": 1}
    found = by_track(tmp_path / "w", "error_message")
    assert found["long.mp3"]["error_message"] == "no further audio within 6 s"
    ends = time.monotonic() + 30
    while Path(f"/proc/{stopper.killed[0]}").exists():  # what was killed is there until its parent has seen it
        assert time.monotonic() < ends, "the process is left behind"
        time.sleep(0.1)
    assert_neighbours_are_tagged(tmp_path / "w")


def test_an_actor_that_is_killed_is_replaced_and_its_shard_done_once(
    long_catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    decoding = holds_open(long_catalogue / "long.mp3")
    actor = Killer(lambda folder: b"MapWorker" in (folder / "cmdline").read_bytes(), when=decoding)
    actor.start()
    result = run(long_catalogue, tmp_path / "w", bundle)
    actor.join()
    assert actor.killed, "no actor was caught"
    assert result.manifest is not None
    assert (result.manifest.tracks, result.manifest.quarantined) == (len(NEIGHBOURS) + 1, 0)
    assert any(f"/{actor.killed[0]}/" not in worker for worker in result.manifest.workers), "another did its shard"
    assert len(rows(tmp_path / "w", "SELECT 1 FROM tracks_history")) == len(NEIGHBOURS) + 1
    found = by_track(tmp_path / "w", "duration_s, scanned_s")
    assert found["long.mp3"]["duration_s"] == pytest.approx(3600.0, abs=5.0)
    assert_neighbours_are_tagged(tmp_path / "w")


def test_a_store_that_refuses_on_the_way_ends_the_run_and_leaves_it_resumable(bundle: str, tmp_path: Path) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    warehouse.mkdir()
    for i in range(3):
        (source / f"{i}.wav").write_bytes(wav_bytes(np.ones(16000, np.int16)))
    (warehouse / "segments").write_text("in the way")
    with pytest.raises(StorageError, match=r"/w/segments/run_id=r/\S+: not a folder, or a file is in the way"):
        run(source, warehouse, bundle)
    assert not (warehouse / "runs/r/manifest.json").exists()
    (warehouse / "segments").unlink()
    result = run(source, warehouse, bundle)
    assert result.manifest is not None
    assert (result.manifest.tagged, result.manifest.quarantined) == (3, 0)


def test_tracks_beyond_the_allowed_duration_are_quarantined(bundle: str, tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    for name, length_s in (("short.wav", 2), ("long.wav", 300)):
        (source / name).write_bytes(wav_bytes(np.ones(length_s * 16000, np.int16)))
    run(source, tmp_path / "w", bundle, max_duration_s=200.0)
    found = by_track(tmp_path / "w", "status, error_code, duration_s")
    assert found["short.wav"]["status"] == "tagged"
    assert (found["long.wav"]["error_code"], found["long.wav"]["duration_s"]) == ("too_long", None)
    assert rows(tmp_path / "w", "SELECT DISTINCT track_id AS t FROM segments") == [{"t": "short.wav"}]


def test_ten_minutes_are_one_track_of_121_segments_whatever_the_batches(bundle: str, tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    (source / "a.wav").write_bytes(wav_bytes(np.ones(601 * 16000 + 100, np.int16)))
    (source / "b.wav").write_bytes(wav_bytes(np.ones(16000, np.int16)))
    run(source, tmp_path / "w", bundle, batch_segments=7)
    (found,) = rows(
        tmp_path / "w",
        "SELECT count(*) AS n, max(end_s) AS ends, sum(end_s - start_s) AS s, count(DISTINCT start_s) AS places "
        "FROM segments WHERE track_id = 'a.wav'",
    )
    assert (found["n"], found["places"]) == (121, 121)
    assert found["ends"] == pytest.approx(601 + 100 / 16000)
    assert found["s"] == pytest.approx(601 + 100 / 16000)


TWO_GPUS = """
import sys
from catalog_tagger.tagging import cluster
import ray
ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, object_store_memory=10**8,
         log_to_driver=False, logging_level="ERROR")
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.job import run_tag_job
source, warehouse, bundle = sys.argv[1:]
result = run_tag_job(make_config(
    source=source, warehouse=warehouse, bundles=(bundle,), shard_tracks=1, min_actors=2))
print("\\n".join(result.manifest.workers))
ray.shutdown()
"""


def test_two_actors_own_one_gpu_each(bundle: str, tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    for i in range(6):
        (source / f"{i}.wav").write_bytes(wav_bytes(np.ones(10 * 16000, np.int16)))
    done = subprocess.run(
        [sys.executable, "-c", TWO_GPUS, str(source), str(tmp_path / "w"), bundle],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    workers = [worker.split("/") for worker in done.stdout.split()]
    assert len(workers) == 2
    assert {worker[-1] for worker in workers} == {"gpu0", "gpu1"}
    assert len({process for _, process, *_ in workers}) == 2
