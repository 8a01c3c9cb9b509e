"""A whole training, from a configuration to a bundle with its card.

Order: prepare the material, train, fit the calibration on validation data, measure on validation
data and, where the manifest has rows with the split `test` and the configuration asks for it, on
those, once, after everything else is settled. The bundle is written last, in `<out>/bundle/`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import canonical_json, load_bundle, save_bundle
from catalog_tagger.models.calibration import Calibration, fit_calibration
from catalog_tagger.training.card import make_card
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.evaluate import Scores, report, score
from catalog_tagger.training.loop import Batch, Report, Trainer, as_batch, masked_loss
from catalog_tagger.training.measure import measure, select
from catalog_tagger.training.prepare import Material, Progress, prepare
from catalog_tagger.training.scenes import LABELS, RECIPES, Banks, compose
from catalog_tagger.training.stress import speech_over_music

_CHUNK = 64


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
    """

    config: TrainingConfig
    out: Path
    cache_dir: Path
    progress: Progress
    report: Report
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.architecture = {**self.config.architecture, "n_labels": len(LABELS)}
        self.frontend = build_frontend(self.config.frontend).eval()
        self.scenes: list[Batch] = []
        self.started_from: str | None = None

    def run(self) -> dict[str, Any]:
        """Train and write the bundle; returns its card."""
        config = self.config
        started = time.monotonic()
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.optimisation.threads)
        model = self._untrained()
        material = prepare(config, self.cache_dir, progress=self.progress)
        self.say(f"training on {len(material.train.clips)} clips, validating on {len(material.validation.clips)}")
        self.scenes = self._scenes(material.validation.banks)
        trainer = Trainer(
            model=model,
            frontend=self.frontend,
            banks=material.train.banks,
            config=config.optimisation,
            # A second training draws other scenes from the same split.
            seed=config.seed if config.start_from is None else config.seed + 1_000_003,
            folder=self.out,
            validate=lambda one: self._validate(one, material),
            report=self.report,
            shares={str(kind): share for kind, share in (config.recipes or RECIPES).items()},
        )
        model = trainer.run()
        return self.finish(model, material, minutes=(time.monotonic() - started) / 60)

    def finish(self, model: nn.Module, material: Material, *, minutes: float) -> dict[str, Any]:
        """Calibrate and measure a trained network and write its bundle; returns its card."""
        config = self.config
        self.say("calibrating and measuring")
        self.scenes = self.scenes or self._scenes(material.validation.banks)
        model.eval()
        calibration = self._calibrate(model, material)
        figures = self._figures(model, calibration, material)
        card = make_card(
            config=config,
            material=material,
            figures=figures,
            parameters=sum(one.numel() for one in model.parameters()),
            minutes=minutes,
            started_from=self.started_from,
            machine=f"{platform.machine()}, torch {torch.__version__}, "
            f"{config.optimisation.threads} thread(s), {config.optimisation.workers} worker(s)",
        )
        save_bundle(
            self.out / "bundle",
            name=config.name,
            labels=LABELS,
            architecture=self.architecture,
            frontend=config.frontend,
            model=model,
            calibration=calibration,
            card=card,
        )
        return card

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
        model.load_state_dict(earlier.model.state_dict())
        self.started_from = f"{earlier.name} {earlier.fingerprint}"
        return model

    def _scenes(self, banks: Banks) -> list[Batch]:
        if not (banks.speech and banks.music):
            return []
        rng = np.random.default_rng([self.config.seed, 2**31])
        drawn = [compose(banks, rng) for _ in range(self.config.validation.scenes)]
        return [as_batch(drawn[start : start + _CHUNK], self.frontend) for start in range(0, len(drawn), _CHUNK)]

    def _logits(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        def run(waveforms: Tensor) -> Tensor:
            logits: Tensor = model(self.frontend(waveforms))
            return logits.float()

        return run

    def _score(self, model: nn.Module, material: Material) -> Scores:
        side = material.validation
        return score(side.clips, side.recordings, self._logits(model), self.config.clips)

    @torch.inference_mode()
    def _examples(self, model: nn.Module, material: Material) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, targets and weights of validation: segments balanced over sources, then scenes."""
        scores = self._score(model, material)
        truth = scores.truth[scores.clip]
        known = ~np.isnan(truth) & scores.voiced[:, None]
        names, place, counts = np.unique(np.array(scores.sources)[scores.clip], return_inverse=True, return_counts=True)
        balance = len(place) / (len(names) * counts[place]) if len(place) else np.zeros(0)
        parts = [
            (
                torch.from_numpy(scores.values),
                torch.from_numpy(np.nan_to_num(truth)),
                torch.from_numpy((known * balance[:, None]).astype(np.float32)),
            )
        ]
        parts += [(model(one.features).float(), one.target, one.weight) for one in self.scenes]
        logits, target, weight = (torch.cat(column) for column in zip(*parts, strict=True))
        return logits, target, weight

    def _validate(self, model: nn.Module, material: Material) -> tuple[float, float]:
        logits, target, weight = self._examples(model, material)
        if not len(logits):
            return 0.0, 0.0
        wrong = ((logits > 0).float() != target).float() * weight
        return float(masked_loss(logits, target, weight)), float(wrong.sum() / weight.sum())

    def _calibrate(self, model: nn.Module, material: Material) -> Calibration:
        logits, target, weight = self._examples(model, material)
        return fit_calibration(logits, target, weight)

    def _figures(self, model: nn.Module, calibration: Calibration, material: Material) -> dict[str, Any]:
        logits = self._logits(model)

        def probabilities(waveforms: Tensor) -> Tensor:
            return calibration.probabilities(logits(waveforms))

        side = material.validation
        figures: dict[str, Any] = {
            "validation": report(score(side.clips, side.recordings, probabilities, self.config.clips))
        }
        if side.banks.speech and side.banks.music:
            figures["speech_over_music"] = speech_over_music(
                side.banks, probabilities, seed=self.config.seed, examples=self.config.validation.mixtures
            )
        if self.config.report_on_test:
            figures["test"] = measure(
                select(self.config.manifest, split="test"),
                probabilities,
                self.config.clips,
                self.cache_dir,
                progress=self.progress,
            )
        return figures
