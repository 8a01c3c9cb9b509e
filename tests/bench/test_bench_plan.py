import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("bench_plan.py")


def test_every_step_gives_its_figures_and_plans_what_it_should(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--tracks", "1000", "--manifest", "csv", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    new, files, again = (json.loads(line) for line in done.stdout.splitlines())
    assert [row["step"] for row in (new, files, again)] == ["new", "output files", "again"]
    assert [(row["todo"], row["up_to_date"]) for row in (new, again)] == [(1000, 0), (100, 900)]
    assert all(row["in_all_s"] > 0 and row["make_plan_peak_mb"] > 0 for row in (new, again))
    assert files["segments_rows"] > 40 * files["tracks_rows"] > 0
    assert list(tmp_path.iterdir()) == []
