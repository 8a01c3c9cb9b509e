"""Presence of speech and of music, trained on scenes that are composed as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from catalog_tagger.audio import cut_segments, pcm_to_float
from catalog_tagger.training.balance import balanced
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.card import DEFINITIONS, sources
from catalog_tagger.training.config import Strict, TrainingConfig
from catalog_tagger.training.evaluate import report
from catalog_tagger.training.evaluate import score as score_clips
from catalog_tagger.training.layers import Banks
from catalog_tagger.training.losses import MULTI_LABEL, Loss
from catalog_tagger.training.measure import measure, select
from catalog_tagger.training.prepare import Material, prepare
from catalog_tagger.training.scenes import LABELS, RECIPES, Scene, SceneSeries, compose
from catalog_tagger.training.stress import speech_over_music
from catalog_tagger.training.tasks import NoOptions, Score, Setting

_SCENES: Final = 64
_SEGMENTS: Final = 32


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
        self.series = SceneSeries(banks, seed=seed, batch_size=batch_size, shares=shares)
        self.frontend = frontend
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        return as_batch(self.series.scenes(index), self.frontend)


class SpeechMusic:
    """The task `speech_music`."""

    Options: ClassVar[type[Strict]] = NoOptions
    labels: tuple[str, ...] = LABELS
    loss: Loss = MULTI_LABEL
    _material: Material
    _scenes: list[Batch]

    def __init__(self, setting: Setting) -> None:
        self.config = setting.config
        self.setting = setting

    def prepare(self) -> str:
        """Decode, synthesise, split; compose the scenes of validation."""
        self._material = prepare(self.config, self.setting.cache_dir, progress=self.setting.progress)
        self._scenes = self._compose(self._material.validation.banks)
        train, validation = self._material.train, self._material.validation
        return f"training on {len(train.clips)} clips, validating on {len(validation.clips)}"

    def batches(self, *, seed: int, count: int) -> Dataset[Batch]:
        """Scenes out of the training banks, by the configured shares of the recipes."""
        return SceneBatches(
            self._material.train.banks,
            self.setting.frontend,
            shares=_shares(self.config),
            seed=seed,
            batches=count,
            batch_size=self.config.optimisation.batch_size,
        )

    def validation(self) -> Iterable[Batch]:
        """Segments of the held-out clips, then scenes.

        The segments weigh as `balance` says, the scenes as their recipes come.
        """
        side = self._material.validation
        layout = score_clips(side.clips, side.recordings, lambda heard: torch.zeros(len(heard), 2), self.config.clips)
        truth = layout.truth[layout.clip]
        known = ~np.isnan(truth) & layout.voiced[:, None]
        target = torch.from_numpy(np.nan_to_num(truth))
        weight = torch.from_numpy(balanced(np.nan_to_num(truth), known, np.array(layout.sources)[layout.clip]))
        segments = [segment for recording in side.recordings for segment in cut_segments(recording.pcm)]
        for start in range(0, len(segments), _SEGMENTS):
            chosen = slice(start, start + _SEGMENTS)
            heard = torch.from_numpy(np.stack([pcm_to_float(one) for one in segments[chosen]]))
            yield Batch(self.setting.frontend(heard), target[chosen], weight[chosen])
        yield from self._scenes

    def decision(self, score: Score) -> dict[str, float]:
        """None: the tables use the probabilities themselves."""
        return {}

    def figures(self, score: Score) -> dict[str, Any]:
        """Shares of right items on validation, speech over music, and the test rows if asked for."""
        side, config = self._material.validation, self.config

        def heard(waveforms: Tensor) -> Tensor:
            return score(self.setting.frontend(waveforms))

        figures: dict[str, Any] = {}
        if side.clips:
            figures["validation"] = report(score_clips(side.clips, side.recordings, heard, config.clips))
        if side.banks.speech and side.banks.music:
            figures["speech_over_music"] = speech_over_music(
                side.banks, heard, seed=config.seed, examples=config.validation.mixtures
            )
        if config.report_on_test:
            rows = select(config.manifest, split="test")
            figures["test"] = measure(rows, heard, config.clips, self.setting.cache_dir, progress=self.setting.progress)
        return figures

    def about(self) -> dict[str, Any]:
        """What the card says of the task and of the data."""
        return {
            "purpose": "Presence of speech and of music in 5 s of sound; the two are independent.",
            "definitions": DEFINITIONS,
            "training_sources": sources(self._material.train.clips),
            "validation_sources": sources(self._material.validation.clips),
        }

    def _compose(self, banks: Banks) -> list[Batch]:
        if not (banks.speech and banks.music):
            return []
        rng = np.random.default_rng([self.config.seed, 2**31])
        shares = _shares(self.config)
        drawn = [compose(banks, rng, shares=shares) for _ in range(self.config.validation.scenes)]
        frontend = self.setting.frontend
        return [as_batch(drawn[start : start + _SCENES], frontend) for start in range(0, len(drawn), _SCENES)]


def _shares(config: TrainingConfig) -> dict[str, float]:
    return {str(kind): share for kind, share in (config.recipes or RECIPES).items()}
