"""Dry runs and the list of runs from the command line: what they say, and that they change nothing."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from commands import command
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent / "tables"))
from warehouse import manifest_of, put_run, put_shard, track_row

from catalog_tagger.models.fused import best_dtype
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import Session, commit_run
from catalog_tagger.tagging.costs import BY_DEPTH, FORMULA, MACHINES, Catalogue, constants, core_rate, per_million

JOB = [sys.executable, str(ROOT / "jobs" / "tag_catalog.py")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.mp3").write_bytes(bytes(16_000 * 3600))
    return folder


@pytest.fixture
def warehouse(tmp_path: Path, source: Path) -> str:
    """A run of the source that had three more tracks, on two nodes for an hour and ten seconds."""
    store = Store(tmp_path / "w")
    rows = [track_row(f"gone-{i}.mp3", run_id="r", minute=1, duration_s=90.0, size_bytes=720_000) for i in range(3)]
    rows.append(track_row("bad.mp3", run_id="r", minute=1, status="quarantined", error_code="truncated"))
    manifest = manifest_of("r", put_shard(store, run_id="r", shard="000000-x", rows=rows))
    session = Session(
        driver="host:1",
        started_at="2026-01-01T00:00:00+00:00",
        last_seen_at="2026-01-01T01:00:10+00:00",
        nodes=2,
        cpus=8,
        gpus=0,
        node_s=7220.0,
    )
    values = {**vars(manifest), "source": str(source), "sessions": [session], "audio_s": 3600.0 * 8 * 200}
    commit_run(store, type(manifest)(**{**values, "config": {"cost_per_hour": 0.25}}))
    return str(tmp_path / "w")


def files(folder: Path | str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


#: how the table of costs begins
TABLE = """
a million tracks of 1:00:00, the mean of these, in US dollars; this job: scan

