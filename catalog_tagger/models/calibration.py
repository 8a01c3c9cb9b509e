"""From a network's logits to probabilities that mean what they say.

One line per label (Platt, "Probabilistic outputs for support vector machines", 1999): the
probability is ``sigmoid(scale * logit + offset)``. A scale below 1 cools an overconfident network,
the offset moves the point where it is undecided. Both are fitted on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catalog_tagger.errors import UsageError


@dataclass(frozen=True)
class Calibration:
    """A scale and an offset per label."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.offset):
            raise UsageError(f"calibration has {len(self.scale)} scales, {len(self.offset)} offsets")
        if any(not 0 < scale < float("inf") for scale in self.scale):
            raise UsageError(f"calibration scales must be positive, not {self.scale}")

    @classmethod
    def identity(cls, n_labels: int) -> Calibration:
        """The plain sigmoid."""
        return cls(scale=(1.0,) * n_labels, offset=(0.0,) * n_labels)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        if data.get("kind") != "platt":
            raise UsageError(f"unknown calibration {data.get('kind')!r}; known is 'platt'")
        return cls(
            scale=tuple(float(value) for value in data["scale"]),
            offset=tuple(float(value) for value in data["offset"]),
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in a bundle."""
        return {"kind": "platt", "scale": list(self.scale), "offset": list(self.offset)}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities, float32, of logits (batch, n_labels)."""
        scale = torch.tensor(self.scale, device=logits.device)
        offset = torch.tensor(self.offset, device=logits.device)
        return torch.sigmoid(logits.float() * scale + offset)


def fit_calibration(logits: Tensor, targets: Tensor, weights: Tensor) -> Calibration:
    """Fit a line per label by weighted maximum likelihood.

    Parameters
    ----------
    logits, targets, weights
        (examples, n_labels); targets are 0 or 1; a weight of 0 leaves an example out for a label.
        A weak prior (one example's worth) keeps the line near the identity where data are few.
    """
    logits, targets, weights = logits.double(), targets.double(), weights.double()
    log_scale = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits * log_scale.exp() + offset, targets, weight=weights, reduction="sum"
        )
        loss = loss + log_scale.square().sum() + 0.5 * offset.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Calibration(scale=tuple(log_scale.detach().exp().tolist()), offset=tuple(offset.detach().tolist()))
