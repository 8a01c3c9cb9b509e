"""VGGish ("CNN architectures for large-scale audio classification", Hershey et al., 2017): an embedding.

Names and shapes are those of the published state dict (`vggish-10086976.pth`), which `importing`
reads. The network has no classes: its logits have no columns.

    (batch, frames, 64)  log-mel; cut in patches of 96 frames (0.96 s), a rest is left out
      features     conv 64, 128, 256 x 2, 512 x 2, all 3x3 with ReLU; max-pool 2x2 behind each number
      embeddings   fully connected 4096, 4096, 128, all ReLU; maps lie innermost in their input
      whitening    with `whiten`: AudioSet's released features, see `VGGish.postprocess`
    a segment's embedding is the mean over its patches
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn

EMBEDDING: Final = 128
PATCH_FRAMES: Final = 96
BANDS: Final = 64
#: What values are clipped to before they become 8 bits.
QUANTISED: Final = (-2.0, 2.0)
#: The front end the weights were trained with.
FRONTEND: Final[dict[str, Any]] = {
    "name": "mel",
    "window_ms": 25.0,
    "n_fft": 512,
    "hop_samples": 160,
    "n_bands": BANDS,
    "f_min_hz": 125.0,
    "f_max_hz": 7500.0,
    "scale": "htk",
    "slopes": "mel",
    "equal_area": False,
    "power": 1.0,
    "logarithm": "natural",
    "floor": 0.01,
    "padding": "none",
}


class VGGish(nn.Module):
    """128 numbers that say what 0.96 s sound like, averaged over a segment.

    Parameters
    ----------
    n_labels
        Must be 0: there are no classes.
    whiten
        Hold the published principal components, and answer as the AudioSet release does.
    """

    def __init__(self, *, n_labels: int = 0, whiten: bool = False) -> None:
        super().__init__()
        if n_labels:
            raise ValueError(f"n_labels is {n_labels}; it must be 0, as this network only embeds")
        layers: list[nn.Module] = []
        inputs = 1
        for group in ((64,), (128,), (256, 256), (512, 512)):
            for outputs in group:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = [inputs * (PATCH_FRAMES // 16) * (BANDS // 16), 4096, 4096, EMBEDDING]
        connected: list[nn.Module] = []
        for before, after in pairwise(sizes):
            connected += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.embeddings = nn.Sequential(*connected)
        self.embedding_size = EMBEDDING
        self.whiten = whiten
        if whiten:
            self.register_buffer("pca_eigen_vectors", torch.eye(EMBEDDING))
            self.register_buffer("pca_means", torch.zeros(EMBEDDING, 1))

    def postprocess(self, embeddings: Tensor) -> Tensor:
        """Embeddings (n, 128) as the AudioSet release has them: whitened, clipped, whole numbers from 0 to 255."""
        vectors, means = self.get_buffer("pca_eigen_vectors"), self.get_buffer("pca_means")
        low, high = QUANTISED
        white = (embeddings - means.T) @ vectors.T
        return torch.round((white.clamp(low, high) - low) * (255.0 / (high - low)))

    def embed(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, 0) and embeddings (batch, 128) of (batch, frames, 64), at least 96 frames."""
        batch, patches = features.shape[0], features.shape[1] // PATCH_FRAMES
        x = features[:, : patches * PATCH_FRAMES].reshape(batch * patches, 1, PATCH_FRAMES, features.shape[2])
        x = self.features(x).permute(0, 2, 3, 1).flatten(1)
        x = self.embeddings(x)
        x = self.postprocess(x) if self.whiten else x
        return features.new_zeros(batch, 0), x.view(batch, patches, EMBEDDING).mean(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, 0)."""
        return self.embed(features)[0]
