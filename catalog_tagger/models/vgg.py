"""A small VGG with the heads of `heads`: the network of the tagger.

    (batch, 216, 144)  log2(1 + 10^4 s)
      level removed    minus the mean of the loudest frame, held in a window of `range_bits`
      stem 5x5 /2      -> (c0, 108, 72), max-pool 2x2
      blocks           two 3x3 convolutions each, max-pool 2x2 between blocks
      frequency        mean and maximum over what is left of the bins -> (13 segments, 2 c)
      head             logits (batch, n_labels), embedding (batch, hidden)

VGGish (Hershey et al., 2017; Xu 2018, Table 1) at a quarter of its widths, behind a strided stem:
the full-size first layers would cost three times the rest. Fully connected layers over the whole
picture are left out, so that a label may sound at any time; a segment is 0.37 s and its
neighbourhood.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from catalog_tagger.models.blocks import loudest_frame, without_level
from catalog_tagger.models.heads import HEADS


class VGGTrunk(nn.Module):
    """CQT-grams to a series of segment features.

    Parameters
    ----------
    channels
        Maps of the stem and of each block after it.
    range_bits, floor_bits
        Window around the reference level, and the least that level is taken for, in units of the
        front end (1 = 6 dB).
    """

    def __init__(
        self, *, channels: Sequence[int] = (16, 32, 64, 128), range_bits: float = 8.0, floor_bits: float = 1.5
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1:
            raise ValueError(f"channels {list(channels)} make no network")
        self.range_bits, self.floor_bits = range_bits, floor_bits
        layers = [*_convolution(1, channels[0], size=5, stride=2), nn.MaxPool2d(2)]
        for block, (inputs, outputs) in enumerate(pairwise(channels)):
            if block:
                layers.append(nn.MaxPool2d(2))
            layers += [*_convolution(inputs, outputs), *_convolution(outputs, outputs)]
        self.layers = nn.Sequential(*layers)
        self.size = 2 * channels[-1]
        # channels last halves the time of small convolutions on a CPU
        for weight in self.layers.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def level(self, features: Tensor) -> Tensor:
        """Remove the level: (batch, frames, bins) to values in -1...1, same shape."""
        loudest = loudest_frame(features.mean(dim=2), floor_bits=self.floor_bits)
        return without_level(features, loudest, range_bits=self.range_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Segment features (batch, segments, size) of CQT-grams (batch, frames, bins)."""
        x = self.level(features)[:, None].contiguous(memory_format=torch.channels_last)
        x = self.layers(x)
        return torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1).transpose(1, 2)


class VGGTagger(nn.Module):
    """Labels that sound somewhere in a CQT-gram.

    Parameters
    ----------
    n_labels
        Outputs, independent of each other (sigmoid).
    channels, range_bits, floor_bits
        Of the trunk.
    head
        A name of `heads.HEADS`.
    hidden
        Units of a hidden layer, and the size of the embedding.
    layers
        Hidden layers of the head (an LSTM head has one).
    dropout
        Share of hidden values dropped in training.
    levels
        Layers that multi-level attention looks at; all where empty.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        channels: Sequence[int] = (16, 32, 64, 128),
        head: str = "multi_level_attention",
        hidden: int = 128,
        layers: int = 3,
        dropout: float = 0.4,
        levels: Sequence[int] = (),
        range_bits: float = 8.0,
        floor_bits: float = 1.5,
    ) -> None:
        super().__init__()
        if n_labels < 1 or hidden < 1 or layers < 1:
            raise ValueError(f"n_labels {n_labels}, hidden {hidden} and layers {layers} make no network")
        if head not in HEADS:
            raise ValueError(f"unknown head {head!r}; known are {', '.join(HEADS)}")
        if levels and head != "multi_level_attention":
            raise ValueError(f"levels are for the head multi_level_attention, not {head}")
        self.trunk = VGGTrunk(channels=channels, range_bits=range_bits, floor_bits=floor_bits)
        more = {"levels": levels} if levels else {}
        self.head = HEADS[head](self.trunk.size, n_labels, hidden=hidden, layers=layers, dropout=dropout, **more)
        self.embedding_size = hidden

    def embed(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, n_labels) and embeddings (batch, hidden) of CQT-grams (batch, frames, bins)."""
        logits, embedding = self.head(self.trunk(features))
        return logits, embedding

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of CQT-grams (batch, frames, bins)."""
        return self.embed(features)[0]


def _convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
