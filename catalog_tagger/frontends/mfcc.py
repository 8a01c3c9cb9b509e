"""Mel-frequency cepstral coefficients and their derivative in time.

Defaults are those of speech/music on a streaming catalogue, Table 4.2: 40 mel bands from 130 to
6854 Hz, a window of 64 ms, 12 coefficients without the first. The table says that windows do not
overlap, which would be 79 frames in 5 s; Table 4.6 has 108, a frame every 46 ms, and so have we.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.framing import require_positive
from catalog_tagger.frontends.mel import LogMel


class MFCC(nn.Module):
    """Cosine transform of the log-mel spectrum, without the coefficient of its mean.

    Parameters
    ----------
    sample_rate_hz
        Rate of the input.
    window_ms, hop_samples
        Length of the Hann window and distance of frames; frame ``n`` is centred on sample
        ``n * hop_samples``.
    n_bands, f_min_hz, f_max_hz
        The mel bands (HTK's scale).
    n_coefficients
        Coefficients kept: 1 to `n_coefficients` of the orthonormal DCT-II.

    Raises
    ------
    UsageError
        A size is not positive, or there are not more bands than coefficients.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 16000,
        window_ms: float = 64.0,
        hop_samples: int = 743,
        n_bands: int = 40,
        f_min_hz: float = 130.0,
        f_max_hz: float = 6854.0,
        n_coefficients: int = 12,
    ) -> None:
        super().__init__()
        require_positive("MFCC", {"n_coefficients": n_coefficients})
        if n_coefficients >= n_bands:
            raise UsageError(f"MFCC: {n_coefficients} coefficients need more than {n_bands} bands")
        self.mel = LogMel(
            sample_rate_hz=sample_rate_hz,
            window_ms=window_ms,
            hop_samples=hop_samples,
            n_bands=n_bands,
            f_min_hz=f_min_hz,
            f_max_hz=f_max_hz,
            slopes="hertz",
            floor=1e-3,
        )
        self.n_bins = n_coefficients
        place = np.pi * (np.arange(n_bands)[:, None] + 0.5) / n_bands
        cosines = np.sqrt(2.0 / n_bands) * np.cos(place * np.arange(1, n_coefficients + 1))
        self.register_buffer("cosines", torch.tensor(cosines, dtype=torch.float32), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples: ``1 + n_samples // hop_samples``."""
        return self.mel.n_frames(n_samples)

    def forward(self, waveform: Tensor) -> Tensor:
        """Coefficients of `waveform`, (batch, samples) to (batch, frames, n_coefficients), float32.

        (batch, 108, 12) for 5 s at the defaults.
        """
        return cast(Tensor, self.mel(waveform)) @ cast(Tensor, self.cosines)


def slope_in_time(features: Tensor, *, width: int = 9) -> Tensor:
    """Slope of the least-squares line through each value and its neighbours in time.

    Parameters
    ----------
    features
        Shape (..., frames, bins).
    width
        Frames the line is laid through, odd and at least 3; the ends repeat.

    Returns
    -------
    Tensor
        Change per frame, of the shape of `features`.

    Raises
    ------
    UsageError
        `width` is even or under 3.
    """
    if width < 3 or width % 2 == 0:
        raise UsageError(f"slope_in_time: width must be odd and at least 3, not {width}")
    frames = features.shape[-2]
    if frames == 0:
        return features.clone()
    half = width // 2
    place = torch.arange(-half, frames + half, device=features.device).clamp(0, frames - 1)
    padded = features.index_select(-2, place)
    out = torch.zeros_like(features)
    for step in range(1, half + 1):
        ahead = padded.narrow(-2, half + step, frames)
        behind = padded.narrow(-2, half - step, frames)
        out += step * (ahead - behind)
    return out / (2.0 * sum(step * step for step in range(1, half + 1)))
