"""Recordings to draw from, such that no collection, track or voice outweighs the others.

A draw picks a source with the square root of its duration as weight, then one of its groups (a
track, a voice) uniformly, then one of the group's recordings uniformly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ

Int16Array = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """Samples with their bookkeeping.

    Attributes
    ----------
    pcm, degraded
        int16 mono 16 kHz; `degraded` went through a lossy codec, or is `pcm` itself.
    gate_db
        Level of a 10 ms frame below which the recording counts as silent.
    source, group
        Where it is from, and what it must not be separated from.
    """

    pcm: Int16Array
    degraded: Int16Array
    gate_db: float
    source: str
    group: str


def gate_level_db(levels_db: npt.NDArray[np.integer] | npt.NDArray[np.floating], *, below_loud_db: float) -> float:
    """Level under which a frame counts as silent: so far below the loud ones, never under -65 dB."""
    if levels_db.size == 0:
        return -65.0
    return max(float(np.quantile(levels_db, 0.95)) - below_loud_db, -65.0)


@dataclass
class Bank:
    """A weighted collection of recordings."""

    recordings: Sequence[Recording]
    _tree: list[list[list[Recording]]] = field(init=False, repr=False)
    _weights: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tree: dict[str, dict[str, list[Recording]]] = defaultdict(lambda: defaultdict(list))
        for recording in self.recordings:
            tree[recording.source][recording.group].append(recording)
        self._tree = [list(groups.values()) for groups in tree.values()]
        minutes = [
            sum(one.pcm.size for group in groups for one in group) / SAMPLE_RATE_HZ / 60 for groups in self._tree
        ]
        weights = np.sqrt(np.array(minutes) + 0.5)
        self._weights = weights / weights.sum() if len(weights) else weights

    def __bool__(self) -> bool:
        return bool(self._tree)

    def draw(self, rng: np.random.Generator) -> Recording:
        """One recording."""
        return self.draw_group(rng, 1)[0]

    def draw_group(self, rng: np.random.Generator, count: int) -> list[Recording]:
        """`count` recordings of one group, with repetition where it has fewer."""
        groups = self._tree[int(rng.choice(len(self._tree), p=self._weights))]
        group = groups[int(rng.integers(len(groups)))]
        return [group[int(rng.integers(len(group)))] for _ in range(count)]
