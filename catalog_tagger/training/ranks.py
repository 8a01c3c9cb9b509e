"""Who trains: one process alone, or several that share the gradients.

A training asks its `Ranks` for everything that differs between the two, so that there is one loop.
Rank 0 validates and writes; the others only add their batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn


class Ranks(Protocol):
    """This process among those that train together."""

    @property
    def index(self) -> int:
        """Its number; 0 validates and writes."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def first_on_machine(self) -> bool:
        """Whether it prepares what all processes of its machine read."""

    @property
    def device(self) -> torch.device:
        """Where its network lies."""

    def share(self, model: nn.Module) -> nn.Module:
        """The network on the device, such that its gradients are the mean over all processes."""

    def agree(self, value: float) -> float:
        """The value that rank 0 gave; every process must ask."""

    def wait(self) -> None:
        """Return once every process has come here."""


@dataclass(frozen=True)
class Alone:
    """One process, on the GPU where there is one."""

    device: torch.device
    index: int = 0
    count: int = 1
    first_on_machine: bool = True

    def share(self, model: nn.Module) -> nn.Module:
        """The network on the device."""
        return model.to(self.device)

    def agree(self, value: float) -> float:
        """The value itself."""
        return value

    def wait(self) -> None:
        """There is nobody to wait for."""


def alone(device: str = "auto") -> Alone:
    """One process on `device`: ``auto`` (a GPU if torch sees one), ``cpu`` or ``cuda``."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Alone(torch.device(device))
