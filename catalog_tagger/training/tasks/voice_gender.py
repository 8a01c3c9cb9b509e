"""Whose voice it is, trained on examples that are composed as they are needed.

Options (`options` of the configuration): see `VoiceGenderOptions`. Needs speech clips with a
`gender`; every voice is on one side of the split. The labels are `voices.LABELS`, the bundle's
`decision` holds the thresholds of `judge_voice` that are cheapest on validation data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, cut_segments, pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.training.balance import balanced
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.cache import frame_levels_db, open_cache, with_lengths
from catalog_tagger.training.card import sources
from catalog_tagger.training.config import Strict
from catalog_tagger.training.losses import MULTI_LABEL, Loss
from catalog_tagger.training.manifest import Clip, groups, read_manifest, split_clips
from catalog_tagger.training.measure import select
from catalog_tagger.training.metrics import calibration_error
from catalog_tagger.training.prepare import kind_of, recording_of, usable_clips
from catalog_tagger.training.tasks import Score, Setting
from catalog_tagger.training.voice_figures import VOICELESS, Heard, Trial, cheapest, listen, report, trials
from catalog_tagger.training.voice_material import one_side_each, read_heard, voice_banks
from catalog_tagger.training.voices import LABELS, VOICE_S, VoiceBanks, VoiceBatches, as_batch, compose_voice

_BATCH: Final = 32
_WRONG_COSTS: Final = 3.0  # below two thirds nobody is told a gender
_HELD_OUT_SHARE: Final = 5

DEFINITIONS: Final = {
    "clip": "judged as a track is, from its segments of 5 s; right where the verdict is the collection's gender, "
    "so that unknown and mixed are wrong",
    "answered": "clips with a gender that were not judged unknown",
    "groups": "one gender of a source, of a language, or in a condition; acted: made of held-out voices by a vocoder, "
    "with other pitch, tempo and effort; voiceless clips are right where they are unknown",
    "wilson": "95 % interval, every clip independent",
    "over_sources": "95 % interval, whole collections drawn anew (bootstrap, 2000 rounds)",
}


class VoiceGenderOptions(Strict):
    """What this task alone knows."""

    heard: Path | None = Field(default=None, description="CSV of source, original_path, gender for unlabelled speech")
    acted: int = Field(default=300, ge=0, description="acted recordings per gender; a fifth for validation")
    sung: int = Field(default=300, ge=0, description="recordings made to sing; a fifth for validation")
    stretch_s: float = Field(default=2.5, ge=0.5, le=5.0, description="length of a training example")
    clips_per_voice: int = Field(default=40, ge=1, description="of one voice, that validation hears")


@dataclass(frozen=True)
class _Side:
    clips: tuple[Clip, ...]
    recordings: tuple[Recording, ...]
    banks: VoiceBanks


class VoiceGender:
    """The task `voice_gender`."""

    Options: ClassVar[type[Strict]] = VoiceGenderOptions
    labels: tuple[str, ...] = LABELS
    loss: Loss = MULTI_LABEL
    _train: _Side
    _validation: _Side
    _held_out: list[Batch]
    _trials: list[Trial]
    _heard: Heard
    _decision: dict[str, float]

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.config = setting.config
        self.options = VoiceGenderOptions.model_validate(setting.config.options)

    @property
    def example_samples(self) -> int:
        """Of a stretch (`stretch_s`)."""
        return round(self.options.stretch_s * SAMPLE_RATE_HZ)

    def prepare(self) -> str:
        """Decode, split by voice, make what is made; compose the examples of validation."""
        config, progress = self.config, self.setting.progress
        rows = tuple(clip for clip in read_manifest(config.manifest) if clip.trains)
        if not any(clip.gender for clip in rows):
            raise UsageError(f"{config.manifest}: no training row of speech has a gender (column gender: f or m)")
        cache_dir = self.setting.cache_dir
        cache = open_cache(rows, cache_dir, degraded=True, progress=lambda done, of: progress("decoding", done, of))
        rows = with_lengths(rows, cache)
        place = {clip.path: index for index, clip in enumerate(rows)}
        names = dict(zip((clip.path for clip in rows), groups(rows), strict=True))
        # a name beside a gender is one voice, however few its source has: it is drawn as one
        names |= {one.path: f"{one.source}\tvoice\t{one.speaker}" for one in rows if one.gender and one.speaker}
        usable = usable_clips(rows, config.clips)
        held_out = config.validation
        split = split_clips(
            usable, hold_out=held_out.hold_out, fraction=held_out.fraction, seed=config.seed, by=held_out.by
        )
        split = one_side_each(split)
        heard = read_heard(self.options.heard) if self.options.heard else {}

        def side(title: str, clips: tuple[Clip, ...], *, made_share: int) -> _Side:
            recordings = tuple(recording_of(one, cache, place[one.path], group=names[one.path]) for one in clips)
            banks = voice_banks(
                clips,
                recordings,
                config.clips,
                heard=heard if title == "training" else {},
                acted=self.options.acted // made_share,
                sung=self.options.sung // made_share,
                seed=config.seed + made_share - 1,
                cache_dir=cache_dir,
                title=title,
                progress=progress,
            )
            return _Side(clips, recordings, banks)

        self._train = side("training", split.train, made_share=1)
        self._validation = side("validation", split.validation, made_share=_HELD_OUT_SHARE)
        self._held_out = [*self._segments(), *self._composed()]
        return f"training on {len(split.train)} clips, validating on {len(split.validation)}"

    def batches(self, *, seed: int, count: int) -> Dataset[Batch]:
        """Examples out of the training banks."""
        return VoiceBatches(
            self._train.banks,
            self.setting.frontend,
            seed=seed,
            batches=count,
            batch_size=self.config.optimisation.batch_size,
            samples=self.example_samples,
        )

    def validation(self) -> Iterable[Batch]:
        """Segments of the held-out clips, balanced over sources, then composed ones."""
        yield from self._held_out

    def decision(self, score: Score) -> dict[str, float]:
        """When to abstain and when to hear a voice: cheapest on validation clips."""
        banks = self._validation.banks
        self._trials = trials(
            self._validation.clips,
            self._validation.recordings,
            self.config.clips,
            acted=banks.acted,
            backgrounds={name: bank for name, bank in (("noise", banks.noise), ("music", banks.music)) if bank},
            per_voice=self.options.clips_per_voice,
            seed=self.config.seed,
        )
        self._heard = listen([one.pcm for one in self._trials], self._hear(score))
        self._decision = cheapest(self._trials, self._heard, wrong_costs=_WRONG_COSTS)
        return self._decision

    def figures(self, score: Score) -> dict[str, Any]:
        """Shares of right verdicts on validation and, if asked for, on the test rows."""
        found = report(self._trials, self._heard, self._decision)
        found["calibration_error"] = self._calibration_error(score)
        figures: dict[str, Any] = {"validation": found}
        if self.config.report_on_test:
            figures["test"] = self._test(score)
        return figures

    def about(self) -> dict[str, Any]:
        """What the card says of the task and of the data."""
        return {
            "purpose": "Whether somebody speaks in 5 s of sound, and whether the voice is a woman's or a man's.",
            "definitions": DEFINITIONS,
            "training_sources": sources(self._train.clips),
            "validation_sources": sources(self._validation.clips),
        }

    def _hear(self, score: Score) -> Any:
        def hear(waveforms: Tensor) -> Tensor:
            return score(self.setting.frontend(waveforms))

        return hear

    def _test(self, score: Score) -> dict[str, Any]:
        rows = select(self.config.manifest, split="test")
        told = self.setting.progress
        cache = open_cache(
            rows, self.setting.cache_dir, degraded=False, progress=lambda done, of: told("decoding", done, of)
        )
        recordings = [recording_of(clip, cache, index, group=clip.key) for index, clip in enumerate(rows)]
        tried = trials(
            rows, recordings, self.config.clips, acted={}, backgrounds={}, per_voice=10**6, seed=self.config.seed
        )
        return report(tried, listen([one.pcm for one in tried], self._hear(score)), self._decision)

    def _segments(self) -> list[Batch]:
        """Held-out clips as they are: `female` where a gender is known, `voice` where nothing is in doubt."""
        waveforms, targets, weights, owners = [], [], [], []
        side, taken = self._validation, defaultdict[tuple[str, str], int](int)
        for clip, recording in zip(side.clips, side.recordings, strict=True):
            kind = kind_of(clip, self.config.clips)
            if kind != "speech" and kind not in VOICELESS:
                continue
            if clip.gender:
                taken[clip.source, clip.speaker] += 1
                if taken[clip.source, clip.speaker] > self.options.clips_per_voice:
                    continue
            for segment in cut_segments(recording.pcm):
                samples = pcm_to_float(segment)
                audible_s = float((frame_levels_db(samples) > recording.gate_db).sum()) / 100
                speaks = float(audible_s >= min(VOICE_S, 0.5 * recording.pcm.size / SAMPLE_RATE_HZ))
                waveforms.append(samples)
                targets.append((float(clip.gender == "f"), float(kind == "speech")))
                # Singers count as voiceless, whoever they are.
                gendered = kind == "speech" and clip.gender != ""
                weights.append((speaks * float(gendered), speaks if kind == "speech" else 1.0))
                owners.append(clip.source)
        return self._batched(waveforms, targets, weights, owners)

    def _batched(
        self,
        waveforms: Sequence[np.ndarray[Any, np.dtype[np.float32]]],
        targets: Sequence[tuple[float, float]],
        weights: Sequence[tuple[float, float]],
        owners: Sequence[str],
    ) -> list[Batch]:
        if not waveforms:
            return []
        truth = np.array(targets)
        target = torch.tensor(targets)
        weight = torch.from_numpy(balanced(truth, np.array(weights) > 0, np.array(owners)))
        batches = []
        for start in range(0, len(waveforms), _BATCH):
            chosen = slice(start, start + _BATCH)
            with torch.no_grad():
                features = self.setting.frontend(torch.from_numpy(np.stack(waveforms[chosen])))
            batches.append(Batch(features, target[chosen], weight[chosen]))
        return batches

    def _composed(self) -> list[Batch]:
        rng = np.random.default_rng([self.config.seed, 2**31])
        banks, wanted = self._validation.banks, self.config.validation.scenes
        drawn = [compose_voice(banks, rng, samples=SEGMENT_SAMPLES) for _ in range(wanted)]
        frontend = self.setting.frontend
        return [as_batch(drawn[start : start + _BATCH], frontend) for start in range(0, wanted, _BATCH)]

    def _calibration_error(self, score: Score) -> dict[str, float]:
        """Of the probabilities of validation examples, per label."""
        parts = [(one.target, one.weight, score(one.features)) for one in self._held_out]
        truth, weight, said = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        counts = {label: weight[:, column] > 0 for column, label in enumerate(LABELS)}
        return {
            label: round(calibration_error(said[used, column], truth[used, column]), 4)
            for column, (label, used) in enumerate(counts.items())
        }
