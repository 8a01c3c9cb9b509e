"""The two kinds of answer a network can give, each with its cost, its error and its calibration.

- `MULTI_LABEL`: every label is present or not by itself; sigmoid and binary cross-entropy.
- `CATEGORICAL`: exactly one label holds; softmax and cross-entropy, soft targets allowed.

All functions take logits, targets and weights (n, n_labels); a weight of 0 leaves that label of
that example out. The categorical ones weigh an example by the mean of its row.
"""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from catalog_tagger.models.calibration import Calibration, fit_calibration, fit_softmax_calibration


class Loss(Protocol):
    """What is minimised, and what it means to be wrong."""

    @property
    def name(self) -> str:
        """As configurations call it."""

    def cost(self, logits: Tensor, target: Tensor, weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Weighted mean of the cross-entropy, in nats, differentiable; 0 where nothing counts.

        `smoothing` moves targets so far towards an answer that says nothing.
        """

    def error(self, logits: Tensor, target: Tensor, weight: Tensor) -> float:
        """Weighted share of wrong answers, 0...1."""

    def calibrate(self, logits: Tensor, target: Tensor, weight: Tensor) -> Calibration:
        """Fit what turns logits into probabilities."""


class _MultiLabel:
    name = "multi_label"

    def cost(self, logits: Tensor, target: Tensor, weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
        smooth = target * (1 - smoothing) + 0.5 * smoothing
        loss = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        return (loss * weight).sum() / weight.sum().clamp_min(1.0)

    def error(self, logits: Tensor, target: Tensor, weight: Tensor) -> float:
        wrong = ((logits > 0) != (target > 0.5)).float() * weight
        return float(wrong.sum() / weight.sum().clamp_min(1.0))

    def calibrate(self, logits: Tensor, target: Tensor, weight: Tensor) -> Calibration:
        return fit_calibration(logits, target, weight)


class _Categorical:
    name = "categorical"

    def cost(self, logits: Tensor, target: Tensor, weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
        smooth = target * (1 - smoothing) + smoothing / target.shape[1]
        loss = -(smooth * torch.log_softmax(logits, dim=1)).sum(dim=1)
        of_example = weight.mean(dim=1)
        return (loss * of_example).sum() / of_example.sum().clamp_min(1.0)

    def error(self, logits: Tensor, target: Tensor, weight: Tensor) -> float:
        of_example = weight.mean(dim=1)
        wrong = (logits.argmax(dim=1) != target.argmax(dim=1)).float() * of_example
        return float(wrong.sum() / of_example.sum().clamp_min(1.0))

    def calibrate(self, logits: Tensor, target: Tensor, weight: Tensor) -> Calibration:
        return fit_softmax_calibration(logits, target, weight.mean(dim=1))


MULTI_LABEL: Final[Loss] = _MultiLabel()
CATEGORICAL: Final[Loss] = _Categorical()
LOSSES: Final[dict[str, Loss]] = {one.name: one for one in (MULTI_LABEL, CATEGORICAL)}
