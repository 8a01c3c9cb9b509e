"""The bench of songs, on a few recordings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).with_name("bench_songs.py")


@pytest.mark.data
def test_an_index_is_built_and_searched_with_its_figures(data_folder: Path) -> None:
    options = ["--songs", "12", "--shows", "3", "--recordings", "30", "--processes", "1"]
    done = subprocess.run(
        [sys.executable, str(BENCH), str(data_folder / "manifest.csv"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    index, shows, *sizes = done.stdout.splitlines()
    assert index.startswith("22 songs, 1 h: ")
    per_second = re.search(r"([0-9.]+) postings a second", index)
    assert per_second is not None
    assert 20 < float(per_second[1]) <= 60
    assert shows.startswith("3 shows of 240 s")
    assert [line.split()[0] for line in sizes] == ["10", "22"]
    for line in sizes:
        found, there = re.findall(r"(\d+)/(\d+) (?:clear|under speech)", line)
        assert int(found[0]) <= int(found[1])
        assert int(there[0]) <= int(there[1])
