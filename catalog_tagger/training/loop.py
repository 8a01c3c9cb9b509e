"""The optimisation: batches in, averaged weights out.

Files in the folder of a training, each written whole:

- `metrics.jsonl`: one line per report (`step`, and means over the batches since the last: `loss`,
  `error`; `progress`, `learning_rate`, `seconds`; `penalty` where weights are penalised, which is
  not part of `loss`) and one per validation (`step`, `validation_loss`, `validation_error`, their
  bests so far `best_validation_loss` and `best_validation_error`); the latter are 0 where nothing
  is held out;
- `curves.png`: these as a picture, drawn anew now and then and at the end (see `curves`);
- `initial.safetensors`, `best.safetensors`, `last.safetensors`: the weights before training, the
  averaged weights at the best validation, and at the end (also after an interruption).

Batch `i` depends on the seed and `i` alone, whatever the number of workers. Nothing is resumed: a
training starts anew and replaces the files.

The loop is our own and small: a training that never runs out of time repeats itself to the bit,
which holds only while nothing between a batch and its step is hidden. What is hard, several
machines and GPUs, is left to Ray Train (`distributed`), which comes with Ray.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset

from catalog_tagger.errors import UsageError
from catalog_tagger.training.batch import Batch, mask_stripes, mixup
from catalog_tagger.training.config import OptimisationConfig
from catalog_tagger.training.curves import Curves
from catalog_tagger.training.dealing import blocks_of, deal
from catalog_tagger.training.losses import Loss
from catalog_tagger.training.precision import multiplies_bfloat16
from catalog_tagger.training.ranks import Ranks, alone
from catalog_tagger.training.regularizers import Regularizer

__all__ = ["Batch", "Report", "Trainer", "WeightAverage", "learning_rate_share", "training_progress"]

Report = Callable[[dict[str, Any]], None]
_EVERY_STEPS = 20


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
    """Train `model` on the batches of `data`.

    Attributes
    ----------
    data
        Item `i` is the batch of one process at one step, see `dealing`. It holds
        `config.steps * ranks.count` of them.
    loss
        What is minimised, and what an error is.
    validate
        Called with the averaged model now and then; answers a loss and an error share.
    report
        Called with every line of `metrics.jsonl`.
    """

    model: nn.Module
    data: Dataset[Batch]
    config: OptimisationConfig
    loss: Loss
    seed: int
    folder: Path
    validate: Callable[[nn.Module], tuple[float, float]]
    report: Report
    ranks: Ranks = field(default_factory=alone)

    def __post_init__(self) -> None:
        self._best = self._best_error = math.inf
        self._since_best, self._validated_at = 0, -1
        config = self.config
        self._bfloat16 = config.bfloat16 and multiplies_bfloat16(self.ranks.device)
        self._penalty = (
            Regularizer(self.model, penalty=config.penalty, strength=config.penalty_strength)
            if config.penalty is not None
            else None
        )

    def run(self) -> nn.Module:
        """Train to the end; returns the averaged network at its best validation, on its device.

        `KeyboardInterrupt` passes through after `last.safetensors` is written.

        Raises
        ------
        UsageError
            The folder cannot be written to, there is no compiler where one is asked for, or the training
            diverged: no validation loss was finite.
        """
        config = self.config
        torch.set_num_threads(config.threads)
        leads = self.ranks.index == 0
        if leads:
            self._begin()
        model = self.ranks.share(self.model).train()
        if config.compile:
            _require_compiler()
            model = cast(nn.Module, torch.compile(model))  # the weights stay those of `self.model`
        if not leads:
            torch.manual_seed(self.seed + self.ranks.index)  # each drops other units
        average = WeightAverage(self.model, decay=config.average_decay)
        optimizer = self._optimizer(self.model)
        generator = torch.Generator().manual_seed(self.seed + self.ranks.index)
        started, done = time.monotonic(), 0
        recent: list[dict[str, float]] = []
        curves = Curves(self.folder)
        log_path = self.folder / "metrics.jsonl" if leads else Path(os.devnull)
        with log_path.open("w", encoding="utf-8") as log:
            try:
                for step, batch in enumerate(self._batches()):
                    minutes = (time.monotonic() - started) / 60
                    progress = training_progress(step / config.steps, minutes / config.max_minutes)
                    progress = self.ranks.agree(1.0 if self._no_better() else progress)
                    if progress >= 1.0:
                        break
                    scale = learning_rate_share(progress, step, config.warmup_steps)
                    for group in optimizer.param_groups:
                        group["lr"] = config.learning_rate * scale
                    recent.append(self._step(model, batch, optimizer, generator))
                    average.update(self.model)
                    done = step + 1
                    if leads and done % _EVERY_STEPS == 0:
                        means = {key: float(np.mean([one[key] for one in recent])) for key in recent[0]}
                        recent.clear()
                        self._log(
                            log,
                            step=done,
                            **means,
                            progress=progress,
                            learning_rate=config.learning_rate * scale,
                            seconds=60 * minutes,
                        )
                    if leads and done % config.validate_every_steps == 0:
                        self._validate(average.model, done, log)
                        curves.refresh()
                if leads and self._validated_at != done:
                    self._validate(average.model, done, log)
            finally:
                if leads:
                    self._save("last", average.model)
                    curves.draw()
        self.ranks.wait()
        if leads:
            self._load_best(average.model)
        return average.model

    def _begin(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # an earlier training's must not be taken for this one's
            for name in ("best.safetensors", "last.safetensors", "curves.png"):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot be written to: {error.strerror}; give another --out") from error
        self._save("initial", self.model)

    def _load_best(self, model: nn.Module) -> None:
        if not math.isfinite(self._best):
            raise UsageError(
                f"{self.folder}: the training diverged, its validation loss was never a number; "
                f"lower optimisation.learning_rate ({self.config.learning_rate:g}), or lengthen warmup_steps"
            )
        model.load_state_dict(load_file(self.folder / "best.safetensors"))

    def _no_better(self) -> bool:
        return 0 < self.config.patience <= self._since_best

    def _batches(self) -> Iterator[Batch]:
        blocks = blocks_of(self.ranks.index, self.ranks.count, steps=self.config.steps)
        return deal(self.data, blocks, workers=self.config.workers, begin=_single_thread)

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        decayed = [value for value in model.parameters() if value.ndim > 1]
        plain = [value for value in model.parameters() if value.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        if self.config.method == "sgd":
            return torch.optim.SGD(groups, lr=self.config.learning_rate, momentum=self.config.momentum)
        return torch.optim.AdamW(groups, lr=self.config.learning_rate)

    def _step(
        self, model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, float]:
        config, device = self.config, self.ranks.device
        if config.mixup_alpha > 0:
            batch = mixup(batch, generator, alpha=config.mixup_alpha)
        features = mask_stripes(batch.features, generator, frames=config.mask_frames, bins=config.mask_bins)
        batch = Batch(features, batch.target, batch.weight).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = model(batch.features)
        logits = logits.float()
        answers = len(logits) // len(batch)  # an ensemble gives several of each example
        target, weight = batch.target.repeat(answers, 1), batch.weight.repeat(answers, 1)
        loss = self.loss.cost(logits, target, weight, smoothing=config.label_smoothing)
        costs = {"loss": loss}
        if self._penalty is not None:
            costs["penalty"] = self._penalty()
        optimizer.zero_grad(set_to_none=True)
        sum(costs.values(), torch.zeros((), device=device)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        told = {name: float(one.detach()) for name, one in costs.items()}
        return {**told, "error": self.loss.error(logits.detach(), target, weight)}

    def _validate(self, model: nn.Module, step: int, log: Any) -> None:
        loss, error = self.validate(model)
        self._since_best, self._validated_at = self._since_best + 1, step
        self._best_error = min(self._best_error, error)
        if loss < self._best:
            self._since_best = 0
        if loss <= self._best:  # of equals the later one, which matters where nothing is held out
            self._best = loss
            self._save("best", model)
        self._log(
            log,
            step=step,
            validation_loss=loss,
            validation_error=error,
            best_validation_loss=self._best,
            best_validation_error=self._best_error,
        )

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


def _require_compiler() -> None:
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        raise UsageError(
            f"optimisation.compile needs the C++ compiler {compiler!r}, which is not found; "
            "install one, name it in CXX, or leave compile out"
        )


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
