"""The optimisation: batches of scenes in, averaged weights out.

Files in the folder of a training, each written whole:

- `metrics.jsonl`: one line per report (`step`, `loss`, `error`, `learning_rate`, `seconds`) and one
  per validation (`step`, `validation_loss`, `validation_error`, `best_validation_loss`);
- `initial.safetensors`, `best.safetensors`, `last.safetensors`: the weights before training, the
  averaged weights at the best validation, and at the end (also after an interruption).

Batch `i` depends on the seed and `i` alone, whatever the number of workers. Nothing is resumed: a
training starts anew and replaces the files.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from catalog_tagger.training.config import OptimisationConfig
from catalog_tagger.training.scenes import RECIPES, Banks, Scene, compose

Report = Callable[[dict[str, Any]], None]
_EVERY_STEPS = 20


@dataclass(frozen=True)
class Batch:
    """Scenes as the front end gives them, with targets and weights [shape=(n, n_labels)]."""

    features: Tensor
    target: Tensor
    weight: Tensor


@torch.no_grad()
def as_batch(scenes: list[Scene], frontend: nn.Module) -> Batch:
    """Stack scenes and run the front end."""
    return Batch(
        # Stacked by torch, whose memory is aligned: the last bits of a product depend on it.
        features=frontend(torch.stack([torch.from_numpy(scene.samples) for scene in scenes])),
        target=torch.tensor([scene.target for scene in scenes]),
        weight=torch.tensor([scene.weight for scene in scenes]),
    )


class SceneBatches(Dataset[Batch]):
    """Batch `i`, composed from the seed and `i`; the front end runs where the scene is composed."""

    def __init__(
        self,
        banks: Banks,
        frontend: nn.Module,
        *,
        shares: Mapping[str, float],
        seed: int,
        batches: int,
        batch_size: int,
    ) -> None:
        self.banks = banks
        self.shares = shares
        self.frontend = frontend
        self.seed = seed
        self.batches = batches
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        scenes = [compose(self.banks, rng, shares=self.shares) for _ in range(self.batch_size)]
        return as_batch(scenes, self.frontend)


def masked_loss(logits: Tensor, target: Tensor, weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy averaged over the labels that count (weights above 0)."""
    smooth = target * (1 - smoothing) + 0.5 * smoothing
    loss = nn.functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp_min(1.0)


def mask_stripes(features: Tensor, generator: torch.Generator, *, frames: int, bins: int) -> Tensor:
    """Blank one random stripe of time and one of frequency per example (SpecAugment, Park 2019)."""
    batch, n_frames, n_bins = features.shape
    for axis, size, widest in ((1, n_frames, frames), (2, n_bins, bins)):
        width = torch.randint(0, widest + 1, (batch, 1), generator=generator)
        start = torch.rand((batch, 1), generator=generator) * (size - width)
        place = torch.arange(size)[None]
        stripe = (place >= start) & (place < start + width)
        features = features.masked_fill(stripe.unsqueeze(3 - axis), 0.0)
    return features


def learning_rate_share(progress: float, step: int, warmup_steps: int) -> float:
    """Share of the top learning rate: a linear warm-up, then half a cosine down to zero."""
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def training_progress(steps_share: float, time_share: float) -> float:
    """How far a training is: by its steps, or by its time once that runs out a twentieth sooner.

    As long as steps lead, nothing depends on the clock and the training repeats itself.
    """
    return time_share if time_share > steps_share + 0.05 else steps_share


