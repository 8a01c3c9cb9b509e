"""The join as Ray Data: the same flags as on one machine, whatever the cluster."""

import json
import sys
from pathlib import Path

import pytest
from commands import command
from conftest import ROOT
from hand_made import put_tracks, quarantined, some_metadata, some_tracks, write_csv

from catalog_tagger.reconcile.config import make_config
from catalog_tagger.reconcile.job import run_reconcile
from catalog_tagger.storage import Store

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


def test_ray_finds_what_one_machine_finds(tmp_path: Path) -> None:
    store = Store(tmp_path / "w")
    tags = [{"tag": "rain", "score": 0.5}]
    rows = [row | {"tags": tags} for row in some_tracks()]
    put_tracks(store, [*rows, quarantined("x1")])
    said = [*some_metadata(m01="audiobook", b01="song", b02="", m09="polka")]
    said += [{"track_id": one, "title": "", "content_type": "song", "voice_gender": ""} for one in ("x1", "unknown")]
    metadata = write_csv(tmp_path / "m.csv", said)
    results = [
        run_reconcile(make_config(warehouse=store.uri, metadata=metadata, precision=0.9, run_id=run_id, ray=ray))
        for run_id, ray in (("here", False), ("there", True))
    ]
    left, right = (
        {row["flag_id"]: row for row in result.flags.drop_columns(["run_id", "state", "confidence"]).to_pylist()}
        for result in results
    )
    assert len(left) == 4
    assert right == left
    noise = [result.label_noise.to_pylist() for result in results]
    assert [row["expected"] for row in noise[1]] == pytest.approx([row["expected"] for row in noise[0]])
    assert results[0].coverage == results[1].coverage


def test_the_job_uses_the_cluster_that_is_named(tmp_path: Path) -> None:
    import ray

    store = Store(tmp_path / "w")
    put_tracks(store, some_tracks())
    metadata = write_csv(tmp_path / "m.csv", some_metadata(m01="audiobook", b01="song"))
    job = tmp_path / "job.yaml"
    job.write_text(f"warehouse: {store.uri}\nmetadata: {metadata}\n", encoding="utf-8")
    program = [sys.executable, str(ROOT / "jobs" / "reconcile.py")]
    address = str(ray.get_runtime_context().gcs_address)
    done = command("--config", str(job), "--set", "precision=0.9", program=program, RAY_ADDRESS=address)
    assert done.returncode == 0, done.stderr
    assert {flag["track_id"] for flag in json.loads(done.stdout)["flags"]} == {"m01", "b01"}
    done = command("--config", str(job), "--set", "ray_address=127.0.0.1:1", program=program)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no cluster at 127.0.0.1:1" in done.stderr
