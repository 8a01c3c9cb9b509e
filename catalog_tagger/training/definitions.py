"""What counts as right, task by task.

The truth of a clip is what its collection says of each label: 1, 0, or NaN where it does not say.
An item is a segment, or a clip with all its segments; its values are the mean probabilities of its
segments, weighted by their length (`items`). All definitions stand in `words`, which the cards repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import SPEECH_MUSIC, TAGS, VOICE_GENDER, Bundle
from catalog_tagger.tagging.content import judge
from catalog_tagger.tagging.voices import VOICE_GENDERS, judge_voice
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.items import Items
from catalog_tagger.training.manifest import Clip, named_in
from catalog_tagger.training.prepare import UNSAID, kind_of, matches
from catalog_tagger.training.tag_labels import LabelRules, rules_in

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
UNKNOWN: Final = float("nan")
_LEAST_VOICE: Final = 1e-6
#: what the tables call speech, music, both and neither
_CONTENT_TYPES: Final = ("speech", "music", "mixed", "other")
#: (right, counted) per item
Rightness = tuple[BoolArray, BoolArray]


class Definitions(Protocol):
    """How the items of a task are judged."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns mean."""

    @property
    def primary(self) -> str:
        """The share that two bundles are compared by."""

    @property
    def per_source(self) -> tuple[str, ...]:
        """The shares that are shown per source."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What an item can be, and be called: the rows and columns of the confusion."""

    @property
    def words(self) -> Mapping[str, str]:
        """Each share in a sentence."""

    def truth(self, clip: Clip) -> tuple[float, ...]:
        """What is known of a clip, per label."""

    def values(self, items: Items) -> Float32Array:
        """The probabilities of each item, (items, labels)."""

    def shares(self, items: Items) -> dict[str, Rightness]:
        """Which items are right, by each definition."""

    def right_as_known(self, items: Items) -> Rightness:
        """One rightness for all items, that also holds where part of the truth is not known."""

    def true_class(self, items: Items) -> IntArray:
        """Index into `classes` of what each item is; -1 where it is none of them."""

    def said_class(self, items: Items) -> IntArray:
        """Index into `classes` of what each item is called."""


class SpeechMusicDefinitions:
    """Presence of speech and of music."""

    labels = ("speech", "music")
    primary = "presence"
    per_source = ("two_class", "presence")
    classes = ("speech", "music", "both", "neither")
    words: Mapping[str, str] = {
        "two_class": "of a speech or music item, the label's probability is the larger of the two",
        "presence": "both probabilities are on the right side of 0.5; neither for noise and effects",
        "presence_of_speech_and_music": "presence, of items that hold one of the two",
        "neither": "presence, of items that hold neither",
        "content_type": "the tables would call it speech, music, mixed or other as it is, by the shares of its seconds",
    }

    def __init__(self, config: ClipConfig | None = None) -> None:
        self.config = ClipConfig() if config is None else config

    def truth(self, clip: Clip) -> tuple[float, ...]:
        """Of (speech, music), by the clip's role and labels; of what neither names nothing is known."""
        if matches(clip, self.config.exclude):
            return UNKNOWN, UNKNOWN
        named = {label.lower() for label in named_in(clip)} | {clip.role}
        if {"speech", "music"} <= named:
            return 1.0, 1.0
        kind = kind_of(clip, self.config)
        if kind == UNSAID:
            return (1.0 if "speech" in named else UNKNOWN), (1.0 if "music" in named else UNKNOWN)
        known = {"speech": (1.0, 0.0), "music": (0.0, 1.0), "singing": (0.0, 1.0), "noise": (0.0, 0.0)}
        return known.get(kind, (0.0, UNKNOWN))

    def values(self, items: Items) -> Float32Array:
        """Means over segments."""
        return items.values

    def shares(self, items: Items) -> dict[str, Rightness]:
        """Two-class and presence; presence once more of what holds one of the two, and neither."""
        values, truth = items.values, items.truth
        known = ~np.isnan(truth).any(axis=1)
        count = np.where(known, truth.sum(axis=1), UNKNOWN)
        larger = (values[:, 0] > values[:, 1]) == (truth[:, 0] > truth[:, 1])
        presence = ((values >= 0.5) == (truth >= 0.5)).all(axis=1)
        return {
            "two_class": (larger, count == 1),
            "presence_of_speech_and_music": (presence, count >= 1),
            "neither": (presence, count == 0),
            "presence": (presence, known),
            "content_type": (self.said_class(items) == self.true_class(items), known),
        }

    def right_as_known(self, items: Items) -> Rightness:
        """Presence, of the labels that are known."""
        return _all_known_right(items)

    def true_class(self, items: Items) -> IntArray:
        """By which of the two are there."""
        known = ~np.isnan(items.truth).any(axis=1)
        return np.where(known, _both_neither(np.nan_to_num(items.truth)), -1)

    def said_class(self, items: Items) -> IntArray:
        """By the rule of the tables; of one segment it is which of the two probabilities reach 0.5."""
        said = _both_neither(items.values)
        for item, mine in _segments_of(items):
            if mine.size > 1:
                heard, seconds = items.heard[mine], items.seconds[mine].astype(np.float64)
                said[item] = _CONTENT_TYPES.index(judge(heard[:, 0], heard[:, 1], seconds).content_type)
        return said


