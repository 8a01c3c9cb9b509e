"""From a network's logits to probabilities that mean what they say.

Two kinds, fitted on validation data and stored in a bundle as JSON:

- ``{"kind": "platt", "scale": [...], "offset": [...]}`` for labels that are independent: the
  probability of each is ``sigmoid(scale * logit + offset)`` (Platt, "Probabilistic outputs for
  support vector machines", 1999). A scale below 1 cools an overconfident network, the offset moves
  the point where it is undecided.
- ``{"kind": "softmax", "temperature": t, "offset": [...]}`` where exactly one label holds:
  ``softmax(logits / t + offset)`` (Guo et al., "On calibration of modern neural networks", ICML
  2017, section 4.2, with a bias per class beside the temperature).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from catalog_tagger.errors import UsageError


@dataclass(frozen=True)
class Calibration:
    """A scale and an offset per label; of kind `softmax` all scales are 1 / temperature."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    kind: Literal["platt", "softmax"] = "platt"

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.offset):
            raise UsageError(f"calibration has {len(self.scale)} scales, {len(self.offset)} offsets")
        if any(not 0 < scale < float("inf") for scale in self.scale):
            raise UsageError(f"calibration scales must be positive, not {self.scale}")
        if self.kind == "softmax" and len(set(self.scale)) > 1:
            raise UsageError(f"a softmax calibration has one temperature, not the scales {self.scale}")

    @classmethod
    def identity(cls, n_labels: int) -> Calibration:
        """The plain sigmoid."""
        return cls(scale=(1.0,) * n_labels, offset=(0.0,) * n_labels)

    @property
    def is_identity(self) -> bool:
        """Whether the probabilities are the network's own."""
        return set(self.scale) <= {1.0} and set(self.offset) <= {0.0}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        kind = data.get("kind")
        if kind not in ("platt", "softmax"):
            raise UsageError(f"unknown calibration {kind!r}; known are 'platt' and 'softmax'")
        offset = tuple(float(value) for value in data["offset"])
        if kind == "softmax":
            return cls(scale=(1.0 / float(data["temperature"]),) * len(offset), offset=offset, kind="softmax")
        return cls(scale=tuple(float(value) for value in data["scale"]), offset=offset)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a bundle."""
        if self.kind == "softmax":
            return {"kind": "softmax", "temperature": 1.0 / self.scale[0], "offset": list(self.offset)}
        return {"kind": "platt", "scale": list(self.scale), "offset": list(self.offset)}

    def calibrated(self, logits: Tensor) -> Tensor:
        """Logits, float32, whose sigmoid or softmax are probabilities, of logits (batch, n_labels)."""
        scale = torch.tensor(self.scale, device=logits.device)
        offset = torch.tensor(self.offset, device=logits.device)
        return logits.float() * scale + offset

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities, float32, of logits (batch, n_labels)."""
        calibrated = self.calibrated(logits)
        return torch.softmax(calibrated, dim=1) if self.kind == "softmax" else torch.sigmoid(calibrated)


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

    def cost() -> Tensor:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits * log_scale.exp() + offset, targets, weight=weights, reduction="sum"
        )
        return loss + log_scale.square().sum() + 0.5 * offset.square().sum()

    _minimise(cost, [log_scale, offset])
    return Calibration(scale=tuple(log_scale.detach().exp().tolist()), offset=tuple(offset.detach().tolist()))


def fit_softmax_calibration(logits: Tensor, targets: Tensor, weights: Tensor) -> Calibration:
    """Fit a temperature and an offset per class by weighted maximum likelihood.

    Parameters
    ----------
    logits, targets
        (examples, n_labels); each row of targets sums to 1.
    weights
        (examples,). The prior is that of `fit_calibration`; it also fixes the sum of the offsets,
        which the softmax leaves open, at 0.
    """
    logits, targets, weights = logits.double(), targets.double(), weights.double()
    log_scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)

    def cost() -> Tensor:
        likelihood = (targets * torch.log_softmax(logits * log_scale.exp() + offset, dim=1)).sum(dim=1)
        return log_scale.square().sum() + 0.5 * offset.square().sum() - (weights * likelihood).sum()

    _minimise(cost, [log_scale, offset])
    scale = float(log_scale.detach().exp())
    return Calibration(scale=(scale,) * len(offset), offset=tuple(offset.detach().tolist()), kind="softmax")


def _minimise(cost: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = cost()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
