"""Batches of labelled segments: equal examples per label, varied and mixed as features.

*Balance.* Labels take turns in a shuffled order that is drawn anew when all had theirs, across the
borders of batches, so that every label gives equally many examples (Xu 2018, section 5.1.2).
Segments without any label take a turn of their own; a label may be given several. A turn picks a clip
of its label, one of the clip's segments and one of its takes.

*Variation* on a CQT-gram costs next to nothing: a shift along the bins is a transposition, a
stretched and turned row of frames is another tempo and another beginning, a smooth curve added
along the bins is an equaliser.

*Mixing.* Two segments sound together: magnitudes are added at a random ratio of their loudest
frames. A label is there if it is in either, absent if both say so, and otherwise left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from catalog_tagger.training.batch import Batch
from catalog_tagger.training.tag_bank import TagBank

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variation:
    """How far an example is moved; 0 leaves it alone.

    Attributes
    ----------
    bins
        Largest transposition, in bins of the front end.
    tempo
        Largest change of tempo: a factor between ``1 / (1 + tempo)`` and ``1 + tempo``.
    turn
        Whether the frames begin anywhere and go on from the start.
    equaliser_bits
        Standard deviation of the curve along the bins, in units of the front end (1 = 6 dB).
    mixed
        Share of the examples in which two segments sound together.
    ratio_db
        Largest difference of level between the two.
    """

    bins: int = 6
    tempo: float = 0.25
    turn: bool = True
    equaliser_bits: float = 0.5
    mixed: float = 0.5
    ratio_db: float = 10.0


class TagBatches(Dataset[Batch]):
    """Batch `i` out of a bank; it depends on the seed and `i` alone. Where nothing is known, there are none.

    Parameters
    ----------
    balanced
        Without it all segments take one turn, and labels come as often as they are.
    turns
        Turns of each label before all have had theirs, and last those of segments without a label;
        one each where it is not given.
    partners
        The same of the second of two segments that are mixed; as often as each other where it is not given.
    """

    def __init__(
        self,
        bank: TagBank,
        *,
        seed: int,
        batches: int,
        batch_size: int,
        variation: Variation,
        balanced: bool = True,
        turns: Sequence[int] | None = None,
        partners: Sequence[int] | None = None,
    ) -> None:
        self.bank = bank
        self.seed, self.batch_size = seed, batch_size
        self.variation = variation
        positive = (bank.truth.target > 0) & (bank.truth.weight > 0)
        known = bank.truth.weight.sum(axis=1) > 0
        groups = [positive[:, label] for label in range(positive.shape[1])]
        groups.append(known & ~(bank.truth.target > 0).any(axis=1))
        if not balanced:
            groups, turns, partners = [known], None, None
        by_clip = [_by_clip(np.flatnonzero(group), bank.clip) for group in groups]

        def repeated(counts: Sequence[int] | None) -> list[list[npt.NDArray[np.intp]]]:
            counts = [1] * len(groups) if counts is None else counts
            return [clips for clips, count in zip(by_clip, counts, strict=True) if clips for _ in range(count)]

        self.turns, self.partners = repeated(turns), repeated(partners)
        self.batches = batches if self.turns else 0

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        features, target, weight = [], [], []
        for place in range(index * self.batch_size, (index + 1) * self.batch_size):
            one = self._draw(self.turns[self._turn(place)], rng)
            x, t, w = self._example(one, rng)
            if rng.random() < self.variation.mixed:
                other = self._draw(self.partners[int(rng.integers(len(self.partners)))], rng)
                x2, t2, w2 = self._example(other, rng)
                x = add_sounds(x, x2, float(rng.uniform(-1, 1)) * self.variation.ratio_db)
                t, w = join_labels(t, w, t2, w2)
            features.append(x)
            target.append(t)
            weight.append(w)
        return Batch(
            features=torch.from_numpy(np.stack(features)),
            target=torch.from_numpy(np.stack(target)),
            weight=torch.from_numpy(np.stack(weight)),
        )

    def _turn(self, place: int) -> int:
        lap, step = divmod(place, len(self.turns))
        return int(np.random.default_rng([self.seed, 2**32 + lap]).permutation(len(self.turns))[step])

    def _draw(self, clips: list[npt.NDArray[np.intp]], rng: np.random.Generator) -> int:
        segments = clips[int(rng.integers(len(clips)))]
        return int(segments[int(rng.integers(len(segments)))])

    def _example(self, segment: int, rng: np.random.Generator) -> tuple[Float32Array, Float32Array, Float32Array]:
        take = int(rng.integers(self.bank.features.shape[1]))
        x = vary(self.bank.features[segment, take].astype(np.float32), self.variation, rng)
        truth = self.bank.truth
        return x, truth.target[segment], truth.weight[segment].astype(np.float32)


def vary(features: Float32Array, variation: Variation, rng: np.random.Generator) -> Float32Array:
    """One example (frames, bins) or (maps, frames, bins), moved at random; same shape, a CQT-gram never below 0."""
    frames, bins = features.shape[-2:]
    tempo = (1 + variation.tempo) ** float(rng.uniform(-1, 1))
    start = int(rng.integers(frames)) if variation.turn else 0
    out = features[..., (start + np.arange(frames) * tempo).astype(int) % frames, :]
    shift = int(rng.integers(-variation.bins, variation.bins + 1))
    if shift:
        out = np.roll(out, shift, axis=-1)
        out[..., slice(shift) if shift > 0 else slice(shift, None)] = 0.0
    if variation.equaliser_bits:
        knots = rng.normal(0.0, variation.equaliser_bits, 6)
        out = np.maximum(out + np.interp(np.arange(bins), np.linspace(0, bins - 1, 6), knots), 0.0)
    moved: Float32Array = out.astype(np.float32)
    return moved


def add_sounds(one: Float32Array, other: Float32Array, ratio_db: float) -> Float32Array:
    """Features (frames, bins) of two sounds together, the first `ratio_db` above the second.

    Features are ``log2(1 + C s)`` of magnitudes ``s``; the louder keeps its level. Phases being
    unknown, powers are added.
    """
    loudest = [float(x.mean(axis=1).max()) for x in (one, other)]
    gap = (loudest[0] - loudest[1]) - ratio_db * np.log2(10) / 20
    # the one that would be too loud is turned down
    magnitudes = [np.exp2(x) - 1 for x in (one, other)]
    magnitudes[0 if gap > 0 else 1] *= np.exp2(-abs(gap))
    together: Float32Array = np.log2(1 + np.hypot(*magnitudes)).astype(np.float32)
    return together


def join_labels(
    target: Float32Array, weight: Float32Array, target_2: Float32Array, weight_2: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Target and weight of two sounds together."""
    there = np.maximum(target * (weight > 0), target_2 * (weight_2 > 0))
    known = np.where(there > 0, np.float32(1.0), np.minimum(weight, weight_2))
    return there.astype(np.float32), known.astype(np.float32)


def _by_clip(segments: npt.NDArray[np.intp], clip: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    return [segments[clip[segments] == one] for one in np.unique(clip[segments])]
