"""A wrong configuration gives one error that names file, key, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import catalog_tagger.training
from catalog_tagger.cli.train import train
from catalog_tagger.errors import UsageError
from catalog_tagger.training.config import read_config

GOOD = "name: toy\nmanifest: m.csv\noptimisation: {steps: 3}\n"
SHIPPED = Path(catalog_tagger.training.__file__).parent / "configs" / "speech_music.yaml"


def _write(folder: Path, text: str) -> Path:
    path = folder / "training.yaml"
    path.write_text(text)
    return path


def test_defaults_and_overrides(tmp_path: Path) -> None:
    config = read_config(_write(tmp_path, GOOD), manifest=Path("other.csv"))
    assert config.manifest == Path("other.csv")
    assert config.architecture == {"name": "residual_cnn"}
    assert config.optimisation.steps == 3


def test_the_shipped_configuration_is_valid() -> None:
    config = read_config(SHIPPED)
    assert config.name == "speech_music"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "epochs: 3\n", "unknown key 'epochs'; remove it"),
        ("name: toy\nmanifest: m.csv\noptimisation: {steps: 3, speed: 1}\n", "unknown key 'optimisation.speed'"),
        (
            "name: toy\nmanifest: m.csv\noptimisation: {steps: 0}\n",
            "'optimisation.steps' is 0: .*greater than or equal",
        ),
        ("name: toy\nmanifest: m.csv\noptimisation: {steps: many}\n", "'optimisation.steps' is 'many'"),
        ("name: toy\noptimisation: {steps: 3}\n", "the key 'manifest' is missing; add it"),
        ("name: ../toy\nmanifest: m.csv\noptimisation: {steps: 3}\n", "'name' is '../toy'"),
        (GOOD + "architecture: {name: residual_cnn, n_labels: 2}\n", "n_labels follows from the task"),
        (GOOD + "architecture: {channels: [1, 2]}\n", "architecture needs a name"),
        (GOOD + "task: genres\n", "'task' is 'genres'"),
        ("- a\n- b\n", "must hold keys and values, not list"),
        ("a: [", "is not YAML"),
    ],
)
def test_error_names_the_key_and_the_remedy(tmp_path: Path, text: str, words: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UsageError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_settings_replace_keys_of_the_file(tmp_path: Path) -> None:
    settings = ["optimisation.steps=7", "architecture.channels=[4, 8]", "notes=[a"]
    with pytest.raises(UsageError, match=r"notes=\[a: the value is not YAML"):
        read_config(_write(tmp_path, GOOD), settings)
    config = read_config(_write(tmp_path, GOOD + "architecture: {name: residual_cnn}\n"), settings[:2])
    assert config.optimisation.steps == 7
    assert config.architecture == {"name": "residual_cnn", "channels": [4, 8]}
    for setting, words in (("seed", "expected KEY=VALUE"), ("name.a=1", "'name' has no keys"), ("sed=1", "key 'sed'")):
        with pytest.raises(UsageError, match=words):
            read_config(_write(tmp_path, GOOD), [setting])


def test_options_are_checked_by_their_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'options\.takes'; remove it"):
        read_config(_write(tmp_path, GOOD + "options: {takes: 3}\n"))
    with pytest.raises(UsageError, match=r"'options\.takes' is 0"):
        read_config(_write(tmp_path, GOOD + "task: tags\noptions: {takes: 0}\n"))


def test_the_cluster_configuration_is_valid() -> None:
    assert read_config(Path(__file__).parents[2] / "deploy" / "train.yaml").task == "tags"


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_the_command_refuses_before_it_reads_audio(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + "epochs: 3\n")
    result = CliRunner().invoke(train, [str(path), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert not (tmp_path / "out").exists()
