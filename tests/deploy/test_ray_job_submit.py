"""A job submitted to a cluster as its users do it: `ray job submit`, from a folder, with a configuration file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from commands import environment
from conftest import BROKEN, ROOT, TRACKS, write_catalogue
from servers import free_port

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

pytestmark = pytest.mark.xdist_group("ray_commands")
RAY = Path(sys.executable).with_name("ray")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster's dashboard, which takes jobs."""
    port, dashboard = free_port(), free_port()
    started = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"),
            *("--dashboard-host=127.0.0.1", "--object-store-memory=300000000", "--disable-usage-stats"),
            *(f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={tmp_path / 'ray'}"),
        ],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield f"http://127.0.0.1:{dashboard}"
    started.terminate()  # with --block it ends what it has started
    try:
        started.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, 9)
    shutil.rmtree(tmp_path / "ray", ignore_errors=True)


def submitted(cluster: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """(Exit code, what the job wrote) of a job in a working directory."""
    done = subprocess.run(
        [RAY, "job", "submit", f"--address={cluster}", f"--working-dir={folder}", "--", "python", *arguments],
        env=environment(RAY_JOB_HEADERS=""),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_a_night_is_submitted_and_its_summary_comes_back(cluster: str, bundle: str, tmp_path: Path) -> None:
    source, work = tmp_path / "audio", tmp_path / "work"
    source.mkdir()
    (work / "jobs").mkdir(parents=True)
    write_catalogue(source)
    shutil.copy(ROOT / "jobs" / "nightly.py", work / "jobs")
    config = {
        "source": str(source),
        "warehouse": str(tmp_path / "tags"),
        "night": "submitted",
        "tag": {"bundles": [bundle], "precision": "float32"},
        "report": {"grams": 0},
    }
    (work / "nightly.yaml").write_text(yaml.safe_dump(config))
    code, said = submitted(cluster, work, "jobs/nightly.py", "--config", "nightly.yaml", "--quarantined-ok")
    assert code == 0, said
    summary = json.loads((tmp_path / "tags" / "nightly" / "submitted.json").read_text())
    assert summary["state"] == "done"
    assert summary["stages"]["tag"]["said"]["tracks"] == len(TRACKS) + len(BROKEN)
    assert '"state": "done"' in said
    (row,) = query(Store(tmp_path / "tags"), "SELECT count(*) AS tracks FROM tracks").to_pylist()
    assert row["tracks"] == len(TRACKS) + len(BROKEN)
    again, said = submitted(cluster, work, "jobs/nightly.py", "--config", "nightly.yaml", "--set", "soure=x")
    assert again != 0
    assert "soure" in said
