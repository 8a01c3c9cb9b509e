"""A whole training, from a configuration to a bundle with its card.

Order: network and front end are tried on silence, the task prepares its data, the network is
trained, the calibration is fitted on validation data, thresholds are chosen there, and the task
measures: on validation data and, where the manifest has rows with the split `test` and the
configuration asks for it, on those, once, after everything else is settled. The bundle is written
last, in `<out>/bundle/`.

An earlier training in `<out>` stays whole until this one has everything it needs, and is removed then:
what lies there is always of one training.

With several processes (`ranks`) every one runs the same job on other batches, and the first alone
validates, measures and writes.
"""

from __future__ import annotations

import math
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import canonical_json, load_bundle, require_replaceable, save_bundle
from catalog_tagger.training.card import make_card
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.folders import require_writable
from catalog_tagger.training.loop import Report, Trainer
from catalog_tagger.training.manifest import leaked_test_rows, read_manifest
from catalog_tagger.training.measure import decode, select
from catalog_tagger.training.ranks import Ranks, alone
from catalog_tagger.training.tasks import Progress, Setting, TrainsOnStretches, task_named

#: segments of either kind below which a label's calibration is doubtful
_FEWEST: Final = 10


@dataclass
class Job:
    """One training.

    Attributes
    ----------
    out
        Folder of the training; its `bundle/` is the result.
    cache_dir
        Where decoded and synthesised recordings are kept between trainings.
    progress, report
        Told of the preparation and of the training as they go on.
    say
        Told in a sentence what comes next.
    ranks
        This process among those that train together; one alone where it is not given.
    """

    config: TrainingConfig
    out: Path
    cache_dir: Path
    progress: Progress
    report: Report
    say: Callable[[str], None]
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        config = self.config
        self.frontend = build_frontend(config.frontend).eval()
        self.task = task_named(config.task)(Setting(config, self.frontend, self.cache_dir, self.progress))
        self.architecture = {**config.architecture, "n_labels": len(self.task.labels)}
        self.started_from: str | None = None

    def run(self) -> dict[str, Any]:
        """Train and write the bundle; returns its card (empty where another process writes it)."""
        config, started = self.config, time.monotonic()
        ranks = self.ranks = self.ranks or alone(config.optimisation.device)
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.optimisation.threads)
        model = self._untrained()
        self._require_fit(model)
        require_replaceable(self.out / "bundle")
        require_writable(self.out)
        self._require_test_rows()
        if ranks.first_on_machine:
            self._say_which_test_rows_train()
            self._decode_test_rows()
            self.say(self.task.prepare())
        ranks.wait()
        if not ranks.first_on_machine:
            self.task.prepare()
        if ranks.index == 0:
            self._require_held_out()
            shutil.rmtree(self.out / "bundle", ignore_errors=True)
        trainer = Trainer(
            model=model,
            # A second training draws other examples from the same split.
            data=self.task.batches(
                seed=config.seed if config.start_from is None else config.seed + 1_000_003,
                count=config.optimisation.steps * ranks.count,
            ),
            config=config.optimisation,
            loss=self.task.loss,
            seed=config.seed if config.start_from is None else config.seed + 1_000_003,
            folder=self.out,
            validate=self._validate,
            report=self.report,
            ranks=ranks,
        )
        model = trainer.run()
        return self.finish(model, minutes=(time.monotonic() - started) / 60) if ranks.index == 0 else {}

    def finish(self, model: nn.Module, *, minutes: float) -> dict[str, Any]:
        """Calibrate and measure a trained network and write its bundle; returns its card."""
        config, task = self.config, self.task
        self.say("calibrating and measuring")
        model.eval()
        logits, target, weight = self._examples(model)
        calibration = task.loss.calibrate(logits, target, weight)
        doubts = _uncalibrated(task.labels, target, weight)
        for doubt in doubts:
            self.say(f"warning: {doubt}")
        listen = self._logits(model)

        @torch.inference_mode()
        def score(features: Tensor) -> Tensor:
            return calibration.probabilities(listen(features))

        decision = task.decision(score)
        card = make_card(
            config=config,
            about=task.about(),
            figures=task.figures(score),
            doubts=doubts,
            parameters=sum(one.numel() for one in model.parameters()),
            minutes=minutes,
            started_from=self.started_from,
            machine=self._machine(),
        )
        save_bundle(
            self.out / "bundle",
            name=config.name,
            labels=task.labels,
            architecture=self.architecture,
            frontend=config.frontend,
            model=model,
            calibration=calibration,
            card=card,
            task=config.task,
            decision=decision,
        )
        return card

    @torch.no_grad()
    def _require_fit(self, model: nn.Module) -> None:
        """Most networks take the features of some front ends alone; found out before hours of decoding."""
        lengths = [SEGMENT_SAMPLES]
        if isinstance(self.task, TrainsOnStretches):
            lengths.append(self.task.example_samples)
        architecture, frontend = self.architecture["name"], self.config.frontend["name"]
        model.eval()
        for samples in lengths:
            length, tried = f"{samples / SAMPLE_RATE_HZ:g} s", f"frontend {frontend!r} cannot be used on"
            try:
                features = self.frontend(torch.zeros(1, samples))
                shape = " x ".join(map(str, features.shape[1:]))
                tried = f"architecture {architecture!r} cannot take the {shape} values of frontend {frontend!r} for"
                model(features)
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise UsageError(f"{tried} {length}: {reason}; choose others, or other parameters of theirs") from error

    def _require_test_rows(self) -> None:
        config = self.config
        if config.report_on_test and all(clip.split != "test" for clip in read_manifest(config.manifest)):
            raise UsageError(
                f"{config.manifest}: no row has the split 'test', which 'report_on_test' would measure; "
                "add such rows, or set report_on_test to false"
            )

    def _say_which_test_rows_train(self) -> None:
        clips = read_manifest(self.config.manifest)
        found = leaked_test_rows(clips)
        if found:
            tested = sum(clip.split == "test" for clip in clips)
            self.say(
                f"warning: {len(found)} of {tested} rows of the split 'test' share a recording or a voice with rows "
                f"that train, {found[0].path} for one: figures of that split will flatter; give what belongs together "
                "one split"
            )

    def _decode_test_rows(self) -> None:
        """A clip that cannot be decoded is found before the training, whose result it would cost, not after it."""
        if self.config.report_on_test:
            decode(select(self.config.manifest, split="test"), self.cache_dir, progress=self.progress)

    def _require_held_out(self) -> None:
        if next(iter(self.task.validation()), None) is not None:
            return
        patience = self.config.optimisation.patience
        if patience:
            raise UsageError(
                f"{self.config.manifest}: 'optimisation.patience' is {patience}, but nothing is held out to judge by; "
                "give rows the split validation, raise validation.fraction, name sources in validation.hold_out, "
                "or set patience to 0"
            )
        self.say("nothing is held out for validation: the last weights are taken, and scores are not calibrated")

    def _machine(self) -> str:
        ranks, optimisation = self.ranks, self.config.optimisation
        parts = [platform.machine(), f"torch {torch.__version__}"]
        if ranks is not None and ranks.device.type == "cuda":
            parts.append(torch.cuda.get_device_name(ranks.device))
        if ranks is not None and ranks.count > 1:
            parts.append(f"{ranks.count} processes")
        return ", ".join([*parts, f"{optimisation.threads} thread(s), {optimisation.workers} worker(s)"])

    def _untrained(self) -> nn.Module:
        model = build_model(self.architecture)
        if self.config.start_from is None:
            return model
        earlier = load_bundle(self.config.start_from)
        mine = canonical_json({**self.architecture, "frontend": self.config.frontend})
        theirs = canonical_json({**earlier.architecture_spec, "frontend": earlier.frontend_spec})
        if mine != theirs:
            raise UsageError(
                f"start_from {self.config.start_from!r}: its network or front end is another; "
                f"it has {theirs}, the configuration {mine}"
            )
        if earlier.labels != self.task.labels:
            raise UsageError(
                f"start_from {self.config.start_from!r}: its labels are {', '.join(earlier.labels)}, "
                f"those of this training {', '.join(self.task.labels)}"
            )
        model.load_state_dict(earlier.model.state_dict())
        self.started_from = f"{earlier.name} {earlier.fingerprint}"
        return model

    def _logits(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        device = next(model.parameters()).device

        def run(features: Tensor) -> Tensor:
            logits: Tensor = model(features.to(device))
            return logits.float().cpu()

        return run

    @torch.inference_mode()
    def _examples(self, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, targets and weights of the validation examples."""
        run = self._logits(model)
        empty = torch.zeros(0, len(self.task.labels))
        parts = [(empty, empty, empty)]
        parts += [(run(one.features), one.target, one.weight) for one in self.task.validation()]
        logits, target, weight = (torch.cat(column) for column in zip(*parts, strict=True))
        return logits, target, weight

    def _validate(self, model: nn.Module) -> tuple[float, float]:
        """Loss and error after calibration, as the bundle would have them.

        Before it, the loss follows how far the shares of the labels in training are from those in
        validation, which the calibration mends, more than what the network can tell apart.
        """
        logits, target, weight = self._examples(model)
        loss = self.task.loss
        if not bool(logits.isfinite().all()):
            return math.nan, 1.0
        logits = loss.calibrate(logits, target, weight).calibrated(logits)
        return float(loss.cost(logits, target, weight)), loss.error(logits, target, weight)


def _uncalibrated(labels: Sequence[str], target: Tensor, weight: Tensor) -> list[str]:
    """Of which labels validation has too few examples to fit a probability on, as at most one sentence."""
    few = []
    for label, there, known in zip(labels, target.T, weight.T, strict=True):
        true, false = (int(((there > 0.5) == truth)[known > 0].sum()) for truth in (True, False))
        if min(true, false) < _FEWEST:
            few.append(f"{label} ({true:,} with it, {false:,} without)")
    if not few or not len(target):
        return []
    return [
        f"Validation had fewer than {_FEWEST} segments with, or without: {', '.join(few)}; "
        "the scores of these are no probabilities."
    ]
