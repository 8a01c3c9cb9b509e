import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("bench.py")


def test_runs_with_torch_and_numpy_alone_and_says_what_is_missing(tmp_path: Path) -> None:
    absent = ["librosa", "nnAudio", "scipy", "ray", "av", "rich", "safetensors"]
    program = (
        f"import runpy, sys; sys.modules |= dict.fromkeys({absent}); sys.path.insert(0, {str(BENCH.parent)!r}); "
        f"sys.argv[0] = {str(BENCH)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    figures = tmp_path / "figures.json"
    quick = ["--quick", "--threads", "1", "--sections", "cqt,gpu,models", "--json", str(figures)]
    subprocess.run([sys.executable, "-c", program, *quick], capture_output=True, text=True, check=True)
    rows = json.loads(figures.read_text())["rows"]
    ours = [row for row in rows if row["what"].startswith("CQT ")]
    peers = [row for row in rows if row["what"].startswith(("librosa", "nnAudio"))]
    assert {row["what"].partition(", batch ")[2] for row in ours} == {"1", "32"}
    assert all(row["figures"][0] > 100 and not row["ratios"] for row in ours)
    assert peers
    assert all(row["note"].startswith("not installed") and not row["figures"] for row in peers)
    assert any(row["section"] == "models" and row["note"].startswith("not installed") for row in rows)
    assert any(row["section"] == "gpu" for row in rows)
