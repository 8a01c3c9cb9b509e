"""The network of the default bundle: small, strided early, indifferent to level.

    (batch, 216, 144)  log2(1 + 10^4 s)
      level removed    minus the mean of the loudest frame, held in a window of `range_bits`
      stem 5x5 /2      -> (c0, 108, 72)
      stage 1..n /2    3x3 stride 2, then a residual pair (or a single) of 3x3
      frequency        mean and maximum within each of `bands` parts of what is left of the bins -> (2 c bands, frames)
      time             1x1 then a 3-frame convolution
      present anywhere maximum over time beside an attention-weighted mean -> linear

Our own design. "Present somewhere in the segment" is what a label means, hence the maximum; the
attention keeps the mean from being diluted by the zeros behind a short sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from catalog_tagger.models.blocks import (
    Residual,
    along_time,
    channels_last,
    convolution,
    loudest_frame,
    without_level,
)


class ResidualCNN(nn.Module):
    """Presence of labels in a CQT-gram.

    Parameters
    ----------
    n_labels
        Outputs; each is independent of the others (sigmoid).
    channels
        Maps of the stem and of each stage after it; each stage halves both axes.
    bands
        Into how many parts the bins are pooled: with one, the network cannot tell low from high.
    hidden
        Width of the part that works along time.
    dropout
        Share of hidden values dropped in training.
    range_bits
        Window below and above the reference level, in units of the front end (1 = 6 dB).
    floor_bits
        The reference level is never taken below this, so that silence stays silence.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        channels: Sequence[int] = (16, 32, 64, 128),
        bands: int = 1,
        hidden: int = 192,
        dropout: float = 0.3,
        range_bits: float = 8.0,
        floor_bits: float = 1.5,
    ) -> None:
        super().__init__()
        if n_labels < 1 or len(channels) < 2 or min(channels) < 1 or bands < 1:
            raise ValueError(f"n_labels {n_labels}, channels {list(channels)} and bands {bands} make no network")
        self.bands = bands
        self.range_bits = range_bits
        self.floor_bits = floor_bits
        stages: list[nn.Module] = [convolution(1, channels[0], size=5, stride=2)]
        for inputs, outputs in pairwise(channels):
            stages += [convolution(inputs, outputs, stride=2), Residual(outputs)]
        self.stages = nn.Sequential(*stages)
        self.mix = along_time(2 * bands * channels[-1], hidden)
        self.attention = nn.Conv1d(hidden, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, n_labels)
        channels_last(self.stages)

    def level(self, features: Tensor) -> Tensor:
        """Remove the level: (batch, frames, bins) to values in about -1...1, same shape."""
        loudest = loudest_frame(features.mean(dim=2), floor_bits=self.floor_bits)
        return without_level(features, loudest, range_bits=self.range_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of CQT-grams (batch, frames, bins)."""
        return self.of_levelled(self.level(features))

    def of_levelled(self, levelled: Tensor) -> Tensor:
        """Logits (batch, n_labels) of what `level` answers."""
        # The one channel last, in the strides as well: torch takes the layout of all maps from them.
        x = self.stages(levelled[..., None].permute(0, 3, 1, 2))
        parts = torch.tensor_split(x, self.bands, dim=3)
        x = self.mix(torch.cat([pooled for part in parts for pooled in (part.mean(dim=3), part.amax(dim=3))], dim=1))
        weight = torch.softmax(self.attention(x), dim=2)
        pooled = torch.cat([(x * weight).sum(dim=2), x.amax(dim=2)], dim=1)
        logits: Tensor = self.output(self.dropout(pooled))
        return logits
