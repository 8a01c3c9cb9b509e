"""Penalties on the size of weights, which decide what filters look like.

The cost of a batch grows by ``strength`` times the sum of Q over the layers, one strength for all
(Royo-Letelier, section 2.3.2 and equation 3.6). Only weights are penalised, no offsets, no scales:

- ``l1``, ``l2``: the norms of a layer's weights; l2 is the norm itself, not its square;
- ``l1_l2``: their quotient, which does not change when a layer is scaled, and is 1 for a layer with
  one weight that is not 0;
- ``l12``, ``l21``: mixed norms of each filter of a convolutional layer, added up. A filter is an
  array theta[k, l] of K time steps and L bins, and its norm l_pq is
  ``(sum over l of (sum over k of |theta[k, l]|^p)^(q/p))^(1/q)``. So l21 adds up the Euclidean norms
  of the bins' lines and sends whole lines to 0 (the group lasso); l12 is the Euclidean norm of the
  lines' l1 norms and leaves few weights in every line (Kowalski and Torresani, 2009).

The paper prints the inner exponent of the mixed norm as p/q. That is no norm (it does not scale
with theta), so the one of its reference stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError


def l1(weight: Tensor) -> Tensor:
    """Sum of magnitudes."""
    return weight.abs().sum()


def l2(weight: Tensor) -> Tensor:
    """Square root of the sum of squares; its gradient at 0 is 0."""
    norm: Tensor = torch.linalg.vector_norm(weight)
    return norm


def l1_l2(weight: Tensor) -> Tensor:
    """The quotient of both, between 1 and the square root of the number of weights; 0 of zeros."""
    size = l2(weight)
    return l1(weight) / torch.where(size > 0, size, torch.ones_like(size))


def l12(filters: Tensor) -> Tensor:
    """Sum over filters [shape=(..., K, L)] of the Euclidean norm over L of the l1 norms over K."""
    norms: Tensor = torch.linalg.vector_norm(filters.abs().sum(dim=-2), dim=-1)
    return norms.sum()


def l21(filters: Tensor) -> Tensor:
    """Sum over filters [shape=(..., K, L)] of the Euclidean norms over K, added up over L."""
    norms: Tensor = torch.linalg.vector_norm(filters, dim=-2)
    return norms.sum()


PENALTIES: Final[dict[str, Callable[[Tensor], Tensor]]] = {"l1": l1, "l2": l2, "l1_l2": l1_l2, "l12": l12, "l21": l21}
_ON_FILTERS: Final = ("l12", "l21")


class Regularizer:
    """What is added to the cost of a network.

    Parameters
    ----------
    penalty
        A key of `PENALTIES`.
    strength
        Its weight in the cost.

    Raises
    ------
    UsageError
        The network has nothing that this penalty could work on.
    """

    def __init__(self, model: nn.Module, *, penalty: str, strength: float) -> None:
        self._penalty = PENALTIES[penalty]
        self._strength = strength
        self._weights = list(_weights(model, filters_only=penalty in _ON_FILTERS))
        if not self._weights:
            raise UsageError(
                f"'optimisation.penalty' is {penalty!r}: it works on filters of time and frequency, and this "
                "network has none; use l1, l2 or l1_l2"
            )

    def __call__(self) -> Tensor:
        """Strength times the sum over layers, by their present weights; differentiable."""
        return self._strength * torch.stack([self._penalty(one) for one in self._weights]).sum()


def _weights(model: nn.Module, *, filters_only: bool) -> Iterator[Tensor]:
    for layer in model.modules():
        wanted = isinstance(layer, nn.Conv2d) if filters_only else isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
        if wanted and isinstance(layer.weight, Tensor):
            yield layer.weight
