"""Whose voice it is: a small residual CNN on CQT-grams that keeps its place along frequency.

    (batch, frames, 144)  log2(1 + 10^4 s)
      level removed    minus the mean of the loudest frame, held in a window of `range_bits`
      stem 5x5         half the frames, half the bins
      stage 1          the same, 3x3 and a residual 3x3
      stage 2..n       half the bins alone
      frequency        flattened: where a harmonic or a formant lies is what is asked
      time             1x1 then a 3-frame convolution
      over time        a mean weighted by attention and by loudness, beside a maximum -> linear

Our own design. The number of frames is free, so that it can train on shorter stretches than it is
used on. Quiet frames, the zeros behind a short sound among them, weigh nothing in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

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

BINS: Final = 144
_FRAMES_PER_STEP: Final = 4


class VoiceCNN(nn.Module):
    """What is asked of a voice, out of a CQT-gram.

    Parameters
    ----------
    n_labels
        Outputs; each is independent of the others (sigmoid).
    channels
        Maps of the stem and of each stage after it; each halves the bins, the first two the frames.
    hidden
        Width of the part that works along time.
    dropout
        Share of hidden values dropped in training.
    range_bits
        Window below and above the reference level, in units of the front end (1 = 6 dB).
    floor_bits
        The reference level is never taken below this, so that silence stays silence.
    quiet_bits
        A frame so far below the loudest one has half the weight of a loud one in the mean.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        channels: Sequence[int] = (16, 32, 48, 64),
        hidden: int = 160,
        dropout: float = 0.3,
        range_bits: float = 8.0,
        floor_bits: float = 1.5,
        quiet_bits: float = 2.5,
    ) -> None:
        super().__init__()
        if n_labels < 1 or not 2 <= len(channels) <= 7 or min(channels) < 1:
            raise ValueError(f"n_labels {n_labels} and channels {list(channels)} make no network")
        self.range_bits = range_bits
        self.floor_bits = floor_bits
        self.quiet_bits = quiet_bits
        stages: list[nn.Module] = [convolution(1, channels[0], size=5, stride=(2, 2))]
        for index, (inputs, outputs) in enumerate(pairwise(channels)):
            stages += [convolution(inputs, outputs, stride=(2 if index == 0 else 1, 2)), Residual(outputs)]
        self.stages = nn.Sequential(*stages)
        bins = BINS
        for _ in channels:
            bins = -(-bins // 2)
        self.mix = along_time(bins * channels[-1], hidden)
        self.attention = nn.Conv1d(hidden, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, n_labels)
        channels_last(self.stages)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of CQT-grams (batch, frames, 144)."""
        loudness = features.mean(dim=2)
        loudest = loudest_frame(loudness, floor_bits=self.floor_bits)
        x = without_level(features, loudest, range_bits=self.range_bits)[:, None]
        x = self.stages(x.contiguous(memory_format=torch.channels_last))
        x = self.mix(x.permute(0, 1, 3, 2).flatten(1, 2))
        level = nn.functional.avg_pool1d(loudness - loudest, _FRAMES_PER_STEP, ceil_mode=True)
        audible = nn.functional.logsigmoid(2.0 * (level + self.quiet_bits))
        weight = torch.softmax(self.attention(x).float() + audible[:, None], dim=2)
        pooled = torch.cat([(x * weight).sum(dim=2), x.amax(dim=2)], dim=1)
        logits: Tensor = self.output(self.dropout(pooled))
        return logits
