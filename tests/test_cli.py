"""The command line without a cluster: codes, streams, and no traceback for any mistake."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PROGRAM, command, environment
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent / "tables"))
from warehouse import put_run, track_row

from catalog_tagger import __version__
from catalog_tagger.cli.main import COMMANDS, main
from catalog_tagger.storage import Store


@pytest.fixture(autouse=True)
def signals_stay_as_they_are() -> Iterator[None]:
    """`main` asks for SIGTERM; here it runs in the tests' own process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    rows = [track_row(f"t{i}", run_id="r", minute=i, content_type=("music", "speech")[i % 3 == 0]) for i in range(6)]
    put_run(Store(tmp_path / "w"), "r", rows)
    return str(tmp_path / "w")


def test_help_names_every_command_and_starts_at_once() -> None:
    # the best of three: other processes share the machine
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = command("--help")
        times.append(time.monotonic() - started)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert min(times) < 1.5


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tag", "--help"], ["sql", "--help"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys, atexit\n"
        "from catalog_tagger.cli.main import main\n"
        "heavy = ('torch', 'ray', 'pyarrow', 'duckdb', 's3fs', 'pandas', 'numpy', 'av')\n"
        "atexit.register(lambda: print('LOADED', *[name for name in heavy if name in sys.modules]))\n"
        "main()\n"
    )
    done = command(*arguments, program=[sys.executable, "-c", program])
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].strip() == "LOADED"


def test_version_is_the_packages() -> None:
    assert command("--version").stdout == f"catalog-tagger, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"Usage: catalog-tagger {name}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tga"], "no command 'tga'; did you mean 'tag'?"),
        (["listen"], "no command 'listen'; commands: tag, runs"),
        (["tag"], "Missing argument 'SOURCE'"),
        (["tag", "a"], "Missing option '--warehouse'"),
        (["tag", "a", "-w", "w", "--sharp"], "No such option"),
        (["tag", "a", "-w", "w", "--shard-tracks", "many"], "'many' is not a valid integer"),
        (["tag", "nowhere", "-w", "w", "--shard-tracks", "0"], "shard_tracks: "),
        (["tag", "nowhere", "-w", "w", "--run-id", "a b"], "run_id: "),
        (["tag", "nowhere", "-w", "w", "--bundle", "none"], "no bundle 'none'"),
        (["tag", "gs://b/a", "-w", "w", "--bundle", "{bundle}"], "unknown scheme 'gs'"),
        (["tag", "nowhere", "-w", "w", "--bundle", "{bundle}"], "nowhere: no such file or folder"),
        (["tag", "none.csv", "-w", "w", "--bundle", "{bundle}"], "none.csv: no such manifest"),
        (["sql", "nowhere", "select 1"], "no warehouse here"),
        (["sql", "ftp://a", "select 1"], "unknown scheme 'ftp'"),
    ],
)
def test_bad_usage_is_code_2_and_says_what_to_do(
    arguments: list[str],
    message: str,
    bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main([argument.format(bundle=bundle) for argument in arguments])
    stdout, stderr = capfd.readouterr()
    assert exit_.value.code == 2
    assert message in stderr
    assert stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_refuses_is_code_1(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.mp3").write_bytes(b"x")
    done = command("tag", str(tmp_path / "audio"), "-w", str(tmp_path / "file" / "w"), "--bundle", bundle)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"catalog-tagger: {tmp_path}/file/w/")


def test_sql_shows_a_table_for_people(warehouse: str) -> None:
    done = command("sql", warehouse, "select content_type, count(*) as n from tracks group by 1 order by 1")
    assert (done.returncode, done.stderr) == (0, "")
    header, _, *lines = done.stdout.splitlines()
    assert [cell.strip() for cell in header.split("┃")] == ["content_type", "n"]
    assert [[cell.strip() for cell in line.split("│")] for line in lines] == [["music", "4"], ["speech", "2"]]


def test_sql_shows_json_for_machines(warehouse: str) -> None:
    done = command("sql", warehouse, "select track_id, bundles, tagged_at from tracks order by 1 limit 1", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["track_id"], row["bundles"]) == ("t0", ["m@1"])
    assert row["tagged_at"].startswith("2026-01-01")


def test_sql_is_wide_enough_in_a_pipe(warehouse: str) -> None:
    done = command("sql", warehouse, "select repeat('x', 500) as long, * from tracks limit 1")
    assert "x" * 500 in done.stdout


@pytest.mark.parametrize("statement", ["selec 1", "select nothing from tracks", "select * from nowhere", ""])
def test_a_wrong_statement_is_code_2(statement: str, warehouse: str) -> None:
    done = command("sql", warehouse, statement)
    assert done.returncode == 2
    assert done.stderr.startswith("catalog-tagger: ")
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_traceback(warehouse: str) -> None:
    rows = "select * from range(200000)"
    with subprocess.Popen(
        [*PROGRAM, "sql", warehouse, rows, "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors, errors


# --- jobs/tag_catalog.py ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("source: /nowhere\nwarehouse: w\nshard_track: 1\n", [], "unknown key 'shard_track'; known keys: source"),
        ("source: /nowhere\nwarehouse: w\nshard_tracks: many\n", [], "shard_tracks: Input should be a valid integer"),
        ("source: /nowhere\n", [], "warehouse is missing"),
        ("source: [", [], "not a YAML file"),
        ("source: /nowhere\nwarehouse: w\nbundles: [none]\n", [], "no bundle 'none'"),
        ("source: /nowhere\nwarehouse: w\n", ["--set", "run_id"], "expected KEY=VALUE"),
        ("source: /nowhere\nwarehouse: w\n", ["--set", "decoders=0"], "decoders: "),
        ("source: /nowhere\nwarehouse: w\nbundles: ['{bundle}']\n", [], "/nowhere: no such file or folder"),
        (None, [], "cannot read the configuration: No such file"),
    ],
)
def test_a_wrong_job_configuration_is_code_2(
    text: str | None,
    arguments: list[str],
    message: str,
    bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "job.yaml"
    if text is not None:
        path.write_text(text.replace("{bundle}", bundle))
    spec = importlib.util.spec_from_file_location("tag_catalog", ROOT / "jobs" / "tag_catalog.py")
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    monkeypatch.setattr(sys, "argv", ["tag_catalog.py", "--config", str(path), *arguments])
    try:
        code = job.main()
    except SystemExit as exit_:  # argparse ends by itself
        code = exit_.code
    stdout, stderr = capfd.readouterr()
    assert code == 2
    assert message in stderr
    assert stdout == ""
