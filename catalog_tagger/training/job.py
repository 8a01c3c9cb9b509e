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

from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import save_bundle
from catalog_tagger.models.calibration import Calibration, fit_calibration
from catalog_tagger.training.card import make_card
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.evaluate import Scores, report, score
from catalog_tagger.training.loop import Batch, Report, Trainer, as_batch, masked_loss
from catalog_tagger.training.measure import measure, select
from catalog_tagger.training.prepare import Material, Progress, prepare
from catalog_tagger.training.scenes import LABELS, Banks, compose
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

    def run(self) -> dict[str, Any]:
        """Train and write the bundle; returns its card."""
        config = self.config
        started = time.monotonic()
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.optimisation.threads)
        architecture = {**config.architecture, "n_labels": len(LABELS)}
        model = build_model(architecture)
        self.frontend = build_frontend(config.frontend).eval()
        material = prepare(config, self.cache_dir, progress=self.progress)
        self.say(f"training on {len(material.train.clips)} clips, validating on {len(material.validation.clips)}")
        self.scenes = self._scenes(material.validation.banks)
        trainer = Trainer(
            model=model,
            frontend=self.frontend,
            banks=material.train.banks,
            config=config.optimisation,
            seed=config.seed,
            folder=self.out,
            validate=lambda one: self._validate(one, material),
            report=self.report,
        )
        model = trainer.run().eval()
        self.say("calibrating and measuring")
        calibration = self._calibrate(model, material)
        figures = self._figures(model, calibration, material)
        card = make_card(
            config=config,
            material=material,
            figures=figures,
            parameters=sum(one.numel() for one in model.parameters()),
            minutes=(time.monotonic() - started) / 60,
            machine=f"{platform.machine()}, torch {torch.__version__}, "
            f"{config.optimisation.threads} thread(s), {config.optimisation.workers} worker(s)",
        )
        save_bundle(
            self.out / "bundle",
            name=config.name,
            labels=LABELS,
            architecture=architecture,
            frontend=config.frontend,
            model=model,
            calibration=calibration,
            card=card,
        )
        return card

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
