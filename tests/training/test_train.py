"""A whole small training: it learns, repeats itself by its seed, and leaves what it promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from toy_collection import write_collection

from catalog_tagger.cli.train import train
from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.job import Job
from catalog_tagger.training.loop import WeightAverage, learning_rate_share, training_progress


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("toy"), per_kind=8)


def _config(manifest: Path, **optimisation: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "toy",
            "seed": 3,
            "manifest": manifest,
            "architecture": {"name": "residual_cnn", "channels": [8, 16, 24], "hidden": 24, "dropout": 0.0},
            "validation": {"hold_out": ["*/*/6.wav"], "fraction": 0.0, "scenes": 16, "mixtures": 2},
            "synthetic": {"sung": 2, "respoken": 2},
            "report_on_test": True,
            "optimisation": {"batch_size": 16, "workers": 0, "warmup_steps": 5, **optimisation},
        }
    )


def _job(config: TrainingConfig, folder: Path, report: Any = lambda line: None) -> Job:
    return Job(
        config=config,
        out=folder / "out",
        cache_dir=folder.parent / "cache",
        progress=lambda title, done, of: None,
        report=report,
        say=lambda sentence: None,
    )


def test_learns_to_tell_babble_from_melody(collection: Path, tmp_path: Path) -> None:
    config = _config(collection, steps=70, validate_every_steps=35, learning_rate=5e-3, average_decay=0.9)
    card = _job(config, tmp_path).run()
    clips = card["figures"]["test"]["clips"]
    assert clips["two_class"]["of"] == 4
    assert clips["two_class"]["share"] == 1.0
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert bundle.labels == ("speech", "music")
    assert bundle.card["training_sources"][0]["licences"] == ["CC0-1.0"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_loss" in line] == [35, 70]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    for title in ("initial", "best", "last"):
        assert (tmp_path / "out" / f"{title}.safetensors").exists()


def test_starts_from_an_earlier_bundle(collection: Path, tmp_path: Path) -> None:
    _job(_config(collection, steps=2), tmp_path / "a").run()
    first = tmp_path / "a" / "out"
    again = _config(collection, steps=1).model_copy(update={"start_from": str(first / "bundle")})
    card = _job(again, tmp_path / "b").run()
    start = load_file(tmp_path / "b" / "out" / "initial.safetensors")
    best = load_file(first / "best.safetensors")
    assert all(torch.equal(start[key], best[key]) for key in best)
    assert card["training"]["started_from"] == f"toy {load_bundle(first / 'bundle').fingerprint}"
    wider = {**again.architecture, "hidden": 32}
    with pytest.raises(UsageError, match="its network or front end is another"):
        _job(again.model_copy(update={"architecture": wider}), tmp_path / "c").run()


def test_same_seed_same_weights(collection: Path, tmp_path: Path) -> None:
    config = _config(collection, steps=3, validate_every_steps=3)
    for name in ("a", "b"):
        _job(config, tmp_path / name).run()
    one, other = (load_file(tmp_path / name / "out" / "last.safetensors") for name in ("a", "b"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_says_when_nothing_is_held_out(collection: Path, tmp_path: Path) -> None:
    said: list[str] = []
    values = _config(collection, steps=1, batch_size=2, patience=3).model_dump()
    config = TrainingConfig.model_validate({**values, "validation": {"fraction": 0.0}, "report_on_test": False})
    job = _job(config, tmp_path)
    job.say = said.append
    with pytest.raises(
        UsageError,
        match=r"manifest\.csv: 'optimisation\.patience' is 3, but nothing is held out to judge by; give",
    ):
        job.run()
    patient = config.optimisation.model_copy(update={"patience": 0})
    job = _job(config.model_copy(update={"optimisation": patient}), tmp_path)
    job.say = said.append
    job.run()
    assert "nothing is held out for validation: the last weights are taken, and scores are not calibrated" in said
    assert load_bundle(tmp_path / "out" / "bundle").calibration.scale == (1.0, 1.0)


@pytest.mark.parametrize(
    ("architecture", "frontend", "words"),
    [
        (
            {"name": "voice_cnn"},
            {"name": "mel"},
            r"'voice_cnn' cannot take the 501 x 64 values of frontend 'mel' for 5 s",
        ),
        (
            {"name": "residual_cnn"},
            {"name": "stft", "window_ms": [10, 20, 40]},
            r"'residual_cnn' cannot take the 3 x 501 x 321 values of frontend 'stft' for 5 s",
        ),
        (
            {"name": "vgg_tagger"},
            {"name": "cqt", "hop_samples": 8000},
            r"'vgg_tagger' cannot take the 11 x 144 values of frontend 'cqt' for 5 s: .*too small; choose others",
        ),
    ],
)
def test_a_network_that_does_not_fit_its_front_end_is_refused_before_decoding(
    collection: Path, tmp_path: Path, architecture: dict[str, Any], frontend: dict[str, Any], words: str
) -> None:
    changed = {"architecture": architecture, "frontend": frontend}
    job = _job(_config(collection, steps=1).model_copy(update=changed), tmp_path / "unfit")
    with pytest.raises(UsageError, match=words):
        job.run()
    assert not (tmp_path / "cache").exists()


def test_a_network_of_one_length_is_refused_where_examples_are_shorter(collection: Path, tmp_path: Path) -> None:
    changed = {"task": "voice_gender", "architecture": {"name": "paper_cnn"}, "report_on_test": False}
    config = _config(collection, steps=1).model_copy(update=changed)
    with pytest.raises(UsageError, match=r"'paper_cnn' cannot take the 108 x 144 values of frontend 'cqt' for 2.5 s"):
        _job(config, tmp_path / "short").run()
    whole = config.model_copy(update={"options": {"stretch_s": 5.0}})
    with pytest.raises(UsageError, match="no training row of speech has a gender"):
        _job(whole, tmp_path / "short").run()


def test_says_when_test_rows_are_trained_on(collection: Path, tmp_path: Path) -> None:
    manifest = collection.with_name("leaking.csv")
    manifest.write_text(collection.read_text().replace("speech/3.wav,6.0,speech3", "speech/3.wav,6.0,speech1"))
    said: dict[Path, list[str]] = {manifest: [], collection: []}
    for path, told in said.items():
        job = _job(_config(path, steps=1, batch_size=2), tmp_path / "leaking")
        job.say = told.append
        job.run()
    flattering = "warning: 1 of 6 rows of the split 'test' share a recording or a voice with rows that train, "
    assert [one for one in said[manifest] if one.startswith(flattering) and "speech/3.wav" in one]
    assert not any("flatter" in one for one in said[collection])


def test_an_interruption_leaves_the_last_weights(collection: Path, tmp_path: Path) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _job(_config(collection, steps=30, batch_size=4, validate_every_steps=10), tmp_path, interrupt).run()
    assert (tmp_path / "out" / "last.safetensors").exists()
    assert (tmp_path / "out" / "best.safetensors").exists()
    assert not (tmp_path / "out" / "bundle").exists()


def test_what_lies_in_a_folder_is_of_one_training(collection: Path, tmp_path: Path) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    config = _config(collection, steps=2, batch_size=2, validate_every_steps=1)
    _job(config, tmp_path).run()
    before = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"bundle", "curves.png", "best.safetensors"} <= before
    refused = config.model_copy(update={"manifest": tmp_path / "none.csv"})
    with pytest.raises(UsageError):
        _job(refused, tmp_path).run()
    assert {path.name for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(KeyboardInterrupt):
        _job(config, tmp_path, interrupt).run()
    assert not (tmp_path / "out" / "bundle").exists()


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_decoded(
    collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    job = replace(_job(_config(collection, steps=1), tmp_path), out=tmp_path / "file" / "out", cache_dir=tmp_path / "c")
    with pytest.raises(UsageError, match=r"file/out: cannot be written to: .*give another --out"):
        job.run()
    assert not (tmp_path / "c").exists()


def test_labels_with_hardly_any_validation_are_no_probabilities_and_the_card_says_so(
    collection: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    values = _config(collection, steps=1, batch_size=2).model_dump()
    few = {**values["validation"], "hold_out": ["*/*/6.wav"], "scenes": 2}
    job = _job(TrainingConfig.model_validate({**values, "validation": few, "report_on_test": False}), tmp_path)
    job.say = said.append
    card = job.run()
    doubt = next(one for one in card["limits"] if one.startswith("Validation had fewer than 10 segments with, or"))
    assert "speech (" in doubt
    assert f"warning: {doubt}" in said


def test_the_command_prints_its_figures(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(
        "name: toy\nmanifest: nowhere.csv\narchitecture: {name: residual_cnn, channels: [4, 8], hidden: 8}\n"
        "validation: {hold_out: ['*/*/6.wav'], fraction: 0, scenes: 4, mixtures: 1}\n"
        "optimisation: {steps: 2, batch_size: 4, workers: 0}\n"
    )
    arguments = [str(path), "--manifest", str(collection), "--out", str(tmp_path / "o"), "--cache", str(tmp_path / "c")]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "bundle written to" in result.stdout
    assert "two class" in result.stdout


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    shares = [learning_rate_share(step / 100, step, 10) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(shares[9], rel=0.05)
    assert shares[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("steps", "time", "progress"), [(0.0, 0.04, 0.0), (0.5, 0.2, 0.5), (0.5, 0.6, 0.6), (0.9, 1.0, 1.0)]
)
def test_the_clock_counts_only_when_it_runs_out(steps: float, time: float, progress: float) -> None:
    assert training_progress(steps, time) == progress


def test_average_follows_the_weights() -> None:
    model = torch.nn.Linear(1, 1)
    average = WeightAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
    for _ in range(100):
        average.update(model)
    assert float(average.model.weight.detach()) == pytest.approx(5.0, abs=1e-2)
