"""Mel spectrograms and their logarithm.

`LogMel` as it stands is the input of VGGish and of the attention networks on top of it (multi-level
attention for audio events, section 3: 16 kHz, 25 ms Hann window, 10 ms hop, 64 bands from 125 to
7500 Hz, patches of 96 frames). The published networks differ in small ways that matter to trained
weights; each way is a parameter:

- VGGish: HTK's mel scale, triangles straight along *mel*, magnitudes, ``ln(m + 0.01)``, whole windows
  only (`padding="none"`), 512 points;
- PANNs: Slaney's scale and norm, triangles straight along *hertz*, power, ``10 log10(max(m, 1e-10))``,
  mirrored ends (`padding="reflect"`).
"""

from __future__ import annotations

import math
from typing import Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.framing import (
    PADDINGS,
    Padding,
    count_frames,
    cut_frames,
    require_batch,
    require_positive,
)

Scale = Literal["htk", "slaney"]
Slopes = Literal["mel", "hertz"]
Logarithm = Literal["natural", "decibel", "compressed", "none"]
FloatArray = npt.NDArray[np.float64]

_KNEE_HZ: Final = 1000.0  # Slaney's scale is straight up to here: 3 mel for 200 Hz
_KNEE_MEL: Final = 15.0
_LOG_STEP: Final = math.log(6.4) / 27.0