def _both_neither(values: Float32Array) -> IntArray:
    speech, music = values[:, 0] >= 0.5, values[:, 1] >= 0.5
    return np.asarray(np.select([speech & music, speech, music], [2, 0, 1], 3), np.int64)


def _segments_of(items: Items) -> Iterator[tuple[int, IntArray]]:
    """Each item and the places of its segments."""
    order = np.argsort(items.owner, kind="stable")
    ends = np.searchsorted(items.owner[order], np.arange(len(items) + 1))
    for item, (start, stop) in enumerate(pairwise(ends)):
        yield item, order[start:stop]


class VoiceGenderDefinitions:
    """Whose voice it is, where somebody speaks; the tables' own rule says when nobody can tell."""

    labels: tuple[str, ...] = ("female", "voice")
    primary = "gender"
    per_source = ("gender", "verdict", "right_if_decided", "voiceless_unknown")
    classes = VOICE_GENDERS
    words: Mapping[str, str] = {
        "clip": "mean of its segments' probabilities, weighted by their length and, of female, by that of a voice",
        "gender": "of a voice of known gender, the probability of female is on the right side of 0.5",
        "verdict": "of a voice of known gender, the tables would say it; unknown and mixed are wrong",
        "right_if_decided": "of those of which they would say female or male, rightly",
        "voiceless_unknown": "of items in which nobody speaks (singing among them), the tables would say unknown",
    }

    def __init__(self, decision: Mapping[str, float], config: ClipConfig | None = None) -> None:
        self.decision = decision
        self.config = ClipConfig() if config is None else config

    def truth(self, clip: Clip) -> tuple[float, ...]:
        """Of (female, voice): gender of speech where it is known; singers count as nobody who speaks."""
        if matches(clip, self.config.exclude):
            return UNKNOWN, UNKNOWN
        kind = kind_of(clip, self.config)
        if clip.role == "speech" or (kind == UNSAID and "speech" in map(str.lower, named_in(clip))):
            return {"f": 1.0, "m": 0.0}.get(clip.gender, UNKNOWN), 1.0
        return UNKNOWN, 0.0 if kind in {"music", "singing", "noise"} else UNKNOWN

    def values(self, items: Items) -> Float32Array:
        """Means over segments; of `female` each counts by its voice, for in a pause it means nothing."""
        # never quite 0: where no segment holds a voice, all count
        female = items.mean(items.heard[:, :1], items.seconds * np.maximum(items.heard[:, 1], _LEAST_VOICE))
        return np.concatenate([female, items.values[:, 1:]], axis=1)

    def shares(self, items: Items) -> dict[str, Rightness]:
        """Gender at 0.5, and what the tables would say of it."""
        female, voice = items.truth[:, 0], items.truth[:, 1]
        gendered = ~np.isnan(female) & (voice == 1)
        said, true = self.said_class(items), self.true_class(items)
        decided = said < 2
        return {
            "gender": ((self.values(items)[:, 0] >= 0.5) == (female == 1), gendered),
            "verdict": (said == true, gendered),
            "right_if_decided": (said == true, gendered & decided),
            "voiceless_unknown": (said == 3, voice == 0),
        }

    def right_as_known(self, items: Items) -> Rightness:
        """Gender at 0.5 of a voice; unknown where nobody speaks."""
        shares = self.shares(items)
        (gender, gendered), (unknown, voiceless) = shares["gender"], shares["voiceless_unknown"]
        return np.where(gendered, gender, unknown), gendered | voiceless

    def true_class(self, items: Items) -> IntArray:
        """Female, male; unknown where nobody speaks."""
        female, voice = items.truth[:, 0], items.truth[:, 1]
        return np.asarray(np.select([female == 1, female == 0, voice == 0], [0, 1, 3], -1), np.int64)

    def said_class(self, items: Items) -> IntArray:
        """By the rule of the tables, over the item's segments."""
        said = []
        for _, mine in _segments_of(items):
            seconds = items.seconds[mine].astype(np.float64)
            verdict = judge_voice(items.heard[mine, 0], items.heard[mine, 1], seconds, self.decision)
            said.append(self.classes.index(verdict.voice_gender))
        return np.array(said, np.int64)


