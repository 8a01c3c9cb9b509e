"""Tracks that were quarantined, and those that are gone, from the command line."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import wav_bytes
from commands import command

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def ray_address(local_ray: None) -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def sound(seconds: int) -> bytes:
    return wav_bytes(np.ones(16000 * seconds, np.int16))


def rows(warehouse: Path) -> dict[str, tuple[Any, ...]]:
    table = query(Store(warehouse), "SELECT track_id, status, error_code, run_id FROM tracks")
    return {row["track_id"]: (row["error_code"], row["run_id"]) for row in table.to_pylist()}


def attempts(warehouse: Path) -> dict[str, int]:
    table = query(Store(warehouse), "SELECT track_id, attempts FROM tracks WHERE status = 'quarantined'")
    return {row["track_id"]: row["attempts"] for row in table.to_pylist()}


def test_quarantined_tracks_are_tried_again_where_they_are(tmp_path: Path, bundle: str, ray_address: str) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    (source / "good.wav").write_bytes(sound(1))
    (source / "page.mp3").write_bytes(b"<!DOCTYPE html>" * 40)
    (source / "empty.wav").write_bytes(b"")
    given = ("--bundle", bundle, "--ray-address", ray_address, "--json")
    first = command("tag", str(source), "-w", str(warehouse), "--run-id", "a", *given)
    assert first.returncode == 3, first.stderr
    again = command("tag", str(source), "-w", str(warehouse), "--run-id", "b", *given)
    assert json.loads(again.stdout)["state"] == "nothing_to_do"

    (source / "empty.wav").write_bytes(sound(2))
    done = command("retry-quarantined", str(warehouse), "--run-id", "c", *given)
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["tracks"], summary["tagged"]) == ("committed", 2, 1)
    assert rows(warehouse) == {"good.wav": (None, "a"), "page.mp3": ("not_audio", "c"), "empty.wav": (None, "c")}
    assert attempts(warehouse) == {"page.mp3": 2}
    finished = command("retry-quarantined", str(warehouse), "--run-id", "c", *given)
    assert (finished.returncode, json.loads(finished.stdout)["state"]) == (0, "already_committed")

    done = command("tag", str(source), "-w", str(warehouse), "--run-id", "d", "--retry-quarantined", "all", *given)
    assert json.loads(done.stdout)["tracks"] == 1
    assert attempts(warehouse) == {"page.mp3": 3}


def test_a_mended_tar_gives_its_members_and_fails_no_more(tmp_path: Path, bundle: str, ray_address: str) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(sound(i + 1))
    with tarfile.open(source / "s.tar", "w") as archive:
        for i in range(3):
            archive.add(tmp_path / f"{i}.wav", arcname=f"{i}.wav")
    whole = (source / "s.tar").read_bytes()
    (source / "s.tar").write_bytes(whole[:60_000])
    given = ("--bundle", bundle, "--ray-address", ray_address, "--json")
    first = command("tag", str(source), "-w", str(warehouse), "--run-id", "a", *given)
    assert json.loads(first.stdout)["quarantined_by_code"] == {"damaged_tar": 1}, first.stderr
    assert rows(warehouse) == {"s.tar#0.wav": (None, "a"), "s.tar": ("damaged_tar", "a")}

    still = command("retry-quarantined", str(warehouse), "--run-id", "b", *given)
    assert (still.returncode, json.loads(still.stdout)["quarantined_by_code"]) == (3, {"damaged_tar": 1})
    assert rows(warehouse) == {"s.tar#0.wav": (None, "a"), "s.tar": ("damaged_tar", "b")}

    (source / "s.tar").write_bytes(whole)
    mended = command("retry-quarantined", str(warehouse), "--run-id", "c", *given)
    assert mended.returncode == 0, mended.stderr
    assert {name: row for name, row in rows(warehouse).items() if "#" in name} == {
        f"s.tar#{i}.wav": (None, "c") for i in range(3)
    }
    assert json.loads(command("retry-quarantined", str(warehouse), *given).stdout)["state"] == "nothing_to_do"
    after = command("tag", str(source), "-w", str(warehouse), *given)
    assert json.loads(after.stdout)["removed_ids"] == ["s.tar"]


def test_tracks_that_are_gone_are_named_and_their_rows_stay(tmp_path: Path, bundle: str, ray_address: str) -> None:
    source, warehouse = tmp_path / "audio", tmp_path / "w"
    source.mkdir()
    for i in range(5):
        (source / f"{i}.wav").write_bytes(sound(1))
    given = ("--bundle", bundle, "--ray-address", ray_address)
    assert command("tag", str(source), "-w", str(warehouse), *given).returncode == 0
    for i in range(4):
        (source / f"{i}.wav").unlink()
    (source / "new.wav").write_bytes(sound(1))
    done = command("tag", str(source), "-w", str(warehouse), *given)
    assert done.returncode == 0, done.stderr
    line = "4 tracks are no longer in the source (0.wav, 1.wav, 2.wav, ...); their rows stay"
    assert line in done.stdout.splitlines()
    again = command("tag", str(source), "-w", str(warehouse), *given)
    assert line in again.stdout.splitlines()
    assert len(rows(warehouse)) == 6
