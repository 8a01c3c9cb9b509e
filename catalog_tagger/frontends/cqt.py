"""Constant-Q spectrograms (CQT-grams) at the speed of a few matrix products.

`CQT` maps waveforms to ``log2(1 + 10^4 s)`` where ``s`` is the magnitude of the constant-Q
transform as `librosa.cqt` defines it: Hann-windowed complex exponentials of constant quality
factor, L1-normalised, scaled by the square root of their length, frames centred on multiples of
the hop with zeros beyond both ends. Defaults are the paper's: 80 Hz, 24 bins per octave, 6 octaves
(speech/music on a streaming catalogue, section 4.2.3, Table 4.2; compression: equation 4.1).

How the work is shared. An octave needs no more sampling rate than its top demands, so the signal is
halved in rate once per octave and every octave is analysed with kernels of the same ~217 taps.
The hop (371 samples) is odd, hence frame ``n`` lies at ``371 n / d`` of the signal decimated by
``d = 2^k``: a fraction that takes only ``d`` values. Frames ``r, r + d, r + 2d, ...`` share the
fraction, lie exactly 371 decimated samples apart, and are one strided view:

    decimated by d   |----371----|----371----|          rows of one matrix, no copy,
    residue r        ^ r*371//d  ^           ^          times the kernels shifted by (r*371 % d)/d

so an octave is ``d`` products (rows x taps) @ (taps x 48) with nothing interpolated and nothing
computed twice. Decimation is a half-band FIR written as two products with a banded matrix.
Items of a batch lie one behind the other, apart by zeros longer than the longest kernel.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError

_BLOCK = 32  # decimated samples per row of the banded product; measured best of 16, 32, 64
_STOPBAND_DB = 100.0


def _half_band(pass_fraction: float) -> npt.NDArray[np.float64]:
    """Kaiser half-band low-pass that keeps ``[0, pass_fraction]`` (1 = the old Nyquist rate).

    Frequencies that would alias into the pass band lie above ``1 - pass_fraction``; both bands are
    within `_STOPBAND_DB` of ideal. The length is odd and the gain at zero is 1.
    """
    width = math.pi * (1.0 - 2.0 * pass_fraction)
    half = math.ceil((_STOPBAND_DB - 8.0) / (2.285 * width) / 2.0) + 1
    t = np.arange(-half, half + 1)
    taps = 0.5 * np.sinc(t / 2.0) * np.kaiser(2 * half + 1, 0.1102 * (_STOPBAND_DB - 8.7))
    return cast("npt.NDArray[np.float64]", taps / taps.sum())


class CQT(nn.Module):
    """Log-compressed constant-Q magnitudes of a batch of waveforms.

    Parameters
    ----------
    sample_rate_hz
        Rate of the input.
    f_min_hz
        Centre of bin 0; bin ``b`` lies at ``f_min_hz * 2**(b / bins_per_octave)``.
    bins_per_octave, n_octaves
        Bins of the output: ``bins_per_octave * n_octaves``. The top octave must end below 0.36 of
        the sample rate, so that decimation has room for its transition band.
    hop_samples
        Distance of frames; frame ``n`` is centred on sample ``n * hop_samples``.
    compression
        ``C`` of ``log2(1 + C s)``; 0 returns the magnitudes ``s`` themselves.
    dtype
        Arithmetic of the kernel products, ``torch.float32`` or ``torch.bfloat16``; decimation,
        magnitude and compression stay in float32.

    Raises
    ------
    UsageError
        Parameters outside the ranges above.

    Notes
    -----
    Against `librosa.cqt` with ``sparsity=0`` (its default of 0.01 rounds its own kernels and moves the
    result by up to 1.4e-2 of the segment's maximum), bin ``b`` agrees in float32 within

        ``1e-4 * max|x| * sqrt(length_b) / 2``

    which is 80 dB below what a tone of the segment's peak amplitude gives in that bin. That, not the
    bin's own value, is the scale, since a window passes something of any loud tone to every bin. The
    worst measured is 3e-5: the decimation filters' 100 dB, five times over, and near 0 Hz and the
    Nyquist rate the negative frequencies of the kernels, which librosa drops and these products keep.

    In bfloat16 samples and kernels are rounded to 8 bits: within ``5e-3`` of the same scale. After the
    logarithm that is a floor about 50 dB below the loudest tone: bins near or under it differ visibly.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 16000,
        f_min_hz: float = 80.0,
        bins_per_octave: int = 24,
        n_octaves: int = 6,
        hop_samples: int = 371,
        compression: float = 1e4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if min(f_min_hz, bins_per_octave, n_octaves, hop_samples, sample_rate_hz) <= 0:
            raise UsageError("CQT: every size, rate and frequency must be positive")
        top_hz = f_min_hz * 2.0 ** (n_octaves - 1.0 / bins_per_octave)
        if top_hz >= 0.36 * sample_rate_hz:
            raise UsageError(
                f"CQT: the highest bin, {top_hz:.0f} Hz, must lie below 0.36 of the sample rate "
                f"({sample_rate_hz} Hz); use fewer octaves or a lower f_min_hz"
            )
        if dtype not in (torch.float32, torch.bfloat16):
            raise UsageError(f"CQT: dtype must be float32 or bfloat16, not {dtype}")
        self.hop_samples, self.bins_per_octave, self.n_octaves = hop_samples, bins_per_octave, n_octaves
        self.n_bins = bins_per_octave * n_octaves
        self.compression, self.dtype = float(compression), dtype

        # the pass band of every decimation must hold the top of the octave below, window included
        pass_fraction = min(0.45, 1.05 * top_hz / sample_rate_hz)
        taps = _half_band(pass_fraction)
        self._reach = len(taps) // 2
        band = np.zeros((2 * _BLOCK + len(taps) - 1, _BLOCK))
        for column in range(_BLOCK):
            band[2 * column : 2 * column + len(taps), column] = taps
        self.register_buffer("band", torch.tensor(band, dtype=torch.float32), persistent=False)

        alpha = (2.0 ** (2.0 / bins_per_octave) - 1.0) / (2.0 ** (2.0 / bins_per_octave) + 1.0)
        lengths = sample_rate_hz / (alpha * f_min_hz * 2.0 ** (np.arange(self.n_bins) / bins_per_octave))
        self._gap = int(lengths[0]) + 2 * self._reach * 2**n_octaves
        self._half_taps: list[int] = []
        for octave in range(n_octaves):
            bins = np.arange(self.n_bins - (octave + 1) * bins_per_octave, self.n_bins - octave * bins_per_octave)
            freqs_hz = f_min_hz * 2.0 ** (bins / bins_per_octave)
            kernels, half = _octave_kernels(freqs_hz, lengths[bins], sample_rate_hz, 2**octave, hop_samples)
            self._half_taps.append(half)
            self.register_buffer(f"kernels_{octave}", torch.tensor(kernels, dtype=dtype), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples: ``1 + n_samples // hop_samples``."""
        return 1 + n_samples // self.hop_samples

    def _halve(self, x: Tensor) -> Tensor:
        """Decimate one long signal, length a multiple of ``2 * _BLOCK``; sample ``m`` of the result is at ``2 m``."""
        band = cast(Tensor, self.band)
        rows = nn.functional.pad(x, (self._reach, 2 * _BLOCK - self._reach)).view(-1, 2 * _BLOCK)
        reach = band.shape[0] - 2 * _BLOCK
        out = torch.mm(rows[:-1], band[: 2 * _BLOCK])
        out.addmm_(rows[1:, :reach], band[2 * _BLOCK :])
        return out.view(-1)

    def forward(self, waveform: Tensor) -> Tensor:
        """CQT-grams of `waveform`.

        Parameters
        ----------
        waveform
            Shape (batch, samples), amplitudes in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, frames, bins), float32; (batch, 216, 144) for 5 s at the defaults.
        """
        if waveform.ndim != 2:
            raise UsageError(f"CQT: expected (batch, samples), got shape {tuple(waveform.shape)}")
        batch, n_samples = waveform.shape
        frames, hop = self.n_frames(n_samples), self.hop_samples
        deepest = 2 ** (self.n_octaves - 1)
        # one item's room: a whole number of hops in every octave, zeros longer than any kernel
        unit = hop * deepest
        room = unit * math.ceil((n_samples + self._gap) / unit)
        lead = 2 * _BLOCK * deepest * math.ceil(self._gap / (2 * _BLOCK * deepest))
        length = lead + batch * room
        signal = waveform.new_zeros(
            2 * _BLOCK * deepest * math.ceil((length + lead) / (2 * _BLOCK * deepest)), dtype=torch.float32
        )
        signal[lead:length].view(batch, room)[:, :n_samples] = waveform
        out = torch.empty((batch, frames, self.n_bins), dtype=torch.float32, device=waveform.device)

        for octave in range(self.n_octaves):
            factor = 2**octave
            if octave:
                signal = self._halve(signal)
            source = signal if self.dtype == torch.float32 else signal.to(self.dtype)
            kernels = cast(Tensor, getattr(self, f"kernels_{octave}"))
            taps, per_item = kernels.shape[1], room // (hop * factor)
            first = lead // factor - self._half_taps[octave]
            high = self.n_bins - octave * self.bins_per_octave
            target = out[:, :, high - self.bins_per_octave : high]
            for residue in range(min(factor, frames)):
                rows = torch.as_strided(source, (batch * per_item, taps), (hop, 1), first + residue * hop // factor)
                product = torch.mm(rows, kernels[residue]).view(batch, per_item, 2 * self.bins_per_octave)
                product = product[:, : -(-(frames - residue) // factor)].float().square_()
                power = target[:, residue::factor]
                torch.add(product[..., : self.bins_per_octave], product[..., self.bins_per_octave :], out=power)
        out.sqrt_()
        if self.compression:
            out.mul_(self.compression).log1p_().mul_(1.0 / math.log(2.0))
        return out


def _octave_kernels(
    freqs_hz: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], sample_rate_hz: int, factor: int, hop: int
) -> tuple[npt.NDArray[np.float64], int]:
    """Kernels of one octave for every residue of the frame number modulo `factor`.

    Returns
    -------
    (kernels, half)
        Shape (factor, taps, 2 * bins): real parts, then imaginary parts; tap ``half`` of residue
        ``r`` is the decimated sample at or before the centre of the frame.
    """
    half = int(lengths.max() / 2.0 / factor) + 2
    taps = 2 * half + 1
    kernels = np.zeros((factor, taps, 2 * len(freqs_hz)))
    for residue in range(factor):
        # time of every tap relative to the frame's centre, in samples at the full rate
        t = (np.arange(taps) - half)[:, None] * factor - (residue * hop) % factor
        n = 2.0 * np.floor(lengths / 2.0) + 1.0  # librosa's wavelets have this many samples,
        i = (n + 1.0) / 2.0 - t  # run backwards in its FFT product, and start at -(n + 1) / 2
        window = np.where((i >= 0.0) & (i <= n), 0.5 - 0.5 * np.cos(2.0 * np.pi * i / n), 0.0)
        wave = factor * np.sqrt(lengths) / (n / 2.0) * window
        phase = 2.0 * np.pi * freqs_hz * t / sample_rate_hz
        kernels[residue] = np.concatenate([wave * np.cos(phase), wave * np.sin(phase)], axis=1)
    return kernels, half
