"""Cnn14 for 16 kHz, of "PANNs: large-scale pretrained audio neural networks" (Kong et al., 2020).

Names and shapes are those of the published state dict (`Cnn14_16k_mAP=0.438.pth`), which `importing`
reads; its front end is a parameter-free module here and so is not among them.

    (batch, frames, 64)  log-mel in dB
      bn0            batch normalisation of each band
      conv_block1-6  two 3x3 convolutions with 64, 128, ... 2048 maps; mean 2x2 behind the first five
      pooled         mean over bands; maximum and mean over time, added
      fc1            2048, ReLU: the embedding
      fc_audioset    one logit per class
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

EMBEDDING: Final = 2048
CLASSES: Final = 527
BANDS: Final = 64
#: The front end the weights were trained with: `LogmelFilterBank` and `Spectrogram` of torchlibrosa.
FRONTEND: Final[dict[str, Any]] = {
    "name": "mel",
    "window_ms": 32.0,
    "hop_samples": 160,
    "n_bands": BANDS,
    "f_min_hz": 50.0,
    "f_max_hz": 8000.0,
    "scale": "slaney",
    "slopes": "hertz",
    "equal_area": True,
    "power": 2.0,
    "logarithm": "decibel",
    "floor": 1e-10,
    "padding": "reflect",
}


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class Cnn14(nn.Module):
    """AudioSet classes in a log-mel spectrogram.

    Parameters
    ----------
    n_labels
        Outputs; 527 in the published file.
    """

    def __init__(self, *, n_labels: int = CLASSES) -> None:
        super().__init__()
        maps = [1, 64, 128, 256, 512, 1024, 2048]
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number in range(1, len(maps)):
            setattr(self, f"conv_block{number}", _Block(maps[number - 1], maps[number]))
        self.fc1 = nn.Linear(maps[-1], EMBEDDING)
        self.fc_audioset = nn.Linear(EMBEDDING, n_labels)
        self.dropout = nn.Dropout(0.2)
        self.embedding_size = EMBEDDING

    def embed(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, n_labels) and embeddings (batch, 2048) of (batch, frames, 64), at least 32 frames."""
        x = self.bn0(features[:, None].transpose(1, 3)).transpose(1, 3)
        for number in range(1, 7):
            x = getattr(self, f"conv_block{number}")(x)
            if number < 6:
                x = nn.functional.avg_pool2d(x, 2)
            x = self.dropout(x)
        x = x.mean(dim=3)
        embedding = torch.relu(self.fc1(x.amax(dim=2) + x.mean(dim=2)))
        return self.fc_audioset(embedding), embedding

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels)."""
        return self.embed(features)[0]
