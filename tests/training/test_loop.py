"""The trainer on data and losses of any kind, its options, and the picture it leaves."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from catalog_tagger.errors import UsageError
from catalog_tagger.training import loop
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.config import OptimisationConfig
from catalog_tagger.training.loop import Trainer
from catalog_tagger.training.losses import CATEGORICAL, MULTI_LABEL, Loss


class Blobs(Dataset[Batch]):
    """Three labels, each a bump at a place of its own in noise."""

    def __init__(self, *, seed: int, count: int) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        labels = torch.arange(12) % 3
        features = 0.3 * torch.randn(12, 6, 9, generator=generator)
        features[torch.arange(12), :, 3 * labels] += 1.0
        return Batch(features, torch.eye(3)[labels], torch.ones(12, 3))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 4, (3, 3))
        self.output = nn.Linear(4 * 7, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.relu(self.filters(features[:, None])).mean(dim=2).flatten(1))
        return logits


def _train(
    folder: Path,
    *,
    loss: Loss = CATEGORICAL,
    told: Iterable[float] | None = None,
    model: Callable[[], nn.Module] = Small,
    **options: Any,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """`told` are the validation losses, where they shall not be those of the network."""
    values = {"steps": 60, "workers": 0, "warmup_steps": 0, "validate_every_steps": 20, "mask_frames": 1}
    config = OptimisationConfig.model_validate({**values, "mask_bins": 0, "average_decay": 0.8, **options})
    held_out = Blobs(seed=9, count=1)[0]
    script = None if told is None else iter(told)
    torch.manual_seed(1)

    def validate(averaged: nn.Module) -> tuple[float, float]:
        if script is not None:
            return next(script), 0.5
        with torch.inference_mode():
            logits = averaged(held_out.features)
        cost = loss.cost(logits, held_out.target, held_out.weight)
        return float(cost), loss.error(logits, held_out.target, held_out.weight)

    lines: list[dict[str, Any]] = []
    data = Blobs(seed=2, count=config.steps)
    trainer = Trainer(model(), data, config, loss, 5, folder, validate, lines.append)
    return trainer.run(), lines


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (CATEGORICAL, {"learning_rate": 0.02}),
        (MULTI_LABEL, {"learning_rate": 0.02, "mixup_alpha": 0.2, "label_smoothing": 0.05}),
        (CATEGORICAL, {"learning_rate": 0.2, "method": "sgd", "mixup_alpha": 0.2, "bfloat16": True}),
    ],
)
def test_learns_by_either_loss_and_method(tmp_path: Path, loss: Loss, options: dict[str, Any]) -> None:
    _, lines = _train(tmp_path, loss=loss, **options)
    assert lines[-1]["validation_error"] == 0.0
    assert lines[-1] == {**lines[-1], "best_validation_error": 0.0, "step": 60}
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines


@pytest.mark.parametrize("has_instructions", [False, True])
def test_bfloat16_is_left_where_it_would_be_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_instructions: bool
) -> None:
    monkeypatch.setattr(loop, "multiplies_bfloat16", lambda device: has_instructions)
    _, asked = _train(tmp_path / "asked", steps=3, bfloat16=True)
    _, plain = _train(tmp_path / "plain", steps=3)
    assert (asked == plain) is not has_instructions


class Twice(nn.Module):
    """Two networks, each of which answers in training."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([Small(), Small()])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        answers = [member(features) for member in self.members]
        return torch.cat(answers) if self.training else torch.stack(answers).mean(dim=0)


def test_each_answer_of_an_ensemble_is_corrected(tmp_path: Path) -> None:
    model, _ = _train(tmp_path, model=Twice, loss=MULTI_LABEL, learning_rate=0.02)
    held_out = Blobs(seed=9, count=1)[0]
    assert isinstance(model, Twice)
    for member in model.members:
        assert MULTI_LABEL.error(member(held_out.features), held_out.target, held_out.weight) < 0.05


def test_ends_when_validation_gets_no_better(tmp_path: Path) -> None:
    model, lines = _train(tmp_path, told=[1.0, 0.8, 0.9, 0.85], patience=2, validate_every_steps=5)
    assert [line["step"] for line in lines if "validation_loss" in line] == [5, 10, 15, 20]
    best, last = (load_file(tmp_path / f"{title}.safetensors") for title in ("best", "last"))
    assert all(torch.equal(best[key], value) for key, value in model.state_dict().items())
    assert not torch.equal(best["output.weight"], last["output.weight"])


def test_of_equal_validations_the_last_is_kept(tmp_path: Path) -> None:
    _train(tmp_path, told=[0.0] * 4, validate_every_steps=20)
    best, last = (load_file(tmp_path / f"{title}.safetensors") for title in ("best", "last"))
    assert all(torch.equal(best[key], last[key]) for key in best)


def test_a_training_that_diverges_does_not_end_as_an_earlier_one(tmp_path: Path) -> None:
    _train(tmp_path, told=[0.5], steps=2, validate_every_steps=2)
    with pytest.raises(UsageError, match=r"the training diverged.*learning_rate \(0\.002\)"):
        _train(tmp_path, told=[math.nan], steps=2, validate_every_steps=2)
    assert not (tmp_path / "best.safetensors").exists()


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: cannot be written to: .*give another --out"):
        _train(tmp_path / "file", steps=1)


def test_a_penalty_thins_the_lines_of_filters(tmp_path: Path) -> None:
    free, lines = _train(tmp_path / "free", learning_rate=0.02, weight_decay=0.0)
    assert "penalty" not in lines[0]
    thin, lines = _train(tmp_path / "thin", learning_rate=0.02, weight_decay=0.0, penalty="l21", penalty_strength=0.03)
    assert lines[0]["penalty"] > 0
    norms = [model.filters.weight.detach().norm(dim=2).flatten() for model in (free, thin)]  # type: ignore[union-attr, operator]
    assert float(norms[1].sum()) < 0.6 * float(norms[0].sum())
    assert lines[-1]["validation_error"] == 0.0


def test_a_penalty_needs_a_strength() -> None:
    for values in ({"penalty": "l1"}, {"penalty_strength": 0.1}):
        with pytest.raises(ValidationError, match="belong together"):
            OptimisationConfig.model_validate({"steps": 1, **values})


def test_the_curves_are_a_picture(tmp_path: Path) -> None:
    _train(tmp_path, learning_rate=0.02)
    data = (tmp_path / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 2 * height
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    plain, _ = _train(tmp_path / "plain", steps=12)
    fused, _ = _train(tmp_path / "fused", steps=12, compile=True)
    assert set(plain.state_dict()) == set(fused.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, fused.state_dict()[name], atol=1e-4), name


def test_compiling_without_a_compiler_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"needs the C\+\+ compiler 'no-such-compiler'"):
        _train(tmp_path, steps=2, compile=True)
