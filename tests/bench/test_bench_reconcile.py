"""The bench of reconciling, on few tracks."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("bench_reconcile.py")


def test_tracks_are_reconciled_with_their_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--tracks", "5000", "--folder", str(tmp_path / "bench")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "GiB" in done.stdout
