"""Options come from the command line, else the environment, else a file, and a shell completes them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PROGRAM, command, environment

from catalog_tagger.cli.main import COMMANDS


def report(where: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    """`report` of a folder that is no warehouse says which one it was asked for."""
    home = {"HOME": str(where / "home"), "XDG_CONFIG_HOME": "", **values}
    return subprocess.run(
        [*PROGRAM, "report", *arguments],
        env=environment(**home),
        cwd=where,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked_for(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    return Path(done.stderr.removeprefix("catalog-tagger: ").partition(": no committed run")[0]).name


def test_the_nearest_word_counts(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".config"
    home.mkdir(parents=True)
    assert "Missing option '--warehouse'" in report(tmp_path).stderr
    (home / "catalog-tagger.yaml").write_text("report: {warehouse: of-home}\n")
    assert asked_for(report(tmp_path)) == "of-home"
    (tmp_path / "catalog-tagger.yaml").write_text("report: {warehouse: of-here}\n")
    assert asked_for(report(tmp_path)) == "of-here"
    named = tmp_path / "other.yaml"
    named.write_text("report: {warehouse: of-file}\n")
    assert asked_for(report(tmp_path, CATALOG_TAGGER_CONFIG=str(named))) == "of-file"
    both = {"CATALOG_TAGGER_CONFIG": str(named), "CATALOG_TAGGER_REPORT_WAREHOUSE": "of-environment"}
    assert asked_for(report(tmp_path, **both)) == "of-environment"
    assert asked_for(report(tmp_path, "--warehouse", "of-line", **both)) == "of-line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raport: {warehouse: w}", "no command 'raport'; commands: tag, runs"),
        ("report: {warehose: w}", "report: no option 'warehose'; it has flags, grams, out, w, warehouse"),
        ("report: w", "report: expected options and values"),
        ("[report]", "expected keys and values"),
        ("report: {", "not a YAML file"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "catalog-tagger.yaml").write_text(text)
    done = report(tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "catalog-tagger.yaml" in done.stderr


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    done = report(tmp_path, CATALOG_TAGGER_CONFIG=str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "none.yaml: cannot read the configuration" in done.stderr


def test_what_others_put_into_the_environment_is_no_option(tmp_path: Path) -> None:
    others = {"CATALOG_TAGGER_VERSION": "1.2.3", "CATALOG_TAGGER_HELP": "1", "CATALOG_TAGGER_REPORT_HELP": "1"}
    service = {"CATALOG_TAGGER_REPORT_FLAGS": "tcp://10.0.0.1:80"}
    assert asked_for(report(tmp_path, "-w", "of-line", **others, **service)) == "of-line"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell: str) -> None:
    script = command("completion", shell)
    assert script.returncode == 0, script.stderr
    assert "_CATALOG_TAGGER_COMPLETE" in script.stdout
    if shell == "bash" and shutil.which("bash"):
        checked = subprocess.run(["bash", "-n"], input=script.stdout, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def completed(words: str, number: int) -> set[str]:
    values = {"_CATALOG_TAGGER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = subprocess.run(
        [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"],
        env=environment(**values), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_commands_and_options_are_completed() -> None:
    assert completed("catalog-tagger re", 1) == {name for name in COMMANDS if name.startswith("re")}
    assert "--warehouse" in completed("catalog-tagger report --w", 2)
