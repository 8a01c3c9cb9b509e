"""The command from end to end, with a tiny untrained model: what it hears is noise, what it does is the same."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from catalog_tagger.cli.demo_display import comparison_sql, show_comparison
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import save_bundle
from catalog_tagger.models.calibration import Calibration

PROGRAM = [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    architecture = {"name": "residual_cnn", "n_labels": 2, "channels": [4, 4, 8, 8], "hidden": 8}
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    save_bundle(
        folder,
        name="untrained",
        labels=["speech", "music"],
        architecture=architecture,
        frontend={"name": "cqt"},
        model=build_model(architecture),
        calibration=Calibration(scale=(1.0, 1.0), offset=(0.0, 0.0)),
        card={},
    )
    return folder


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.run(
        [*PROGRAM, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.xdist_group("ray")
def test_demo_tags_its_catalogue_shows_it_and_does_so_again(bundle: Path, tmp_path: Path) -> None:
    first = run("demo", "--bundle", str(bundle), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for number in range(1, 26):
        assert first.stdout.split("wrong labels found")[0].count(f"DEMO{number:04d} ") == 1
    assert "Grey Morning" in first.stdout
    assert "not_audio" in first.stdout
    assert "of 4 wrong labels found" in first.stdout
    assert "23 of 25 tracks tagged" in first.stdout
    assert "Songs inside other tracks" in first.stdout
    assert first.stdout.index("The surest of each kind") < first.stdout.index("unplayable")

    # the printed command is what a user pastes into a shell
    command = first.stdout[first.stdout.index(" sql demo/warehouse") :].split("\nSongs inside other tracks")[0]
    asked = run(*shlex.split(command), "--json", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.count('"track_id"') == 25

    second = run("demo", "--bundle", str(bundle), cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "Nothing to do: all 25 tracks are up to date" in second.stdout
    assert second.stdout.split("Nothing to do")[0] == first.stdout.split("23 of 25")[0]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = run("demo", "--out", "taken/below", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write the catalogue: Not a directory" in done.stderr


def test_quotes_in_a_path_stay_inside_the_statement() -> None:
    assert "read_csv('it''s/manifest.csv', " in comparison_sql(Path("it's/manifest.csv"))
    assert '"' not in comparison_sql(Path("demo/manifest.csv"))


def test_the_closing_line_counts_what_was_found_and_what_was_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    def row(track_id: str, label: str, heard: str | None, status: str) -> dict[str, object]:
        return {
            "track_id": track_id, "title": "[b]t[/b]", "label": label, "heard": heard,
            "confidence": 0.9 if heard else None, "status": status, "voice": None, "tags": "",
        }  # fmt: skip

    rows = [
        row("a", "music", "speech", "mislabelled"),
        row("b", "music", "mixed", "mislabelled"),
        row("c", "music", "music", "tagged"),
        row("d", "music", None, "not_audio"),
    ]
    show_comparison(rows, wrong_labels=["a", "c"])
    shown = capsys.readouterr().out
    assert "1 of 2 wrong labels found by listening; right ones doubted: 1" in shown
    assert shown.count("mislabelled") == 2
    assert "[b]t[/b]" in shown  # a title is text, whatever it holds
    assert "voice" not in shown
    show_comparison([{**rows[0], "voice": "female", "tags": "rain, [b]oboe"}, *rows[1:]], wrong_labels=[])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("voice", "female", "rain, [b]oboe"))
