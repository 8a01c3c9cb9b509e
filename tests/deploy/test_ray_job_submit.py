"""A job submitted to a cluster as its users do it: `ray job submit`, from a folder, with a configuration file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from commands import environment
from conftest import BROKEN, ROOT, TRACKS, write_catalogue
from processes import descendants
from servers import free_port

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

pytestmark = pytest.mark.xdist_group("ray_commands")
RAY = Path(sys.executable).with_name("ray")


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError:  # it is there, and wants the token that `ray` finds by itself
            return
        except OSError:
            assert time.monotonic() < deadline, "the dashboard does not come up"
            time.sleep(0.3)


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster's dashboard, which takes jobs."""
    port, dashboard = free_port(), free_port()
    folder = tempfile.mkdtemp(prefix="ray")  # a short one: names of sockets are
    started = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"),
            *("--dashboard-host=127.0.0.1", "--object-store-memory=300000000", "--disable-usage-stats"),
            *(f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={folder}"),
        ],
        env=environment(RAY_AUTH_MODE="disabled", PATH=f"{RAY.parent}:{os.environ['PATH']}"),  # whose python has it
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    place = f"http://127.0.0.1:{dashboard}"
    wait_for(f"{place}/api/version")
    yield place
    ended = [started.pid, *descendants(started.pid)]
    for pid in ended:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    started.wait(timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


def submitted(cluster: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """(Exit code, what the job wrote) of a job in a working directory."""
    done = subprocess.run(
        [RAY, "job", "submit", f"--address={cluster}", f"--working-dir={folder}", "--", "python", *arguments],
        env=environment(RAY_AUTH_MODE="disabled"),
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
