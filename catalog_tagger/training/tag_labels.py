"""Which labels a clip has, which it has not, and of which its collection says nothing.

A clip has the labels that its row names (column `labels` or `label`, several with ``;`` between), and
those that `names` gives it by shell patterns against its label, ``role/<role>`` or
`source/original_path`. Of the other labels:

- a clip that has one has no other, but for those that `unsaid` leaves open for it;
- of a clip that has none nothing is known, but for those that `absent` rules out for it.

A collection of single instruments says which one plays, a songbook does not: what is left open
teaches nothing, and is not counted in any figure. Of that, `unlikely` names what is absent more
often than not: it teaches absence, at a weight of `UNLIKELY`, and is not counted in figures either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from pydantic import Field

from catalog_tagger.training.config import Strict
from catalog_tagger.training.manifest import Clip, named_in

UNKNOWN = float("nan")
UNLIKELY: Final = 0.04


class Rule(Strict):
    """Labels, by shell patterns, of clips, by shell patterns; all labels where none are named."""

    clips: tuple[str, ...]
    labels: tuple[str, ...] = ("*",)

    def covers(self, clip: Clip, label: str) -> bool:
        """Whether it speaks of this label of this clip."""
        return any(fnmatchcase(label, one) for one in self.labels) and is_like(clip, self.clips)


class LabelRules(Strict):
    """How labels follow from a manifest's rows."""

    names: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="label: patterns of clips that have it, beside those whose row names it"
    )
    unsaid: tuple[Rule, ...] = Field(default=(), description="labels that may be in clips that do not name them")
    absent: tuple[Rule, ...] = Field(default=(), description="labels that are not in clips that name none")
    unlikely: tuple[Rule, ...] = Field(default=(), description="labels left open that are seldom in these clips")

    def held_by(self, clip: Clip) -> set[str]:
        """The labels of a clip."""
        own = set(named_in(clip))
        return own | {label for label, patterns in self.names.items() if is_like(clip, patterns)}

    def truth(self, clip: Clip, labels: Sequence[str]) -> tuple[float, ...]:
        """Per label 1, 0, or NaN where nobody says."""
        held = self.held_by(clip)
        some = any(label in held for label in labels)
        answer = []
        for label in labels:
            if label in held:
                answer.append(1.0)
            elif some:
                answer.append(UNKNOWN if any(rule.covers(clip, label) for rule in self.unsaid) else 0.0)
            else:
                answer.append(0.0 if any(rule.covers(clip, label) for rule in self.absent) else UNKNOWN)
        return tuple(answer)

    def weights(self, clip: Clip, labels: Sequence[str]) -> tuple[float, ...]:
        """Per label how much the truth of the clip, or its likely absence, counts in training."""
        said = [not math.isnan(truth) for truth in self.truth(clip, labels)]
        return tuple(
            1.0 if known else UNLIKELY if any(rule.covers(clip, label) for rule in self.unlikely) else 0.0
            for label, known in zip(labels, said, strict=True)
        )


def rules_in(options: Mapping[str, Any]) -> LabelRules:
    """The rules among the options of a training, as a bundle's card repeats them."""
    return LabelRules.model_validate({key: options[key] for key in LabelRules.model_fields if key in options})


def is_like(clip: Clip, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits one of the clip's labels, its role or its `source/original_path`."""
    texts = (*named_in(clip), f"role/{clip.role}", clip.key)
    return any(fnmatchcase(text, pattern) for pattern in patterns for text in texts)
