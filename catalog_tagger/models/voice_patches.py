"""The male/female network of "speech and music on a streaming catalogue", Experiment 1.

What the paper says (section 4.2.2): magnitude spectrograms with windows of 20, 40 and 80 ms every
10 ms, compressed; a patch of 150 ms is the input, (3, 15, 369); two pairs of convolution and
max-pooling, filters narrow in time and wide in frequency, pooling along time alone, few filters;
one fully connected layer; logistic regression.

What it leaves open, and is therefore a parameter here with our choice as its default: numbers and
sizes of filters, their stride along frequency (1 in most networks of its time; more makes it
affordable), the hidden units. A segment's answer, which the paper does not ask for, is the mean of
the logits of its sounding patches, one after the other without overlap: those within `gate_bits` of
the loudest.

With the defaults, per patch:

    3 x 15 x 369 -> conv 4x41 /6 -> 12x55 -> pool 2x1 -> 6x55
                 -> conv 3x15 /2 ->  4x21 -> pool 2x1 -> 2x21 -> fully connected
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

MAPS: Final = 3
FRAMES: Final = 15
BINS: Final = 369
_POOL: Final = 2


class VoicePatches(nn.Module):
    """The network of Experiment 1, averaged over a segment.

    Parameters
    ----------
    n_labels
        Outputs; each is independent of the others (sigmoid). The paper has one question.
    maps
        Filters of the two layers (ours).
    filters
        Frames and bins of the filters of each layer (ours).
    strides
        Steps of the filters of each layer along frequency (ours).
    hidden
        Units of the fully connected layer (ours).
    dropout
        Share of hidden values dropped in training (ours).
    gate_bits
        How far under the loudest patch a patch still counts, in units of the front end (1 = 6 dB).
    """

    def __init__(
        self,
        *,
        n_labels: int = 2,
        maps: Sequence[int] = (12, 16),
        filters: Sequence[Sequence[int]] = ((4, 41), (3, 15)),
        strides: Sequence[int] = (6, 2),
        hidden: int = 64,
        dropout: float = 0.2,
        gate_bits: float = 3.0,
    ) -> None:
        super().__init__()
        if not len(maps) == len(filters) == len(strides) == 2 or min(*maps, *strides, hidden, n_labels) < 1:
            raise ValueError(f"maps {list(maps)}, filters {list(filters)}, strides {list(strides)} make no network")
        self.gate_bits = gate_bits
        frames, bins, inputs = FRAMES, BINS, MAPS
        layers: list[nn.Module] = []
        for outputs, size, stride in zip(maps, filters, strides, strict=True):
            layers += [
                nn.Conv2d(inputs, outputs, (size[0], size[1]), (1, stride)),
                nn.ReLU(),
                nn.MaxPool2d((_POOL, 1)),
            ]
            frames, bins, inputs = (frames - size[0] + 1) // _POOL, (bins - size[1]) // stride + 1, outputs
            if frames < 1 or bins < 1:
                raise ValueError(f"filters {list(filters)} leave nothing of a patch of {FRAMES} x {BINS}")
        self.convolutions = nn.Sequential(*layers)
        self.connected = nn.Sequential(nn.Flatten(), nn.Linear(inputs * frames * bins, hidden), nn.ReLU())
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, n_labels))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of three spectrograms (batch, 3, frames, 369); at least 15 frames."""
        batch, patches = len(features), features.shape[2] // FRAMES
        cut = features[:, :, : patches * FRAMES].reshape(batch, MAPS, patches, FRAMES, BINS).transpose(1, 2)
        loudness = cut.mean(dim=(2, 3, 4))
        loudest = loudness.amax(dim=1, keepdim=True)
        sounding = (loudness >= loudest - self.gate_bits).to(features.dtype)
        logits: Tensor = self.output(self.connected(self.convolutions(cut.flatten(0, 1))))
        logits = logits.reshape(batch, patches, -1)
        weight = sounding / sounding.sum(dim=1, keepdim=True)
        return torch.einsum("bpl,bp->bl", logits, weight.to(logits.dtype))