class TagsDefinitions:
    """Any labels, several at once."""

    primary = "top"
    per_source = ("top", "all_right")
    words: Mapping[str, str] = {
        "top": "of an item with a true label, the highest of its known labels is a true one",
        "all_right": "every known label is on the right side of 0.5",
    }

    def __init__(
        self,
        labels: Sequence[str],
        config: ClipConfig | None = None,
        truth: Callable[[Clip], tuple[float, ...]] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.classes = self.labels
        self.config = ClipConfig() if config is None else config
        self._truth = truth

    def truth(self, clip: Clip) -> tuple[float, ...]:
        """By the rules of the bundle's training, else of `tag_labels` alone."""
        if matches(clip, self.config.exclude):
            return (UNKNOWN,) * len(self.labels)
        return LabelRules().truth(clip, self.labels) if self._truth is None else self._truth(clip)

    def values(self, items: Items) -> Float32Array:
        """Means over segments."""
        return items.values

    def shares(self, items: Items) -> dict[str, Rightness]:
        """The highest label, and all of them at 0.5."""
        truth = items.truth
        highest = self.said_class(items)
        return {
            "top": (np.take_along_axis(truth, highest[:, None], axis=1)[:, 0] == 1, (truth == 1).any(axis=1)),
            "all_right": _all_known_right(items),
        }

    def right_as_known(self, items: Items) -> Rightness:
        """The highest label; where no other is known, that a true one reaches 0.5."""
        top, counted = self.shares(items)["top"]
        heard = ((items.truth == 1) & (items.values >= 0.5)).any(axis=1)
        return np.where((items.truth == 0).any(axis=1), top, heard), counted

    def true_class(self, items: Items) -> IntArray:
        """The label of an item that has one only."""
        single = (items.truth == 1).sum(axis=1) == 1
        return np.where(single, np.nan_to_num(items.truth).argmax(axis=1), -1)

    def said_class(self, items: Items) -> IntArray:
        """The highest of the labels of which it is known whether they are there."""
        return np.asarray(np.where(np.isnan(items.truth), -np.inf, items.values).argmax(axis=1), np.int64)


def _all_known_right(items: Items) -> Rightness:
    known = ~np.isnan(items.truth)
    right = ((items.values >= 0.5) == (items.truth >= 0.5)) | ~known
    return np.asarray(right.all(axis=1), bool), np.asarray(known.any(axis=1), bool)


def _as_told(clip: Clip, known: Container[str]) -> Clip:
    """The clip without its path, where that would contradict its row.

    Patterns of paths were written with the training's own collections in view: of another one, a clip that has
    labels or is speech or music is what its row says, whatever its file is called.
    """
    if clip.source in known or (clip.role == "noise" and not clip.label):
        return clip
    return replace(clip, original_path="")


def definitions_of(
    bundle: Bundle, *, clips_of: Bundle | None = None, labels: Sequence[str] | None = None
) -> Definitions:
    """The definitions of a bundle's task.

    Parameters
    ----------
    clips_of
        The bundle whose training says which clips are special; `bundle` itself if not given.
    labels
        Only these of the labels of a bundle of task `tags`.

    Raises
    ------
    UsageError
        It has no labels, or nothing says what is right for its task.
    """
    if not bundle.labels:
        raise UsageError(f"bundle {bundle.name} has an embedding and no labels: there is nothing to measure")
    card = (clips_of or bundle).card
    trained = card.get("training", {}).get("config", {})
    config = ClipConfig.model_validate(trained.get("clips", {}))
    known = {row["source"] for key in ("training_sources", "validation_sources") for row in card.get(key) or ()}
    if bundle.task == SPEECH_MUSIC:
        return SpeechMusicDefinitions(config)
    if bundle.task == VOICE_GENDER:
        return VoiceGenderDefinitions(bundle.decision, config)
    if bundle.task == TAGS:
        chosen = tuple(bundle.labels if labels is None else labels)
        rules = rules_in(trained.get("options", {}))
        return TagsDefinitions(chosen, config, lambda clip: rules.truth(_as_told(clip, known), chosen))
    raise UsageError(f"bundle {bundle.name}: nothing says what is right for the task {bundle.task!r}")
