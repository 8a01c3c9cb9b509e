import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("bench_cqt.py")
QUICK = ["--rounds", "1", "--min-round-s", "0.001", "--threads", "1", "--device", "cpu"]


def test_runs_with_torch_and_numpy_alone_and_says_what_is_missing(tmp_path: Path) -> None:
    program = (
        "import runpy, sys; sys.modules |= dict.fromkeys(['librosa', 'nnAudio', 'scipy', 'ray', 'av', 'rich']); "
        f"sys.argv[0] = {str(BENCH)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-c", program, *QUICK, "--json", str(figures)], capture_output=True, text=True, check=True
    )
    rows = json.loads(figures.read_text())["rows"]
    ours = [row for row in rows if row["name"].startswith("catalog_tagger")]
    peers = [row for row in rows if row not in ours]
    assert {row["batch"] for row in ours} == {1, 8, 32}
    assert all(row["median_realtime"] > 100 for row in ours)
    assert peers
    assert all(row["reason"].startswith("not installed") and row["median_realtime"] is None for row in peers)
    assert done.stdout.count("not installed") == len(peers)
