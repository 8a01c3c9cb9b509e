"""A small source-filter vocoder: take a voice apart, put it together at another pitch and tempo.

Analysis every 5 ms: pitch by normalised autocorrelation, spectral envelope by smoothing the log
spectrum over one harmonic distance (the liftering of CheapTrick; Morise, "CheapTrick, a spectral
envelope estimator for high-quality speech synthesis", Speech Communication 67, 2015). Synthesis:
one minimum-phase pulse per pitch period, placed between samples, plus noise shaped by the same
envelope. It serves training (`singing`): what it makes is recognisably a voice, with the mild buzz
of every such vocoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

FRAME_SAMPLES: Final = SAMPLE_RATE_HZ // 200
FRAME_S: Final = FRAME_SAMPLES / SAMPLE_RATE_HZ
F0_MIN_HZ: Final = 65.0
F0_MAX_HZ: Final = 520.0
_FFT: Final = 1024
_WINDOW: Final = 400
_DECIMATION: Final = 2
_VOICED_CORRELATION: Final = 0.62
_UNVOICED_F0_HZ: Final = 250.0


@dataclass(frozen=True)
class Voice:
    """A recording taken apart.

    Attributes
    ----------
    f0_hz
        [shape=(frames,)], 0 where there is no voiced sound.
    log_envelope
        Natural log of the magnitude envelope [shape=(frames, 513)].
    level
        RMS of each frame [shape=(frames,)].
    """

    f0_hz: Float64Array
    log_envelope: Float64Array
    level: Float64Array

    def __len__(self) -> int:
        return len(self.f0_hz)


@dataclass(frozen=True)
class Ring:
    """A resonance added to a voice; the singer's formant unless told otherwise.

    Attributes
    ----------
    gain_db
        At its centre.
    hertz
        Its centre, one for all frames or one per frame [shape=(n,)].
    width_hz
        Distance from the centre at which a third of the decibels is left.
    """

    gain_db: float = 0.0
    hertz: float | Float64Array = 2900.0
    width_hz: float = 500.0


def analyse(samples: Float32Array) -> Voice:
    """Take a recording of one voice apart; `samples` is float32 mono at 16 kHz."""
    frames = max(1, samples.size // FRAME_SAMPLES)
    f0_hz = _track_f0(samples, frames)
    blocks = _blocks(samples, frames, _WINDOW, FRAME_SAMPLES) * np.hanning(_WINDOW)
    level = np.sqrt(np.square(blocks).mean(axis=1))
    power = np.square(np.abs(np.fft.rfft(blocks, _FFT, axis=1))) + 1e-10
    cepstrum = np.fft.irfft(np.log(power), axis=1)[:, : _FFT // 2 + 1]
    quefrency_s = np.arange(_FFT // 2 + 1) / SAMPLE_RATE_HZ
    pitch = np.where(f0_hz > 0, f0_hz, _UNVOICED_F0_HZ)[:, None] * quefrency_s[None]
    cepstrum *= np.sinc(pitch) * (1.18 - 0.18 * np.cos(2 * np.pi * pitch))
    whole = np.concatenate([cepstrum, cepstrum[:, -2:0:-1]], axis=1)
    log_envelope = 0.5 * np.fft.rfft(whole, axis=1).real
    return Voice(f0_hz=f0_hz, log_envelope=log_envelope, level=level)


def synthesise(
    voice: Voice,
    source_frame: Float64Array,
    f0_hz: Float64Array,
    rng: np.random.Generator,
    *,
    formant_ratio: float = 1.0,
    tilt_db_per_octave: float = 0.0,
    ring: Ring | None = None,
    breath: float = 0.1,
) -> Float32Array:
    """Put a voice together again.

    Parameters
    ----------
    source_frame
        Which frame of `voice` sounds in each output frame, fractions allowed [shape=(n,)].
    f0_hz
        Pitch of each output frame, 0 for unvoiced [shape=(n,)].
    formant_ratio
        Above 1 a shorter vocal tract.
    tilt_db_per_octave
        Added spectral slope above 500 Hz: positive is effort, negative is softness.
    ring
        A resonance to add.
    breath
        Share of noise in voiced sound, 0 to 1.

    Returns
    -------
    float32 [shape=(n * 80,)], peak 0.5.
    """
    frames = len(source_frame)
    length = frames * FRAME_SAMPLES
    bins = np.arange(_FFT // 2 + 1)
    hertz = bins * SAMPLE_RATE_HZ / _FFT
    shape_db = tilt_db_per_octave * np.log2(np.maximum(hertz, 500.0) / 500.0)
    if ring is not None:
        centre_hz = np.reshape(np.asarray(ring.hertz, np.float64), (-1, 1))
        shape_db = shape_db + ring.gain_db * np.exp(-np.square((hertz - centre_hz) / ring.width_hz))
    shape = shape_db * np.log(10) / 20
    low = np.clip(np.floor(source_frame).astype(int), 0, len(voice) - 1)
    high = np.minimum(low + 1, len(voice) - 1)
    part = (source_frame - low)[:, None]
    envelope = (1 - part) * voice.log_envelope[low] + part * voice.log_envelope[high]
    envelope = _warp(envelope, formant_ratio) + shape
    noisiness = np.clip(breath + 0.5 * hertz / SAMPLE_RATE_HZ, 0.0, 1.0)
    voiced = f0_hz > 0
    out = np.zeros(length + 2 * _FFT)
    _add_noise(out, envelope, np.where(voiced[:, None], noisiness, 1.0), rng)
    _add_pulses(out, envelope, f0_hz, np.sqrt(1 - np.square(noisiness)))
    out = out[:length]
    peak = np.abs(out).max()
    return (out * (0.5 / peak if peak > 0 else 0.0)).astype(np.float32)


def _blocks(samples: npt.NDArray[np.floating], frames: int, size: int, hop: int) -> Float64Array:
    padded = np.zeros(frames * hop + size)
    kept = min(samples.size, padded.size - size // 2)
    padded[size // 2 : size // 2 + kept] = samples[:kept]
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:frames]


def _track_f0(samples: Float32Array, frames: int) -> Float64Array:
    spectrum = np.fft.rfft(samples.astype(np.float64))
    cutoff = int(len(spectrum) * 900.0 / (SAMPLE_RATE_HZ / 2))
    spectrum[cutoff:] = 0
    low = np.fft.irfft(spectrum, samples.size)[::_DECIMATION]
    rate_hz = SAMPLE_RATE_HZ / _DECIMATION
    lags = np.arange(int(rate_hz / F0_MAX_HZ), int(rate_hz / F0_MIN_HZ) + 1)
    size = 2 * int(lags[-1]) + 48
    blocks = _blocks(low, frames, size, FRAME_SAMPLES // _DECIMATION)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    reach = size - int(lags[-1])
    head = blocks[:, :reach]
    spectra = np.fft.rfft(blocks, 2 * size, axis=1) * np.fft.rfft(head, 2 * size, axis=1).conj()
    product = np.fft.irfft(spectra, axis=1)[:, lags]
    energy = np.concatenate([np.zeros((frames, 1)), np.cumsum(np.square(blocks), axis=1)], axis=1)
    lagged = energy[:, lags + reach] - energy[:, lags]
    correlation = product / np.sqrt(energy[:, reach : reach + 1] * lagged + 1e-9)
    best = correlation.max(axis=1)
    # The shortest lag that is nearly as good, so that two periods are not taken for one.
    first = np.argmax(correlation >= 0.9 * best[:, None], axis=1)
    first = _climb(correlation, first)
    f0_hz = rate_hz / (lags[first] + _summit(correlation, first))
    loud = energy[:, reach] > 1e-4 * energy[:, reach].max()
    f0_hz = np.where((best > _VOICED_CORRELATION) & loud, f0_hz, 0.0)
    return _median(f0_hz, 5)


def _climb(correlation: Float64Array, start: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    rows = np.arange(len(start))
    for _ in range(4):
        after = np.minimum(start + 1, correlation.shape[1] - 1)
        start = np.where(correlation[rows, after] > correlation[rows, start], after, start)
    return start


def _summit(correlation: Float64Array, place: npt.NDArray[np.intp]) -> Float64Array:
    """How far beside a sampled maximum the true one lies, by the parabola through three points."""
    rows, last = np.arange(len(place)), correlation.shape[1] - 1
    left = correlation[rows, np.maximum(place - 1, 0)]
    right = correlation[rows, np.minimum(place + 1, last)]
    bend = np.minimum(left - 2 * correlation[rows, place] + right, -1e-9)
    inner = (place > 0) & (place < last)
    return np.where(inner, np.clip(0.5 * (left - right) / bend, -0.5, 0.5), 0.0)


def _median(values: Float64Array, width: int) -> Float64Array:
    padded = np.pad(values, width // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1))


def _warp(log_envelope: Float64Array, ratio: float) -> Float64Array:
    if ratio == 1.0:
        return log_envelope
    last = log_envelope.shape[1] - 1
    place = np.minimum(np.arange(last + 1) / ratio, last)
    low = np.floor(place).astype(int)
    part = place - low
    high = np.minimum(low + 1, last)
    return np.asarray((1 - part) * log_envelope[:, low] + part * log_envelope[:, high])


def _add_noise(out: Float64Array, envelope: Float64Array, share: Float64Array, rng: np.random.Generator) -> None:
    frames = len(envelope)
    size = 2 * FRAME_SAMPLES
    noise = rng.standard_normal((frames, size)) * np.hanning(size) / np.sqrt(_WINDOW * 0.375)
    shaped = np.fft.irfft(np.fft.rfft(noise, _FFT, axis=1) * np.exp(envelope) * share, axis=1)
    # Zero phase filtering rings on both sides: what wraps to the end belongs before the start.
    shaped = np.roll(shaped, _FFT // 4, axis=1)
    for frame in range(frames):
        start = frame * FRAME_SAMPLES
        out[start : start + _FFT] += shaped[frame]


def _add_pulses(out: Float64Array, envelope: Float64Array, f0_hz: Float64Array, share: Float64Array) -> None:
    per_sample = np.repeat(f0_hz / SAMPLE_RATE_HZ, FRAME_SAMPLES)
    phase = np.cumsum(per_sample)
    at = np.flatnonzero(np.diff(np.floor(phase)) > 0) + 1
    at = at[per_sample[at] > 0]
    if at.size == 0:
        return
    fraction = (phase[at] - np.floor(phase[at])) / per_sample[at]
    frame = at // FRAME_SAMPLES
    cepstrum = np.fft.irfft(envelope[frame] + np.log(share + 1e-6), axis=1)
    cepstrum[:, 1 : _FFT // 2] *= 2
    cepstrum[:, _FFT // 2 + 1 :] = 0
    spectrum = np.exp(np.fft.rfft(cepstrum, axis=1))
    omega = 2 * np.pi * np.arange(_FFT // 2 + 1) / _FFT
    # `fraction` is how long before sample `at` the period ended.
    spectrum *= np.exp(1j * omega * (fraction[:, None] - _FFT // 4))
    gain = np.sqrt(1.0 / per_sample[at]) / np.sqrt(_WINDOW * 0.375)
    pulses = np.fft.irfft(spectrum, axis=1) * gain[:, None]
    for start, pulse in zip(at, pulses, strict=True):
        out[start : start + _FFT] += pulse
