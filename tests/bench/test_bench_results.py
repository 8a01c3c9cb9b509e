"""Ratios, targets, the table and the comparison with a stored run; how contenders take turns."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from measuring import Contender, Settings, environment, made, on_cores, take_turns
from results import Row, Target, changes, comparison, number, table

BENCH = Path(__file__).with_name("bench.py")


def row(ours: list[float], peer: list[float], *, target: Target | None = None) -> Row:
    return Row("s", "ours", ours, peer="peer", peer_figures=peer, target=target)


def test_ratios_are_of_each_round_and_targets_of_their_median() -> None:
    one = row([10.0, 40.0, 30.0], [5.0, 10.0, 10.0], target=Target(3.0))
    assert one.ratios == [2.0, 4.0, 3.0]
    assert one.to_json()["target"] == "≥ 3 holds"
    assert row([10.0], [5.0], target=Target(2.5)).to_json()["target"] == "≥ 2.5 MISSED"
    assert Row("s", "error", [0.02], target=Target(0.01, "at most")).to_json()["target"] == "≤ 0.01 MISSED"
    assert row([10.0], [], target=Target(2.5)).to_json()["target"] == "≥ 2.5"


def test_the_table_has_a_cell_for_everything() -> None:
    missing = Row("s", "theirs", note="not installed: no module", peer="other")
    lines = table([row([1000.0, 3000.0, 2000.0], [500.0, 1000.0, 1000.0], target=Target(2.0)), missing]).splitlines()
    assert lines[2] == "| s: ours | 2,000 | 1,000 – 3,000 | peer (1,000) | 2 | 2 – 3 | ≥ 2 holds |"
    assert lines[3] == "| s: theirs |  |  | other: not installed: no module |  |  |  |"
    assert {line.count("|") for line in lines} == {8}
    assert [number(value) for value in (0.0, 2e-5, 0.123456, 99.95, 12345.6)] == [
        "0",
        "2.0e-05",
        "0.123",
        "100",
        "12,346",
    ]


@pytest.mark.parametrize(
    ("then", "now", "fell"),
    [
        ([2.0, 2.1, 2.2], [1.7, 1.8, 1.9], True),
        ([2.0, 2.1, 2.2], [1.7, 1.8, 2.0], False),
        ([2.0, 2.1, 2.2], [2.3, 2.4, 2.5], False),
        ([2.0], [1.9], False),
        ([2.0], [1.7], True),
        ([2.0, 2.1, 2.2], [1.95], False),
    ],
)
def test_a_ratio_fell_by_more_than_the_spreads_explain(then: list[float], now: list[float], fell: bool) -> None:
    stored = {"rows": [row(then, [1.0] * len(then)).to_json(), Row("s", "gone", [1.0]).to_json()]}
    found = changes([row(now, [1.0] * len(now)), Row("s", "new", [1.0])], json.loads(json.dumps(stored)))
    assert [change.fell for change in found] == [fell]
    text = comparison(found)
    assert ("FELL" in text) == fell
    assert f"{int(fell)} of 1 ratios fell" in text


def test_contenders_take_turns_and_keep_the_reason_of_a_failure() -> None:
    calls = []

    def failing() -> None:
        raise ValueError("no such\n hop")

    def absent() -> None:
        import no_such_package  # noqa: F401

    first = Contender("first", 5.0, lambda: calls.append("A"))
    second = Contender("second", 5.0, lambda: calls.append("B"))
    bad, gone = Contender("bad", 5.0, failing), made("gone", 5.0, absent)
    take_turns([first, bad, second, gone], Settings(rounds=3, min_round_s=0.0))
    assert "".join(calls) == "AABB" + "AB" * 3
    assert len(first.speeds) == len(second.speeds) == 3
    assert min(first.speeds) > 0
    assert not bad.speeds
    assert bad.reason == "fails: ValueError: no such hop"
    assert gone.reason.startswith("not installed: ")


def test_cores_are_given_back() -> None:
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    with on_cores(1):
        assert torch.get_num_threads() == 1
        assert len(os.sched_getaffinity(0)) == 1
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (threads, cores)


def test_the_machine_is_named() -> None:
    where = environment(Settings(threads=1))
    assert where["cpu"]
    assert where["torch_threads"] == 1
    assert where["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_a_stored_run_is_compared_with_and_unknown_sections_are_refused(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCH), "--quick", "--threads", "1", "--sections"]
    refused = subprocess.run([*command, "cqt,cpt"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "no section cpt" in refused.stderr
    rows = [row([1.0], [1.0]).to_json()]
    figures.write_text(json.dumps({"rows": rows}))
    done = subprocess.run(
        [*command, "gpu", "--compare", str(figures), "--json", str(figures)], capture_output=True, text=True, check=True
    )
    if not torch.cuda.is_available():
        assert "gpu: not run |  |  | no CUDA device here" in done.stdout
    assert re.search(r"0 of \d+ ratios fell", done.stdout)
    assert json.loads(figures.read_text())["rows"][0]["section"] == "gpu"
