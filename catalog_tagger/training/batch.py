"""What a network learns from at one step, and what is done to it as a whole.

A data provider is a `torch.utils.data.Dataset[Batch]` whose item `i` depends on its seed and `i`
alone, whatever the number of workers that make it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Examples as a front end gives them, with what is known of them.

    Attributes
    ----------
    features
        float32 [shape=(n, frames, bins)] or [shape=(n, maps, frames, bins)].
    target
        Truth per label, float32 in 0...1 [shape=(n, n_labels)].
    weight
        How much each label of each example counts, float32 [shape=(n, n_labels)]; 0 where nothing
        is known. For a categorical loss all labels of an example have one weight.
    """

    features: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        if device.type == "cpu":
            return self
        parts = (one.to(device, non_blocking=True) for one in (self.features, self.target, self.weight))
        return Batch(*parts)


def mask_stripes(features: Tensor, generator: torch.Generator, *, frames: int, bins: int) -> Tensor:
    """Blank one random stripe of time and one of frequency per example (SpecAugment, Park et al. 2019).

    Parameters
    ----------
    features
        (batch, frames, bins) or (batch, maps, frames, bins); all maps lose the same stripes.
    frames, bins
        Width of the widest stripe.
    """
    batch, n_frames, n_bins = len(features), features.shape[-2], features.shape[-1]
    for axis, size, widest in ((1, n_frames, frames), (2, n_bins, bins)):
        width = torch.randint(0, widest + 1, (batch, 1), generator=generator)
        start = torch.rand((batch, 1), generator=generator) * (size - width)
        place = torch.arange(size)[None]
        stripe = ((place >= start) & (place < start + width)).unsqueeze(3 - axis)
        features = features.masked_fill(stripe if features.ndim == 3 else stripe[:, None], 0.0)
    return features


def mixup(batch: Batch, generator: torch.Generator, *, alpha: float) -> Batch:
    """Blend each example with another of the batch (Zhang et al., "mixup", ICLR 2018).

    The share of the first is drawn from Beta(alpha, alpha) once per example. Both losses are linear
    in the target, so that the blend's target and weight make its loss the same blend of the two
    examples' losses: a label known of one example alone counts by that one's share.
    """
    n = len(batch)
    # Beta as a ratio of gammas: torch draws gammas with a generator of its own only this way.
    gamma = torch._standard_gamma(torch.full((2, n), alpha, dtype=torch.float64), generator=generator)
    share = (gamma[0] / gamma.sum(dim=0).clamp_min(1e-300)).float()
    order = torch.randperm(n, generator=generator)
    first = share[:, None]
    weight = first * batch.weight + (1 - first) * batch.weight[order]
    told = first * batch.weight * batch.target + (1 - first) * (batch.weight * batch.target)[order]
    over = share.reshape(-1, *[1] * (batch.features.ndim - 1))
    return Batch(
        features=over * batch.features + (1 - over) * batch.features[order],
        target=torch.where(weight > 0, told / weight.clamp_min(1e-12), torch.zeros_like(told)),
        weight=weight,
    )
