"""Two drivers that were given the same run."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from commands import PROGRAM, environment
from conftest import BROKEN, TRACKS
from servers import BUCKET, S3Server

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_manifest
from catalog_tagger.tables.views import query

pytestmark = pytest.mark.xdist_group("ray_commands")

PLANNED = len(TRACKS) + len(BROKEN)


def start(source: Path, warehouse: str, bundle: str) -> subprocess.Popen[str]:
    command = [*PROGRAM, "tag", str(source), "-w", warehouse, "--bundle", bundle, "--run-id", "r", "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True)


def assert_exact(warehouse: str) -> None:
    store = Store(warehouse)
    manifest = read_manifest(store, "r")
    assert manifest is not None
    assert (manifest.tracks, manifest.quarantined) == (PLANNED, len(BROKEN))
    (found,) = query(store, "SELECT count(*) AS n, count(DISTINCT track_id) AS t FROM tracks_history").to_pylist()
    assert found == {"n": PLANNED, "t": PLANNED}
    listed = {file.name.rpartition("/")[2] for file in manifest.files if file.table == "tracks"}
    assert set(store.children("tracks/run_id=r")) == listed


def test_the_second_of_two_drivers_is_told_of_the_first_and_leaves_the_run_alone(
    catalogue: Path, bundle: str, tmp_path: Path
) -> None:
    warehouse = str(tmp_path / "w")
    first = start(catalogue, warehouse, bundle)
    while not (tmp_path / "w/runs/r/lease/0001.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = start(catalogue, warehouse, bundle)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 1, said
    (line,) = said.strip().splitlines()
    assert line.startswith("catalog-tagger: run r is being worked on by ")
    assert f":{first.pid}; let it end, or stop that process and start again" in line
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 3
    assert json.loads(out)["tracks"] == PLANNED
    assert_exact(warehouse)


@pytest.mark.parametrize("s3", ["rclone"], indirect=True)
def test_where_the_store_ignores_conditions_both_may_work_and_every_row_is_there_once(
    s3: S3Server, catalogue: Path, bundle: str
) -> None:
    warehouse = f"s3://{BUCKET}/two-drivers"
    drivers = [start(catalogue, warehouse, bundle) for _ in range(2)]
    ends = [driver.communicate(timeout=180) for driver in drivers]
    codes = sorted(driver.returncode for driver in drivers)
    assert codes in ([1, 3], [3, 3]), ends
    assert_exact(warehouse)