class WeightAverage:
    """Exponential average of parameters and running statistics."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present state in; early steps count more, so that the start is forgotten."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        live = model.state_dict()
        for key, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(live[key], 1 - decay)
            else:
                value.copy_(live[key])


@dataclass
class Trainer:
    """Train `model` on scenes out of `banks`.

    Attributes
    ----------
    validate
        Called with the averaged model now and then; answers a loss and an error share.
    report
        Called with every line of `metrics.jsonl`.
    shares
        How often each recipe of `scenes` is drawn.
    """

    model: nn.Module
    frontend: nn.Module
    banks: Banks
    config: OptimisationConfig
    seed: int
    folder: Path
    validate: Callable[[nn.Module], tuple[float, float]]
    report: Report
    shares: Mapping[str, float] = field(default_factory=lambda: RECIPES)

    def run(self) -> nn.Module:
        """Train to the end; returns the averaged network at its best validation.

        `KeyboardInterrupt` passes through after `last.safetensors` is written.
        """
        config = self.config
        torch.set_num_threads(config.threads)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save("initial", self.model)
        model = self.model.train()
        average = WeightAverage(model, decay=config.average_decay)
        optimizer = self._optimizer(model)
        generator = torch.Generator().manual_seed(self.seed)
        started, best, step = time.monotonic(), math.inf, 0
        recent: list[tuple[float, float]] = []
        with (self.folder / "metrics.jsonl").open("w", encoding="utf-8") as log:
            try:
                for step, batch in enumerate(self._loader()):
                    minutes = (time.monotonic() - started) / 60
                    progress = training_progress(step / config.steps, minutes / config.max_minutes)
                    if progress >= 1.0:
                        break
                    scale = learning_rate_share(progress, step, config.warmup_steps)
                    for group in optimizer.param_groups:
                        group["lr"] = config.learning_rate * scale
                    recent.append(self._step(model, batch, optimizer, generator))
                    average.update(model)
                    if (step + 1) % _EVERY_STEPS == 0:
                        loss, error = np.mean(recent, axis=0).tolist()
                        recent.clear()
                        self._log(
                            log,
                            step=step + 1,
                            loss=loss,
                            error=error,
                            progress=progress,
                            learning_rate=config.learning_rate * scale,
                            seconds=60 * minutes,
                        )
                    if (step + 1) % config.validate_every_steps == 0:
                        best = self._validate(average.model, best, step + 1, log)
                best = self._validate(average.model, best, step + 1, log)
            finally:
                self._save("last", average.model)
        average.model.load_state_dict(load_file(self.folder / "best.safetensors"))
        return average.model

    def _loader(self) -> DataLoader[Batch]:
        config = self.config
        data = SceneBatches(
            self.banks,
            self.frontend,
            shares=self.shares,
            seed=self.seed,
            batches=config.steps,
            batch_size=config.batch_size,
        )
        return DataLoader(
            data,
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=6 if config.workers else None,
            worker_init_fn=_single_thread,
        )

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        decayed = [value for value in model.parameters() if value.ndim > 1]
        plain = [value for value in model.parameters() if value.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate)

    def _step(
        self, model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[float, float]:
        features = mask_stripes(batch.features, generator, frames=self.config.mask_frames, bins=self.config.mask_bins)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            logits = model(features)
        logits = logits.float()
        loss = masked_loss(logits, batch.target, batch.weight, smoothing=self.config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        wrong = ((logits > 0).float() != batch.target).float() * batch.weight
        return float(loss.detach()), float(wrong.sum() / batch.weight.sum().clamp_min(1.0))

    def _validate(self, model: nn.Module, best: float, step: int, log: Any) -> float:
        loss, error = self.validate(model)
        if loss < best:
            best = loss
            self._save("best", model)
        self._log(log, step=step, validation_loss=loss, validation_error=error, best_validation_loss=best)
        return best

    def _log(self, log: Any, **line: float) -> None:
        rounded = {key: round(value, 6) for key, value in line.items()}
        log.write(json.dumps(rounded) + "\n")
        log.flush()
        self.report(rounded)

    def _save(self, title: str, model: nn.Module) -> None:
        path = self.folder / f"{title}.safetensors"
        unfinished = path.with_suffix(".unfinished")
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, unfinished)
        unfinished.replace(path)


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
