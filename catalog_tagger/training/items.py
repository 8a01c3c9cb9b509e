"""What is judged: segments, or clips with all their segments, each with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
ITEMS_IN_WORDS: Final = {
    "segment": "5 s of a clip; a segment of a speech clip with less than 0.2 s above the clip's "
    "gate (32 dB under its loud frames) is a pause and left out",
    "clip": "mean of its segments' probabilities, weighted by their length",
    "wilson": "95 % interval, every item independent",
    "over_sources": "95 % interval, whole collections drawn anew (bootstrap); where all is of one collection, "
    "whole recordings and voices; none where what counts is all of one",
}
Over = Literal["sources", "recordings"]


@dataclass(frozen=True)
class Items:
    """Segments or clips to be judged.

    Attributes
    ----------
    heard
        Probabilities per segment, (segments, labels).
    owner
        The item of each segment, [shape=(segments,)].
    seconds
        Length of each segment.
    truth
        Per item, (items, labels).
    sources, languages
        Per item.
    groups
        Per item the recording or voice it shares with others (`manifest.groups`); empty where nobody asks.
    """

    heard: Float32Array
    owner: IntArray
    seconds: Float32Array
    truth: Float32Array
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def values(self) -> Float32Array:
        """Mean over the segments of each item, weighted by their length, (items, labels)."""
        return self.mean(self.heard, self.seconds)

    def mean(self, heard: Float32Array, weights: Float32Array) -> Float32Array:
        """Mean over the segments of each item of (segments, columns), by the weight of each segment."""
        total = np.zeros((len(self), heard.shape[1]))
        np.add.at(total, self.owner, heard * weights[:, None])
        weight = np.bincount(self.owner, weights=weights, minlength=len(self))
        return (total / np.maximum(weight, 1e-9)[:, None]).astype(np.float32)

    @property
    def over(self) -> Over:
        """What intervals draw anew: sources, or in a single one the recordings and voices."""
        return "recordings" if self.groups and len(set(self.sources)) == 1 else "sources"

    @property
    def drawn(self) -> tuple[str, ...]:
        """Per item the name of what is drawn anew."""
        return self.groups if self.over == "recordings" else self.sources
