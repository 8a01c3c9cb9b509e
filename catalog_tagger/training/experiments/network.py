"""The network of Experiments 2 to 5, one shape for every input.

The paper draws it (Figure 4.7) and says: one to three convolutional layers, one or two fully
connected ones, logistic regression; the same for inputs from (1, 108, 12) to (1, 431, 700). What
filters and pools are is left open. Ours:

    (maps, frames, bins)
      layer 1     filters of 2 s + 1, moved by s: so many frames and bins that about 108 x 72 are left
      layer 2, 3  3 x 3
      each        padded, ReLU, the largest of 3 x 3 (of what is there, where that is less)
      connected   `hidden` units, ReLU; once or twice; then one output per class

so an input with more bins has larger filters, not a deeper network, and all cost about the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

_FRAMES: Final = 108
_BINS: Final = 72
_POOL: Final = 3


class LayeredCNN(nn.Module):
    """Convolutions and fully connected layers by number.

    Parameters
    ----------
    shape
        Of the input: (maps, frames, bins).
    convolutions, connected
        Numbers of layers.
    maps
        Feature maps of the first layer; the others have twice as many.
    hidden
        Units of each fully connected layer.
    n_labels
        Outputs.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        convolutions: int = 3,
        connected: int = 2,
        maps: int = 16,
        hidden: int = 64,
        n_labels: int = 2,
    ) -> None:
        super().__init__()
        inputs, frames, bins = shape
        stride = (max(1, round(frames / _FRAMES)), max(1, round(bins / _BINS)))
        layers: list[nn.Module] = []
        for number in range(convolutions):
            step = stride if number == 0 else (1, 1)
            size = (2 * step[0] + 1, 2 * step[1] + 1)
            outputs = maps if number == 0 else 2 * maps
            frames, bins = (frames - 1) // step[0] + 1, (bins - 1) // step[1] + 1
            pool = (min(_POOL, frames), min(_POOL, bins))
            layers += [nn.Conv2d(inputs, outputs, size, step, step), nn.ReLU(), nn.MaxPool2d(pool)]
            frames, bins, inputs = frames // pool[0], bins // pool[1], outputs
        self.convolutions = nn.Sequential(*layers)
        size_in = inputs * frames * bins
        dense: list[nn.Module] = [nn.Flatten()]
        for _ in range(connected):
            dense += [nn.Linear(size_in, hidden), nn.ReLU()]
            size_in = hidden
        self.connected = nn.Sequential(*dense)
        self.output = nn.Linear(size_in, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels) of features (batch, frames, bins) or (batch, maps, frames, bins)."""
        maps = features[:, None] if features.ndim == 3 else features
        logits: Tensor = self.output(self.connected(self.convolutions(maps)))
        return logits
