"""Whole runs from and into object storage that fails all the time: every row of an undisturbed run, and no other."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import wav_bytes
from commands import command
from conftest import BROKEN, TRACKS
from fault_proxy import FaultProxy, Request, at_random, fault_proxy
from job_runs import VERDICT, assert_same
from servers import BUCKET, S3Server

pytestmark = pytest.mark.xdist_group("ray_commands")

NAMES = [*TRACKS, *BROKEN]
COLUMNS = f"track_id, uri, audio_etag, size_bytes, error_message, {VERDICT}"


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3) as running:
        yield running


def put_catalogue(s3: S3Server, catalogue: Path, kind: str) -> str:
    """The catalogue as objects or as members of two tars; the source."""
    if kind == "objects":
        s3.put_all({f"objects/{name}": (catalogue / name).read_bytes() for name in NAMES})
    for i in range(2) if kind == "tars" else ():
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in NAMES[i::2]:
                tar.add(catalogue / name, arcname=name)
        s3.put(f"tars/{i}.tar", archive.getvalue())
    return f"s3://{BUCKET}/{kind}"


def rows(warehouse: str) -> dict[str, dict[str, Any]]:
    done = command("sql", warehouse, f"select {COLUMNS} from tracks", "--json")
    assert done.returncode == 0, done.stderr
    return {row["track_id"]: row for row in json.loads(done.stdout)}


def segments(warehouse: str) -> list[dict[str, Any]]:
    statement = "select track_id, count(*) as n, max(end_s) as ends from segments group by 1 order by 1"
    done = command("sql", warehouse, statement, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("s3", "kind"), [("rclone", "objects"), ("moto", "tars")], indirect=["s3"])
def test_no_row_is_lost_or_differs(s3: S3Server, proxy: FaultProxy, kind: str, catalogue: Path, bundle: str) -> None:
    source, calm, rough = put_catalogue(s3, catalogue, kind), f"s3://{BUCKET}/calm", f"s3://{BUCKET}/rough"
    done = command("tag", source, "-w", calm, "--bundle", bundle, "--json")
    assert done.returncode == 3, done.stderr
    proxy.rule = at_random(seed=11, rate=0.3, most=3)
    through = {"AWS_ENDPOINT_URL": proxy.server.endpoint, "CATALOG_TAGGER_READ_TIMEOUT_S": "2"}
    done = command("tag", source, "-w", rough, "--bundle", bundle, "--json", **through)
    assert done.returncode == 3, done.stderr
    found = rows(rough)
    print(f"\n{s3.kind}, {kind}: {len(found)} rows of {len(NAMES)}, {proxy.figures()}")
    assert_same(found, rows(calm))
    assert segments(rough) == segments(calm)
    assert len(found) == len(NAMES)
    assert proxy.faults.total() >= 5
    assert len(proxy.faults) >= 3, "of several kinds"


@pytest.mark.parametrize("s3", ["rclone"], indirect=True)
def test_access_lost_on_the_way_ends_the_job_and_the_run_can_be_resumed(
    s3: S3Server, proxy: FaultProxy, catalogue: Path, bundle: str
) -> None:
    source, warehouse = put_catalogue(s3, catalogue, "objects"), f"s3://{BUCKET}/denied"
    job = ("tag", source, "-w", warehouse, "--bundle", bundle, "--run-id", "r", "--shard-tracks", "2", "--json")

    def denied(request: Request) -> str | None:
        return "403" if request.is_read and request.path.endswith(NAMES[-1]) else None

    proxy.rule = denied
    through = {"AWS_ENDPOINT_URL": proxy.server.endpoint}
    done = command(*job, **through)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("catalog-tagger: ")]
    assert f"{NAMES[-1]}: access denied; check the permissions and credentials in use" in line
    assert done.stderr.count("denied;") == 1
    assert done.stdout == ""
    assert proxy.faults["403"] == 1, "it was not tried again"
    finished = s3.files().find(f"{BUCKET}/denied/tracks")
    proxy.rule = lambda _: None
    done = command(*job, **through)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["run_id"] == "r"
    assert set(rows(warehouse)) == set(NAMES)
    print(f"\n{len(finished)} of 4 shards were finished before, 4 after")
    assert set(finished) <= set(s3.files().find(f"{BUCKET}/denied/tracks"))


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_a_store_that_fails_for_every_large_object_ends_the_job_before_a_catalogue_is_quarantined(
    s3: S3Server, proxy: FaultProxy, bundle: str
) -> None:
    large = wav_bytes(np.zeros((17 * 2**17, 8), np.int16), rate_hz=48000)  # 36 MB for 46 s
    s3.put_all({f"long-files/{i}.wav": large for i in range(5)})
    job = (
        "tag",
        f"s3://{BUCKET}/long-files",
        "-w",
        f"s3://{BUCKET}/long-tags",
        "--bundle",
        bundle,
        "--max-actors",  # each counts by itself
        "1",
        "--json",
    )
    proxy.rule = lambda request: "500" if request.is_read and request.path.endswith(".wav") else None
    done = command(*job, AWS_ENDPOINT_URL=proxy.server.endpoint, AWS_MAX_ATTEMPTS="2")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("catalog-tagger: ")]
    assert line.endswith("(4 reads in a row failed; resume the run when the store is well)")
    assert not any("manifest.json" in name for name in s3.files().find(f"{BUCKET}/long-tags")), "it can be resumed"
