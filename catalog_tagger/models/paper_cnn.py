"""The speech/music network of "speech and music on a streaming catalogue", Experiment 7.

What the paper says (section 4.2.4, Experiment 7): input (1, 216, 144); convolutions without
padding; layer 1 spans 3 octaves x 0.23 s (72 bins x 10 frames) and is pooled along frequency only;
layer 2 spans 0.5 s along time and is pooled along time only; layers 3 and 4 have square filters,
pooled along frequency, then along time; two fully connected layers; two outputs under a softmax.

What it leaves open, and is therefore a parameter here with our choice as its default: numbers of
feature maps, pool sizes, the width of layer 2's filters along frequency, the side of the square
filters, the hidden units, and the nonlinearity (ReLU). Layer 1 may also take strides, which the
paper does not mention: steps of 2 x 2 cost a quarter, with filters of the same size.

With the defaults:

    1 x 216 x 144 -> conv 10x72 -> 207x73 -> pool 1x3 -> 207x24
                  -> conv 22x1  -> 186x24 -> pool 4x1 ->  46x24
                  -> conv 5x5   ->  42x20 -> pool 1x2 ->  42x10
                  -> conv 5x5   ->  38x6  -> pool 4x1 ->   9x6 -> fully connected
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

FRAMES: Final = 216
BINS: Final = 144
LAYER_1: Final = (10, 72)
LAYER_2_FRAMES: Final = 22


class PaperCNN(nn.Module):
    """The network of Experiment 7.

    Parameters
    ----------
    n_labels
        Outputs; 2 in the paper, its softmax is the loss's.
    maps
        Feature maps of the four layers (ours).
    pools
        Pool size of each layer along its axis: frequency, time, frequency, time (sizes ours).
    layer_2_bins
        Width of layer 2's filters along frequency (ours).
    square
        Side of the filters of layers 3 and 4 (ours).
    hidden
        Units of the first fully connected layer (ours).
    strides
        Steps of layer 1's filters along time and frequency; layer 2 spans 0.5 s with any.
    """

    def __init__(
        self,
        *,
        n_labels: int = 2,
        maps: Sequence[int] = (16, 16, 32, 32),
        pools: Sequence[int] = (3, 4, 2, 4),
        layer_2_bins: int = 1,
        square: int = 5,
        hidden: int = 64,
        strides: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        if len(maps) != 4 or len(pools) != 4:
            raise ValueError(f"maps {list(maps)} and pools {list(pools)} must have four entries")
        if len(strides) != 2 or min(strides) < 1:
            raise ValueError(f"strides {list(strides)} must be two numbers from 1 up")
        filters = (LAYER_1, (LAYER_2_FRAMES // strides[0], layer_2_bins), (square, square), (square, square))
        windows = ((1, pools[0]), (pools[1], 1), (1, pools[2]), (pools[3], 1))
        frames, bins, inputs = FRAMES, BINS, 1
        layers: list[nn.Module] = []
        steps = ((strides[0], strides[1]), (1, 1), (1, 1), (1, 1))
        for outputs, size, window, step in zip(maps, filters, windows, steps, strict=True):
            layers += [nn.Conv2d(inputs, outputs, size, step), nn.ReLU(), nn.MaxPool2d(window)]
            frames = ((frames - size[0]) // step[0] + 1) // window[0]
            bins = ((bins - size[1]) // step[1] + 1) // window[1]
            inputs = outputs
            if frames < 1 or bins < 1:
                raise ValueError(f"filters {filters} and pools {windows} leave nothing")
        self.convolutions = nn.Sequential(*layers)
        self.connected = nn.Sequential(nn.Flatten(), nn.Linear(inputs * frames * bins, hidden), nn.ReLU())
        self.output = nn.Linear(hidden, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of CQT-grams (batch, 216, 144)."""
        logits: Tensor = self.output(self.connected(self.convolutions(features[:, None])))
        return logits