machine     ┃ with                   ┃ an hour ┃ by skim ┃ by auto ┃ by scan
━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━
"""


def test_a_dry_run_says_what_there_is_to_do_by_defaults(source: Path, bundle: str, tmp_path: Path) -> None:
    arguments = ("tag", str(source), "-w", str(tmp_path / "new"), "--bundle", bundle, "--dry-run", "--depth", "scan")
    done = command(*arguments, "--nodes", "2", "--cpus", "10", "--cost-per-hour", "9")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    listener = "bfloat16" if best_dtype() is torch.bfloat16 else "float32"
    rate = core_rate("scan", Catalogue(track_s=3600.0, bundles=("untrained",)), listener=listener)
    wall_s = 10 + 18_000 / (rate * 20)
    assert lines[:5] == [
        "5 tracks to do, 0 up to date",
        "5 work shards, 274.7 MiB, about 5.00 h of audio",
        f"about 0:00:{wall_s:02.0f} on 2 nodes of 10 CPUs",
        f"cost about {wall_s / 3600 * 18:.2g}: {wall_s / 3600:.3f} h x 2 nodes x 9 per node and hour",
        f"reckoned with {rate:,.0f}x real time per CPU, the default for scan by 1 model; "
        "the length of mp3 files by usual bit rates",
    ]
    assert "\n".join(lines[5:]).startswith(TABLE)
    assert lines[-1] == "dry run: nothing started, nothing written"
    assert not (tmp_path / "new").exists()


def test_a_dry_run_shows_what_a_million_such_tracks_cost(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("track_id,uri,size_bytes\n1,/1.mp3,3200000\n2,/2.mp3,4480000\n")
    arguments = ("tag", f"{tmp_path}/m.csv", "-w", str(tmp_path / "w"), "--bundle", bundle, "--dry-run")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    shown = done.stdout[done.stdout.index("a million") :].splitlines()
    as_json = json.loads(command(*arguments, "--json").stdout)
    catalogue = Catalogue(track_s=240.0, bundles=("untrained",))
    assert as_json["per_million"] == [asdict(million) for million in per_million(catalogue)]
    assert (as_json["depth"], as_json["catalogue"]["track_s"]) == ("auto", 240.0)
    assert as_json["per_million_by"] == {
        "formula": FORMULA,
        "constants": constants(catalogue),
        "prices_of": "AWS us-east-1, on demand, April 2026",
    }
    assert shown[0].startswith("a million tracks of 0:04:00, ")
    assert shown[0].endswith("; this job: auto")
    header, _, *rows = (line for line in shown[2:7])
    names = [cell.strip() for cell in header.split("┃")]
    assert names == ["machine", "with", "an hour", "by skim", "by auto", "by scan"]
    for machine, row in zip(MACHINES, rows, strict=True):
        cells = dict(zip(names, (cell.strip() for cell in row.split("│")), strict=True))
        assert (cells["machine"], cells["an hour"]) == (machine.name, f"{machine.price_per_hour:.3f}")
        for depth in BY_DEPTH:
            cost = next(
                one["cost"] for one in as_json["per_million"] if (one["machine"], one["depth"]) == (machine.name, depth)
            )
            assert cells[f"by {depth}"] == f"{cost:.2f}"
    below = " ".join(line.strip() for line in shown[7:])
    assert f"{FORMULA} prices: AWS us-east-1, on demand, April 2026 " in below
    assert "measured on cores of an AMD EPYC: DECODE 948 and " in below
    assert "assumed: 90 % of the audio is music; a half core does 0.6 of a core" in below
    assert max(map(len, shown)) <= 100


def test_a_dry_run_reckons_with_what_the_warehouse_measured(source: Path, bundle: str, warehouse: str) -> None:
    before = files(warehouse)
    arguments = ("tag", str(source), "-w", warehouse, "--bundle", bundle, "--dry-run", "--depth", "scan")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:5] == [
        "5 tracks to do, 0 up to date",
        "4 tracks are no longer in the source (bad.mp3, gone-0.mp3, gone-1.mp3, ...); their rows stay",
        "5 work shards, 274.7 MiB, about 10.00 h of audio",
        "about 0:00:32 on 2 nodes of 4 CPUs",
        "reckoned with 200x real time per CPU, measured in 1 scan run of this warehouse; "
        "the length of mp3 files by tracks of this warehouse",
    ]
    as_json = json.loads(command(*arguments, "--json", "--cost-per-hour", "2").stdout)
    assert (as_json["state"], as_json["tracks"], as_json["removed"], as_json["shards"]) == ("dry_run", 5, 4, 5)
    assert as_json["removed_ids"] == ["bad.mp3", "gone-0.mp3", "gone-1.mp3", "gone-2.mp3"]
    assert as_json["wall_s"] == pytest.approx(10 + 36_000 / (200 * 8))
    assert as_json["cost"] == pytest.approx(as_json["wall_s"] / 3600 * 2 * 2)
    auto = json.loads(command(*arguments[:-1], "auto", "--json").stdout)
    assert (auto["measured_runs"], auto["nodes"], auto["cpus"]) == (0, 2, 4), (
        "a scan is no measurement of another depth"
    )
    assert files(warehouse) == before


def test_shares_of_music_of_the_warehouse_are_said_to_be_its_own(bundle: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "w")
    rows = [
        track_row(f"{i}", run_id="r", minute=1, duration_s=200.0, scanned_s=25.0 if i < 90 else 200.0, size_bytes=1)
        for i in range(120)
    ]
    manifest = manifest_of("r", put_shard(store, run_id="r", shard="000000-x", rows=rows))
    commit_run(store, type(manifest)(**{**vars(manifest), "config": {"depth": "auto"}}))
    (tmp_path / "m.csv").write_text("track_id,uri,size_bytes\n1,/1.flac,24000000\n")
    done = command("tag", f"{tmp_path}/m.csv", "-w", str(tmp_path / "w"), "--bundle", bundle, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        "\nmeasured in this warehouse: 100 % of the audio is music; a look settles 75 % of music\n"
        "assumed: a half core does 0.6 of a core, whatever the machine;"
    ) in done.stdout


def test_a_dry_run_without_any_size_says_so(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("track_id,uri\n1,gone/1.mp3\n2,gone/2.mp3\n")
    arguments = ("tag", f"{tmp_path}/m.csv", "-w", str(tmp_path / "w"), "--bundle", bundle, "--dry-run")
    done = command(*arguments, "--cost-per-hour", "9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 tracks to do, 0 up to date",
        "1 work shard, hours of audio unknown; 2 tracks of unknown size",
        "time and cost unknown: they are reckoned from sizes, which a manifest can give as size_bytes",
        "dry run: nothing started, nothing written",
    ]
    as_json = json.loads(command(*arguments, "--json").stdout)
    assert (as_json["audio_s"], as_json["wall_s"], as_json["cost"]) == (None, None, None)
    assert as_json["per_million"] == []


def test_the_job_script_estimates_too(source: Path, bundle: str, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"source: {source}\nwarehouse: {tmp_path}/new\nbundles: ['{bundle}']\n")
    done = command("--config", str(config), "--dry-run", program=JOB)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert (planned["state"], planned["tracks"]) == ("dry_run", 5)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "{source}", "-w", "w", "--nodes", "3"], "add --dry-run"),
        (["tag", "{source}", "-w", "w", "--dry-run", "--nodes", "0"], "0 is not in the range"),
        (["tag", "{source}", "-w", "w", "--dry-run", "--cost-per-hour", "-1"], "cost_per_hour: "),
        (["tag", "{source}", "-w", "w", "--bundle", "{bundle}", "--retry-quarantined", "x"], "unknown error code 'x'"),
        (["tag", "{source}", "-w", "w", "--bundle", "{bundle}", "--root", "/srv"], "lies outside the roots /srv"),
        (["tag", "nowhere", "-w", "w", "--bundle", "{bundle}", "--dry-run"], "nowhere: no such file or folder"),
        (["runs", "nowhere"], "no warehouse here"),
        (["retry-quarantined", "nowhere"], "no warehouse here"),
        (["retry-quarantined", "nowhere", "--code", "x"], "unknown error code 'x'"),
    ],
)
def test_bad_usage_is_code_2_and_leaves_nothing(
    arguments: list[str],
    message: str,
    source: Path,
    bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    done = command(*(argument.format(source=source, bundle=bundle) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert files(tmp_path) == before


def test_runs_are_one_line_each(warehouse: str) -> None:
    done = command("runs", warehouse)
    assert (done.returncode, done.stderr) == (0, "")
    header, _, line = done.stdout.splitlines()
    shown = dict(
        zip(
            [cell.strip() for cell in header.split("┃")],
            [cell.strip() for cell in line.split("│")],
            strict=True,
        )
    )
    assert shown == {
        "run": "r",
        "kind": "tag",
        "state": "committed",
        "started": "2026-01-01 12:00",
        "tracks": "4",
        "tagged": "4",
        "quarantined": "0",
        "audio h": "1,600.00",
        "x real time": "1,596",
        "machine h": "2.01",
        "cost": "0.5",
        "models": "m@1",
    }
    (run,) = json.loads(command("runs", warehouse, "--json").stdout)
    assert (run["run_id"], run["state"], run["machine_s"]) == ("r", "committed", 7220.0)
    assert run["cost"] == pytest.approx(7220 / 3600 * 0.25)


def test_nothing_to_retry_is_said(tmp_path: Path) -> None:
    put_run(Store(tmp_path / "w"), "r", [track_row("x", run_id="r", minute=1)])
    before = files(tmp_path)
    done = command("retry-quarantined", str(tmp_path / "w"), "--code", "truncated")
    assert (done.returncode, done.stdout) == (0, f"Nothing to do: no such quarantined tracks in {tmp_path}/w\n")
    as_json = json.loads(command("retry-quarantined", str(tmp_path / "w"), "--json").stdout)
    assert as_json["state"] == "nothing_to_do"
    assert files(tmp_path) == before


def test_a_retry_can_be_estimated_without_a_trace(warehouse: str, bundle: str) -> None:
    before = files(warehouse)
    done = command("retry-quarantined", warehouse, "--bundle", bundle, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert (planned["tracks"], planned["tracks_without_size"]) == (1, 1)
    other = command("retry-quarantined", warehouse, "--bundle", bundle, "--code", "unreadable", "--dry-run", "--json")
    assert json.loads(other.stdout)["state"] == "nothing_to_do"
    assert files(warehouse) == before
