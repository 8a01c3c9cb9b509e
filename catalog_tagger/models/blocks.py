"""What the residual networks are built of; names of weights follow from the order of layers here."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def loudest_frame(loudness: Tensor, *, floor_bits: float) -> Tensor:
    """The level of the loudest frame, (batch, frames) to (batch, 1), but at least the floor: silence stays silence."""
    return loudness.amax(dim=1, keepdim=True).clamp_min(floor_bits)


def without_level(features: Tensor, loudest: Tensor, *, range_bits: float) -> Tensor:
    """Features about the level of the loudest frame, within -1...1, (batch, frames, bins) to the same."""
    return (features - loudest[:, :, None]).div_(range_bits).clamp_(-1.0, 1.0)


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int | tuple[int, int] = 1) -> nn.Sequential:
    """A square convolution, normalised and rectified; it keeps both axes, divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """One 3x3 convolution added to what goes in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the convolved input to itself, (batch, c, t, f) to the same."""
        return torch.relu(x + self.body(x))


def along_time(inputs: int, hidden: int) -> nn.Sequential:
    """A 1x1, then a 3-frame convolution, each normalised and rectified, (batch, inputs, t) to (batch, hidden, t)."""
    return nn.Sequential(
        nn.Conv1d(inputs, hidden, 1, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv1d(hidden, hidden, 3, 1, 1, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
    )


def channels_last(module: nn.Module) -> None:
    """Lay the filters out channels last, which halves the time of small convolutions on a CPU."""
    for weight in module.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
