"""Magnitude spectrograms with one window, or with several stacked as maps.

Magnitudes are of a Hann window divided by its sum and multiplied by the square root of its length,
the scale of the constant-Q front end: a noise is as high in every resolution, a tone is higher in a
longer window. They are compressed by ``log2(1 + 10^4 s)`` (speech/music on a streaming catalogue,
equation 4.1).

The paper's inputs at 16 kHz:

- Experiment 1 (section 4.2.2), windows of 20, 40 and 80 ms every 10 ms, 369 bins, (3, frames, 369)
  with 15 frames of context: ``THREE_RESOLUTIONS``. The paper does not say which 369 bins; ours are
  12.5 Hz apart, 0 to 4600 Hz, as the longest window resolves them.
- Experiment 2 (section 4.2.3, Tables 4.2 and 4.3), 700 bins from 0 Hz to half the rate and half a
  window between frames, for 5 s: 20 ms (431, 700), 40 ms (216, 700), 80 ms (108, 700):
  ``RESOLUTION_20_MS`` and its neighbours. The numbers of frames are those of hops of 186, 371 and
  743 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.framing import count_frames, cut_frames, require_batch, require_positive

THREE_RESOLUTIONS: Final[dict[str, Any]] = {
    "name": "stft",
    "window_ms": [20.0, 40.0, 80.0],
    "hop_samples": 160,
    "n_bins": 369,
}
RESOLUTION_20_MS: Final[dict[str, Any]] = {"name": "stft", "window_ms": 20.0, "hop_samples": 186, "n_fft": 1398}
RESOLUTION_40_MS: Final[dict[str, Any]] = {"name": "stft", "window_ms": 40.0, "hop_samples": 371, "n_fft": 1398}
RESOLUTION_80_MS: Final[dict[str, Any]] = {"name": "stft", "window_ms": 80.0, "hop_samples": 743, "n_fft": 1398}


class STFT(nn.Module):
    """Compressed magnitudes of the short-time Fourier transform.

    Parameters
    ----------
    sample_rate_hz
        Rate of the input.
    window_ms
        Length of the Hann window; several lengths give one map each, in their order.
    hop_samples
        Distance of frames; frame ``n`` is centred on sample ``n * hop_samples`` in every map.
    n_fft
        Points of the transform, at least the longest window (the default): bin ``b`` lies at
        ``b * sample_rate_hz / n_fft``.
    n_bins
        Bins kept, from 0 Hz up; all ``n_fft // 2 + 1`` where None.
    compression
        ``C`` of ``log2(1 + C s)``; 0 returns the magnitudes ``s`` themselves.

    Raises
    ------
    UsageError
        Parameters outside the ranges above.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 16000,
        window_ms: float | Sequence[float] = 20.0,
        hop_samples: int = 160,
        n_fft: int | None = None,
        n_bins: int | None = None,
        compression: float = 1e4,
    ) -> None:
        super().__init__()
        self.stacked = isinstance(window_ms, Sequence)
        lengths_ms = tuple(cast("Sequence[float]", window_ms)) if self.stacked else (cast(float, window_ms),)
        if not lengths_ms:
            raise UsageError("STFT: window_ms must name at least one window")
        require_positive("STFT", {"sample_rate_hz": sample_rate_hz, "hop_samples": hop_samples})
        for length_ms in lengths_ms:
            require_positive("STFT", {"window_ms": length_ms})
        self.windows_samples = tuple(max(1, round(length_ms * sample_rate_hz / 1000)) for length_ms in lengths_ms)
        longest = max(self.windows_samples)
        self.n_fft = longest if n_fft is None else n_fft
        if self.n_fft < longest:
            raise UsageError(f"STFT: n_fft {self.n_fft} must be at least the longest window, {longest} samples")
        all_bins = self.n_fft // 2 + 1
        self.n_bins = all_bins if n_bins is None else n_bins
        if not 1 <= self.n_bins <= all_bins:
            raise UsageError(f"STFT: n_bins {self.n_bins} must lie between 1 and {all_bins}, what n_fft gives")
        if compression < 0:
            raise UsageError(f"STFT: compression must not be negative, but is {compression}")
        self.hop_samples, self.compression = hop_samples, float(compression)
        for number, length in enumerate(self.windows_samples):
            window = torch.hann_window(length, dtype=torch.float64)
            scaled = window / window.sum() * length**0.5
            self.register_buffer(f"window_{number}", scaled.to(torch.float32), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples: ``1 + n_samples // hop_samples``."""
        return count_frames(n_samples, window_samples=1, hop_samples=self.hop_samples)

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrograms of `waveform`.

        Parameters
        ----------
        waveform
            Shape (batch, samples), amplitudes in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, frames, bins), or (batch, maps, frames, bins) where `window_ms` is a
            sequence; float32.
        """
        waveform = require_batch("STFT", waveform)
        maps = [self._magnitudes(waveform, number) for number in range(len(self.windows_samples))]
        out = torch.stack(maps, dim=1) if self.stacked else maps[0]
        return torch.log2(1.0 + self.compression * out) if self.compression else out

    def _magnitudes(self, waveform: Tensor, number: int) -> Tensor:
        frames = cut_frames(waveform, window_samples=self.windows_samples[number], hop_samples=self.hop_samples)
        if frames.shape[0] == 0:
            return waveform.new_zeros((0, frames.shape[1], self.n_bins))
        window = cast(Tensor, getattr(self, f"window_{number}"))
        magnitudes: Tensor = torch.fft.rfft(frames * window, n=self.n_fft)[..., : self.n_bins].abs()
        return magnitudes