def hertz_to_mel(hertz: FloatArray, scale: Scale) -> FloatArray:
    """Mel numbers of frequencies: HTK's formula, or the one of Slaney's Auditory Toolbox (1998)."""
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    above = _KNEE_MEL + np.log(np.maximum(hertz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hertz < _KNEE_HZ, hertz * 3.0 / 200.0, above)


def mel_to_hertz(mel: FloatArray, scale: Scale) -> FloatArray:
    """Frequencies of mel numbers, the inverse of `hertz_to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    above = _KNEE_HZ * np.exp((np.maximum(mel, _KNEE_MEL) - _KNEE_MEL) * _LOG_STEP)
    return np.where(mel < _KNEE_MEL, mel * 200.0 / 3.0, above)


def mel_filters(
    *,
    sample_rate_hz: int,
    n_fft: int,
    n_bands: int,
    f_min_hz: float,
    f_max_hz: float,
    scale: Scale = "htk",
    slopes: Slopes = "hertz",
    equal_area: bool = False,
) -> FloatArray:
    """Triangles over the bins of a spectrum, centres equally far apart in mel.

    Parameters
    ----------
    slopes
        Whether a triangle's sides are straight along hertz or along mel.
    equal_area
        Divide each triangle by half its width in hertz (Slaney's norm); else each peaks at 1.

    Returns
    -------
    ndarray
        Shape (n_fft // 2 + 1, n_bands). The bin at 0 Hz has no weight.
    """
    first, last = hertz_to_mel(np.array([f_min_hz, f_max_hz]), scale).tolist()
    edges_mel = np.linspace(first, last, n_bands + 2)
    edges_hz = mel_to_hertz(edges_mel, scale)
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    if slopes == "mel":
        edges, bins = edges_mel, hertz_to_mel(bins_hz, scale)
    else:
        edges, bins = edges_hz, bins_hz
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters: FloatArray = np.maximum(0.0, np.minimum(rise, fall))
    filters[0] = 0.0
    if equal_area:
        filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return filters


class LogMel(nn.Module):
    """Logarithm of the energy in mel bands.

    Parameters
    ----------
    sample_rate_hz
        Rate of the input.
    window_ms, hop_samples
        Length of the Hann window and distance of frames.
    n_fft
        Points of the transform; the next power of two from the window where None.
    n_bands, f_min_hz, f_max_hz
        Number of triangles and where the first begins and the last ends.
    scale, slopes, equal_area
        The triangles, see `mel_filters`.
    power
        1 sums magnitudes, 2 sums powers.
    logarithm, floor
        ``ln(m + floor)``, ``10 log10(max(m, floor))``, ``log2(1 + m / floor)`` as a CQT-gram has it,
        which is 0 in silence and 1 per 6 dB, or the sums themselves.
    padding
        What stands beyond the ends, see `cut_frames`.

    Raises
    ------
    UsageError
        Parameters outside the ranges above.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 16000,
        window_ms: float = 25.0,
        hop_samples: int = 160,
        n_fft: int | None = None,
        n_bands: int = 64,
        f_min_hz: float = 125.0,
        f_max_hz: float = 7500.0,
        scale: Scale = "htk",
        slopes: Slopes = "mel",
        equal_area: bool = False,
        power: float = 1.0,
        logarithm: Logarithm = "natural",
        floor: float = 0.01,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        sizes = {"sample_rate_hz": sample_rate_hz, "window_ms": window_ms, "hop_samples": hop_samples}
        require_positive("log-mel", {**sizes, "n_bands": n_bands, "floor": floor})
        if not 0 <= f_min_hz < f_max_hz <= sample_rate_hz / 2:
            raise UsageError(
                f"log-mel: bands from {f_min_hz} to {f_max_hz} Hz must lie between 0 and half the sample rate, "
                f"{sample_rate_hz / 2:.0f} Hz"
            )
        for name, value, known in (
            ("scale", scale, get_args(Scale)),
            ("slopes", slopes, get_args(Slopes)),
            ("logarithm", logarithm, get_args(Logarithm)),
            ("padding", padding, PADDINGS),
            ("power", power, (1.0, 2.0)),
        ):
            if value not in known:
                raise UsageError(f"log-mel: {name} is {value!r}; it must be one of {', '.join(map(str, known))}")
        self.window_samples = max(1, round(window_ms * sample_rate_hz / 1000))
        self.n_fft = 2 ** math.ceil(math.log2(self.window_samples)) if n_fft is None else n_fft
        if self.n_fft < self.window_samples:
            raise UsageError(f"log-mel: n_fft {self.n_fft} must be at least the window, {self.window_samples} samples")
        self.hop_samples, self.n_bins, self.power = hop_samples, n_bands, power
        self.logarithm, self.floor, self.padding = logarithm, floor, padding
        filters = mel_filters(
            sample_rate_hz=sample_rate_hz,
            n_fft=self.n_fft,
            n_bands=n_bands,
            f_min_hz=f_min_hz,
            f_max_hz=f_max_hz,
            scale=scale,
            slopes=slopes,
            equal_area=equal_area,
        )
        if not filters.any(axis=0).all():
            raise UsageError(
                f"log-mel: {n_bands} bands are too narrow for {self.n_fft} points, some would hold no bin; "
                "use fewer bands or a larger n_fft"
            )
        window = torch.hann_window(self.window_samples, dtype=torch.float64)
        self.register_buffer("window", window.to(torch.float32), persistent=False)
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples."""
        return count_frames(
            n_samples, window_samples=self._framed_samples, hop_samples=self.hop_samples, padding=self.padding
        )

    @property
    def _framed_samples(self) -> int:
        # Mirroring reaches as far as the transform does; a longer frame only matters to the ends.
        return self.n_fft if self.padding == "reflect" else self.window_samples

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mel spectrograms of `waveform`.

        Parameters
        ----------
        waveform
            Shape (batch, samples), amplitudes in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, frames, n_bands), float32.
        """
        waveform = require_batch("log-mel", waveform)
        frames = cut_frames(
            waveform, window_samples=self._framed_samples, hop_samples=self.hop_samples, padding=self.padding
        )
        if frames.numel() == 0:
            return waveform.new_zeros((*frames.shape[:2], self.n_bins))
        beside = self._framed_samples - self.window_samples
        window = nn.functional.pad(cast(Tensor, self.window), (beside // 2, beside - beside // 2))
        spectrum = torch.fft.rfft(frames * window, n=self.n_fft).abs()
        bands: Tensor = (spectrum.square() if self.power == 2 else spectrum) @ cast(Tensor, self.filters)
        if self.logarithm == "natural":
            return torch.log(bands + self.floor)
        if self.logarithm == "decibel":
            return 10.0 * torch.log10(bands.clamp_min(self.floor))
        if self.logarithm == "compressed":
            return torch.log2(1.0 + bands / self.floor)
        return bands
