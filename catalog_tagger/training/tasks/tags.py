"""Any labels: the tagger that ships, and what users train with labels of their own.

Every 5 s segment of a clip has its clip's labels where it sounds at all (`tag_bank`); which those are
is said by `tag_labels`. Examples are balanced over the labels, varied and mixed (`tag_batches`).
With `exclusive` a clip has exactly one label, the network's outputs share one softmax, and no two
segments are mixed; `mixup_alpha` of the optimisation serves there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset

from catalog_tagger.errors import UsageError
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.cache import PcmCache, open_cache, with_lengths
from catalog_tagger.training.card import sources
from catalog_tagger.training.config import Strict
from catalog_tagger.training.definitions import TagsDefinitions
from catalog_tagger.training.evaluate import report, score_against
from catalog_tagger.training.items import ITEMS_IN_WORDS
from catalog_tagger.training.losses import CATEGORICAL, MULTI_LABEL, Loss
from catalog_tagger.training.manifest import Clip, Split, named_in, read_manifest, split_clips
from catalog_tagger.training.measure import select
from catalog_tagger.training.prepare import matches, recording_of
from catalog_tagger.training.tag_bank import Retake, TagBank, Truth, build_bank
from catalog_tagger.training.tag_batches import TagBatches, Variation
from catalog_tagger.training.tag_labels import LabelRules
from catalog_tagger.training.tasks import Score, Setting

_SEGMENTS: Final = 32


class TagOptions(LabelRules):
    """The options of the task `tags`."""

    labels: tuple[str, ...] = Field(default=(), description="the outputs; all that training rows name where empty")
    exclusive: bool = Field(default=False, description="every clip has exactly one label")
    clips_per_label: int = Field(default=0, ge=0, description="at most so many clips of one label; 0 takes all")
    turns: dict[str, int] = Field(
        default_factory=dict, description="label: its turns for one of the others; '' stands for clips without labels"
    )
    partners: dict[str, int] = Field(
        default_factory=dict, description="as turns, of the second of two segments that are mixed"
    )
    takes: int = Field(default=2, ge=1, description="versions of each segment that are kept, see tag_bank")
    retakes: Retake = Field(default=Retake(), description="what makes those versions differ")
    balanced: bool = Field(default=True, description="every label gives equally many examples")
    segments_per_clip: int = Field(default=4, ge=0, description="at most so many; 0 takes all")
    bins: int = Field(default=6, ge=0, description="largest transposition, in bins of the front end")
    tempo: float = Field(default=0.25, ge=0)
    turn: bool = True
    equaliser_bits: float = Field(default=0.5, ge=0)
    mixed: float = Field(default=0.5, ge=0, le=1, description="share of examples in which two segments sound")
    ratio_db: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _several(self) -> TagOptions:
        if self.labels and (len(set(self.labels)) < len(self.labels) or "" in self.labels):
            raise ValueError("labels must be different names")
        if any(turns < 1 for turns in (*self.turns.values(), *self.partners.values())):
            raise ValueError("turns and partners must be at least 1")
        if self.exclusive and (self.unsaid or self.absent):
            raise ValueError("unsaid and absent leave labels open, which exclusive does not know; leave them out")
        if self.exclusive and self.unlikely:
            raise ValueError("unlikely is of labels that are left open, which exclusive does not know; leave it out")
        return self

    @property
    def variation(self) -> Variation:
        """How far examples are moved."""
        return Variation(
            bins=self.bins,
            tempo=self.tempo,
            turn=self.turn,
            equaliser_bits=self.equaliser_bits,
            mixed=0.0 if self.exclusive else self.mixed,
            ratio_db=self.ratio_db,
        )


class Tags:
    """The task `tags`."""

    Options: ClassVar[type[Strict]] = TagOptions
    _train: TagBank
    _held_out: TagBank

    def __init__(self, setting: Setting) -> None:
        self.setting, self.config = setting, setting.config
        self.options = TagOptions.model_validate(self.config.options)
        self.loss: Loss = CATEGORICAL if self.options.exclusive else MULTI_LABEL
        self._require_gram()
        self._rows = [clip for clip in read_manifest(self.config.manifest) if clip.trains]
        self._usable = [clip for clip in self._rows if not matches(clip, self.config.clips.exclude)]
        named = {name for clip in self._usable for name in (*named_in(clip), *self.options.names)}
        self.labels = self.options.labels or tuple(sorted(named))
        if len(self.labels) < (2 if self.options.exclusive else 1):
            raise UsageError(
                f"{self.config.manifest}: training rows name {len(self.labels)} label(s); add a column label, "
                "or labels with ';' between"
            )
        for key, turns in (("turns", self.options.turns), ("partners", self.options.partners)):
            unknown = sorted(set(turns) - {*self.labels, ""})
            if unknown:
                raise UsageError(
                    f"options.{key} names {', '.join(map(repr, unknown))}; the labels are {', '.join(self.labels)}, "
                    "and '' for clips without any"
                )

    def _require_gram(self) -> None:
        """What moves and mixes features knows what a bin and a unit of a CQT-gram are, and of no other."""
        name, variation = self.config.frontend["name"], self.options.variation
        meant = {"bins": variation.bins, "equaliser_bits": variation.equaliser_bits, "mixed": variation.mixed}
        wrong = [f"options.{key}" for key, value in meant.items() if value]
        if name != "cqt" and wrong:
            raise UsageError(f"{', '.join(wrong)}: made for the frontend 'cqt', not {name!r}; set to 0 with this one")

    def prepare(self) -> str:
        """Decode, split, and compute the features of both sides."""
        setting, config = self.setting, self.config
        cache = open_cache(
            self._rows,
            setting.cache_dir,
            degraded=True,
            progress=lambda done, of: setting.progress("decoding", done, of),
        )
        usable = {clip.path for clip in self._usable}
        rows = [clip for clip in with_lengths(self._rows, cache) if clip.path in usable]
        told = [clip for clip in rows if not np.isnan(self._truth_of(clip)).all()]
        held_out = config.validation
        split = split_clips(
            told, hold_out=held_out.hold_out, fraction=held_out.fraction, seed=config.seed, by=held_out.by
        )
        split = Split(train=self._some(split.train), validation=self._some(split.validation))
        self._clips = split
        self._check(split.train)
        self._recordings = [recording_of(clip, cache, self._place(clip), group=clip.key) for clip in split.validation]
        self._train = self._bank("training", split.train, cache, takes=self.options.takes)
        if not (self._train.truth.target * self._train.truth.weight).any():
            raise UsageError(f"{config.manifest}: nothing is heard in the clips to train on: all are silent")
        self._held_out = self._bank("validation", split.validation, cache, takes=2)
        return (
            f"training on {len(split.train)} clips ({len(self._train)} segments), "
            f"validating on {len(split.validation)} ({len(self._held_out)})"
        )

    def batches(self, *, seed: int, count: int) -> Dataset[Batch]:
        """Varied and mixed segments, by the turns of their labels."""
        return TagBatches(
            self._train,
            seed=seed,
            batches=count,
            batch_size=self.config.optimisation.batch_size,
            variation=self.options.variation,
            balanced=self.options.balanced,
            turns=self._counts(self.options.turns),
            partners=self._counts(self.options.partners),
        )

    def validation(self) -> Iterable[Batch]:
        """Segments of the held-out clips as they are, balanced over sources; then as many varied and mixed.

        The second half is what a catalogue has and collections of clean sounds lack: without it
        calibration makes a network surer than it is of a voice in the rain.
        """
        bank = self._held_out
        sources = np.array([clip.source for clip in self._clips.validation], str)[bank.clip]
        names, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
        balance = len(place) / (len(names) * counts[place]) if len(place) else np.zeros(0)
        weight = (bank.truth.weight * balance[:, None]).astype(np.float32)
        for start in range(0, len(bank), _SEGMENTS):
            part = slice(start, start + _SEGMENTS)
            yield Batch(
                torch.from_numpy(bank.features[part, 0].astype(np.float32)),
                torch.from_numpy(bank.truth.target[part]),
                torch.from_numpy(weight[part]),
            )
        mixed = TagBatches(
            bank,
            seed=self.config.seed,
            batches=len(bank) // _SEGMENTS,
            batch_size=_SEGMENTS,
            variation=self.options.variation,
            balanced=False,
        )
        yield from (mixed[index] for index in range(len(mixed)))

    def decision(self, score: Score) -> dict[str, float]:
        """None: the tables use the probabilities themselves."""
        return {}

    def figures(self, score: Score) -> dict[str, Any]:
        """Figures of the validation clips, and of the test rows if asked for."""

        def heard(waveforms: Tensor) -> Tensor:
            return score(self.setting.frontend(waveforms))

        definitions = TagsDefinitions(self.labels, self.config.clips, self._truth_of)
        figures = {}
        if self._clips.validation:
            held = score_against(definitions, self._clips.validation, self._recordings, heard)
            figures["validation"] = report(held, definitions)
        if self.config.report_on_test:
            rows = select(self.config.manifest, split="test")
            cache = open_cache(rows, self.setting.cache_dir, degraded=False)
            recordings = [recording_of(clip, cache, index, group=clip.key) for index, clip in enumerate(rows)]
            figures["test"] = report(score_against(definitions, rows, recordings, heard), definitions)
        return figures

    def about(self) -> dict[str, Any]:
        """What the card says of the task and of the data."""
        words = TagsDefinitions(self.labels).words
        return {
            "purpose": "Which of its labels are heard in 5 s of sound; "
            + ("exactly one of them is." if self.options.exclusive else "each independent of the others."),
            "definitions": {**ITEMS_IN_WORDS, **words},
            "training_sources": sources(self._clips.train),
            "validation_sources": sources(self._clips.validation),
        }

    def _counts(self, turns: Mapping[str, int]) -> list[int]:
        return [turns.get(label, 1) for label in (*self.labels, "")]

    def _truth_of(self, clip: Clip) -> tuple[float, ...]:
        return self.options.truth(clip, self.labels)

    def _place(self, clip: Clip) -> int:
        if not hasattr(self, "_places"):
            self._places = {one.path: index for index, one in enumerate(self._rows)}
        return self._places[clip.path]

    def _some(self, clips: Sequence[Clip]) -> tuple[Clip, ...]:
        """At most `clips_per_label` of each label, drawn by a hash; those without any are one more."""
        most = self.options.clips_per_label
        if not most:
            return tuple(clips)
        seen: Counter[str] = Counter()
        kept = set()
        for clip in sorted(clips, key=lambda one: hashlib.sha256(f"{self.config.seed}\t{one.key}".encode()).digest()):
            held = self.options.held_by(clip) & set(self.labels) or {""}
            if any(seen[label] < most for label in held):
                kept.add(clip.path)
            seen.update(held)
        return tuple(clip for clip in clips if clip.path in kept)

    def _check(self, train: Sequence[Clip]) -> None:
        truth = np.array([self._truth_of(clip) for clip in train])
        missing = [label for label, column in zip(self.labels, truth.T, strict=True) if not (column == 1).any()]
        if missing:
            raise UsageError(
                f"{self.config.manifest}: no clip to train on has the label {', '.join(missing)}; "
                "correct options.labels, or hold out less"
            )
        if self.options.exclusive:
            for clip, row in zip(train, truth, strict=True):
                if int((row == 1).sum()) != 1:
                    raise UsageError(f"{clip.path}: has {int((row == 1).sum())} labels; exclusive needs exactly one")

    def _bank(self, title: str, clips: Sequence[Clip], cache: PcmCache, *, takes: int) -> TagBank:
        truth = np.array([self._truth_of(clip) for clip in clips], np.float32).reshape(-1, len(self.labels))
        weight = np.array([self.options.weights(clip, self.labels) for clip in clips], np.float32)
        weight = weight.reshape(-1, len(self.labels))
        bank = build_bank(
            [recording_of(clip, cache, self._place(clip), group=clip.key) for clip in clips],
            Truth(target=np.nan_to_num(truth), weight=weight),
            self.setting.frontend,
            takes=takes,
            seed=self.config.seed,
            per_clip=self.options.segments_per_clip,
            retake=self.options.retakes,
            progress=lambda done, of: self.setting.progress(f"features for {title}", done, of),
        )
        if not self.options.exclusive:
            return bank
        # one of the labels holds: where that one is in doubt, nothing is known of the others
        weight = np.repeat(bank.truth.weight.min(axis=1, keepdims=True), len(self.labels), axis=1)
        return replace(bank, truth=replace(bank.truth, weight=weight))
