"""A tagger trained on a user's own labels, several per clip or exactly one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_collection import write_manifest, write_wav

from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.definitions import definitions_of
from catalog_tagger.training.job import Job
from catalog_tagger.training.manifest import read_manifest
from catalog_tagger.training.tasks import Setting
from catalog_tagger.training.tasks.tags import Tags

SOUNDS = ("drip", "hum", "hiss")


def sound(names: str, rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(16000 * 5) / 16000
    out = 0.001 * rng.standard_normal(time_s.size)
    if "drip" in names:
        out += 0.3 * np.sin(2 * np.pi * rng.uniform(1800, 2200) * time_s) * (time_s % 0.5 < 0.05)
    if "hum" in names:
        out += 0.2 * np.sin(2 * np.pi * rng.uniform(140, 160) * time_s)
    if "hiss" in names:
        out += 0.1 * rng.standard_normal(time_s.size)
    return out


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(30):
        labels = "drip; hum" if number % 10 == 8 else SOUNDS[number % 3]
        write_wav(folder / f"{number}.wav", sound(labels, rng))
        rows.append(
            {
                "path": f"{number}.wav",
                "split": "test" if number % 5 == 4 else "train",
                "role": "tag",
                "labels": labels,
                "source": f"someone-{number % 2}",
                "original_path": f"{number}.wav",
            }
        )
    return write_manifest(folder, rows)


def config_of(manifest: Path, *, options: dict[str, Any] | None = None, **more: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "mine",
            "task": "tags",
            "manifest": manifest,
            "architecture": {
                "name": "vgg_tagger",
                "channels": [4, 8, 8],
                "head": "attention",
                "hidden": 8,
                "dropout": 0,
            },
            "validation": {"fraction": 0.2},
            "options": {"takes": 2, **(options or {})},
            "report_on_test": True,
            "optimisation": {
                "steps": 36,
                "batch_size": 8,
                "learning_rate": 0.01,
                "warmup_steps": 3,
                "average_decay": 0.9,
                "validate_every_steps": 36,
                "workers": 0,
                "mask_frames": 4,
                "mask_bins": 2,
            },
            **more,
        }
    )


def trained(config: TrainingConfig, folder: Path, cache: Path) -> dict[str, Any]:
    return Job(
        config=config,
        out=folder,
        cache_dir=cache,
        progress=lambda title, done, of: None,
        report=lambda line: None,
        say=lambda sentence: None,
    ).run()


def test_learns_the_labels_a_manifest_names(manifest: Path, tmp_path: Path) -> None:
    card = trained(config_of(manifest), tmp_path / "out", manifest.parent / "cache")
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert (bundle.task, bundle.labels) == ("tags", ("drip", "hiss", "hum"))
    top = card["figures"]["test"]["clips"]["top"]
    assert (top["right"], top["of"]) == (6, 6)
    probabilities, embedding = bundle.outputs(bundle.frontend(torch.zeros(1, 80000)))
    assert probabilities.shape == (1, 3)
    assert embedding is not None
    assert embedding.shape == (1, 8)


def test_exclusive_labels_share_one_softmax(manifest: Path, tmp_path: Path) -> None:
    options = {"labels": list(SOUNDS), "exclusive": True}
    config = config_of(manifest, options=options, clips={"exclude": ["*/8.wav", "*/18.wav", "*/28.wav"]})
    trained(config, tmp_path / "out", manifest.parent / "cache")
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert bundle.labels == SOUNDS
    heard = bundle.frontend(torch.from_numpy(sound("hum", np.random.default_rng(9))).float()[None])
    probabilities = bundle.probabilities(heard)
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-5)
    assert bundle.labels[int(probabilities.argmax())] == "hum"


def task_of(config: TrainingConfig, cache: Path) -> Tags:
    from catalog_tagger.frontends import build_frontend

    frontend = build_frontend(config.frontend).eval()
    return Tags(Setting(config, frontend, cache, lambda title, done, of: None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ["drip", "thunder"]}, "no clip to train on has the label thunder"),
        ({"exclusive": True}, "has 2 labels; exclusive needs exactly one"),
    ],
)
def test_labels_that_cannot_be_trained_are_one_clear_error(manifest: Path, options: dict[str, Any], words: str) -> None:
    task = task_of(config_of(manifest, options=options), manifest.parent / "cache")
    with pytest.raises(UsageError, match=words):
        task.prepare()


def test_silence_teaches_no_exclusive_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for number in range(8):
        name = SOUNDS[number % 2]
        write_wav(tmp_path / f"{number}.wav", np.concatenate([sound(name, rng), np.zeros(80000)]))
        rows.append(f"{number}.wav,{name}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    options = {"exclusive": True, "takes": 1}
    config = config_of(tmp_path / "manifest.csv", options=options, validation={"fraction": 0.4})
    task = task_of(config, tmp_path / "cache")
    task.prepare()
    held = list(task.validation())
    assert held
    for batch in held:
        silent = batch.features.flatten(1).amax(dim=1) == 0
        assert silent.any()
        assert bool((batch.weight[silent] == 0).all())
        assert bool((batch.weight[~silent] > 0).all())


def test_silence_alone_is_one_clear_error(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(16000))
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,hum\n")
    task = task_of(config_of(tmp_path / "manifest.csv", validation={"fraction": 0.0}), tmp_path / "cache")
    with pytest.raises(UsageError, match=r"manifest\.csv: nothing is heard in the clips to train on"):
        task.prepare()


def test_what_moves_cqt_grams_is_refused_for_other_features(manifest: Path) -> None:
    still = {"bins": 0, "equaliser_bits": 0}
    with pytest.raises(UsageError, match=r"^options\.mixed: made for the frontend 'cqt', not 'mel'; set to 0"):
        task_of(config_of(manifest, frontend={"name": "mel"}, options=still), manifest.parent / "cache")
    task_of(config_of(manifest, frontend={"name": "mel"}, options={**still, "mixed": 0}), manifest.parent / "cache")


def test_a_turn_of_no_label_is_one_clear_error(manifest: Path) -> None:
    with pytest.raises(UsageError, match=r"options\.turns names 'dripp'; the labels are drip, hiss, hum"):
        task_of(config_of(manifest, options={"turns": {"dripp": 3}}), manifest.parent / "cache")


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("1.wav,train,hum", "no row has the split 'test', which 'report_on_test' would measure"),
        (
            "none.wav,test,hum",
            r"1 of the 1 clips cannot be opened; correct their paths in the manifest.*\n  .*none\.wav: No such",
        ),
    ],
)
def test_what_cannot_be_measured_is_said_before_the_training(
    manifest: Path, tmp_path: Path, last: str, words: str
) -> None:
    rows = manifest.parent / "other.csv"
    rows.write_text(f"path,split,label\n0.wav,train,drip\n{last}\n")
    with pytest.raises(UsageError, match=words):
        trained(config_of(rows), tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_labels_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,role,source\na.wav,tag,me\n")
    with pytest.raises(UsageError, match=r"training rows name 0 label\(s\); add a column label"):
        task_of(config_of(tmp_path / "manifest.csv"), tmp_path)


def test_at_most_so_many_clips_of_a_label_are_used(manifest: Path) -> None:
    task = task_of(config_of(manifest, options={"clips_per_label": 2}), manifest.parent / "cache")
    assert "training on" in task.prepare()
    drawn = torch.cat([task.batches(seed=0, count=4)[index].features.flatten(1) for index in range(4)])
    assert len(drawn) == 32
    assert len(task._train.clip) <= 6


def test_evaluation_reads_the_rules_of_labels_off_the_card(manifest: Path, tmp_path: Path) -> None:
    names = {"water": ["drip"], "noise": ["hi*"]}
    config = config_of(manifest, options={"labels": ["water", "noise"], "names": names}, report_on_test=False)
    config = config.model_copy(update={"optimisation": config.optimisation.model_copy(update={"steps": 1})})
    trained(config, tmp_path / "out", manifest.parent / "cache")
    definitions = definitions_of(load_bundle(tmp_path / "out" / "bundle"))
    truth = {clip.label: definitions.truth(clip) for clip in read_manifest(manifest)}
    assert truth["drip"] == (1.0, 0.0)
    assert truth["hiss"] == (0.0, 1.0)
    assert np.isnan(truth["hum"]).all()
