"""Sounds that are neither speech nor music and need no recording.

Tones, sweeps, telephone signals, clicks, hum, noise of any colour, near-silence. Each function
draws one sound of `length` samples, float32 mono at 16 kHz, peak near 0.5 except for silence.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ

Float32Array = npt.NDArray[np.float32]
_DTMF_LOW_HZ: Final = (697.0, 770.0, 852.0, 941.0)
_DTMF_HIGH_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
#: Pairs of frequencies of dial, busy and ringing tones in several countries.
_LINE_TONES_HZ: Final = ((350.0, 440.0), (480.0, 620.0), (440.0, 480.0), (425.0, 425.0), (400.0, 450.0))


def _time_s(length: int) -> npt.NDArray[np.float64]:
    return np.arange(length) / SAMPLE_RATE_HZ


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _wave(phase: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(np.sign(np.sin(phase)) * 0.5)
    if kind == 1:
        return (phase / (2 * np.pi)) % 1.0 - 0.5
    return np.asarray(np.sin(phase))


def tone(length: int, rng: np.random.Generator) -> Float32Array:
    """A steady tone, sometimes in regular bursts (a beep, a busy line)."""
    hertz = _log_uniform(rng, 60, 7000)
    out = _wave(2 * np.pi * hertz * _time_s(length), rng)
    return (0.5 * out * _bursts(length, rng)).astype(np.float32)


def sweep(length: int, rng: np.random.Generator) -> Float32Array:
    """A glide from one frequency to another, once, or to and fro as a siren does."""
    start, stop = np.log2(_log_uniform(rng, 60, 7500)), np.log2(_log_uniform(rng, 60, 7500))
    place = np.linspace(0, 1, length)
    if rng.random() < 0.5:
        place = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.2, 4) * _time_s(length))
    hertz = 2 ** (start + (stop - start) * place)
    return (0.5 * _wave(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE_HZ, rng)).astype(np.float32)


def line_signal(length: int, rng: np.random.Generator) -> Float32Array:
    """Dialled digits, or a dial, busy or ringing tone."""
    time_s = _time_s(length)
    out = np.zeros(length)
    if rng.random() < 0.5:
        key_s, gap_s = rng.uniform(0.06, 0.3), rng.uniform(0.04, 0.25)
        start = rng.uniform(0, 0.3)
        while start < length / SAMPLE_RATE_HZ:
            pair = (rng.choice(_DTMF_LOW_HZ), rng.choice(_DTMF_HIGH_HZ))
            on = (time_s >= start) & (time_s < start + key_s)
            out += on * sum(np.sin(2 * np.pi * hertz * time_s) for hertz in pair)
            start += key_s + gap_s
    else:
        pair = _LINE_TONES_HZ[rng.integers(len(_LINE_TONES_HZ))]
        out = sum((np.sin(2 * np.pi * hertz * time_s) for hertz in pair), out)
        out = out * _bursts(length, rng)
    return (0.25 * out).astype(np.float32)


def _bursts(length: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    if rng.random() < 0.5:
        return np.ones(length)
    period_s, share = rng.uniform(0.1, 2.0), rng.uniform(0.15, 0.8)
    return (((_time_s(length) / period_s + rng.random()) % 1.0) < share).astype(np.float64)


def noise(length: int, rng: np.random.Generator) -> Float32Array:
    """Noise of a random colour, steady or swelling."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 20.0)
    knots = np.linspace(np.log(20), np.log(8000), 6)
    slope_db = rng.uniform(-6, 2) * np.log2(hertz / 500)
    bumps_db = np.interp(np.log(hertz), knots, rng.normal(0, rng.uniform(0, 8), 6))
    out = np.fft.irfft(spectrum * 10 ** ((slope_db + bumps_db) / 20), length)
    if rng.random() < 0.4:
        swell = rng.uniform(0, 1, max(3, length // 8000))
        out *= np.interp(np.linspace(0, 1, length), np.linspace(0, 1, swell.size), swell)
    return (0.5 * out / max(float(np.abs(out).max()), 1e-9)).astype(np.float32)


def clicks(length: int, rng: np.random.Generator) -> Float32Array:
    """Clicks, ticks and thuds, regular or not, each a short decaying burst."""
    out = np.zeros(length)
    count = int(rng.integers(1, 25))
    regular = rng.random() < 0.5
    places = np.linspace(0, length, count, endpoint=False) if regular else rng.uniform(0, length, count)
    size = int(_log_uniform(rng, 20, 3000))
    burst = rng.standard_normal(size) * np.exp(-np.linspace(0, rng.uniform(3, 10), size))
    if rng.random() < 0.5:
        burst *= np.sin(2 * np.pi * _log_uniform(rng, 60, 5000) * _time_s(size))
    for place in places.astype(int):
        end = min(length, place + size)
        out[place:end] += burst[: end - place] * rng.uniform(0.3, 1.0)
    return (0.5 * out / max(float(np.abs(out).max()), 1e-9)).astype(np.float32)


def hum(length: int, rng: np.random.Generator) -> Float32Array:
    """Mains, motors, fans: harmonics of a low frequency that wanders a little, in some noise."""
    base_hz = rng.choice([50.0, 60.0, rng.uniform(20, 300)])
    drift = np.cumsum(rng.standard_normal(max(4, length // 1600)))
    drift = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, drift.size), drift)
    phase = 2 * np.pi * np.cumsum(base_hz * (1 + rng.uniform(0, 0.01) * drift)) / SAMPLE_RATE_HZ
    out = np.zeros(length)
    for harmonic in range(1, int(rng.integers(3, 25))):
        if harmonic * base_hz < 7500:
            out += np.sin(harmonic * phase + rng.uniform(0, 6.28)) * rng.random() / harmonic**0.7
    out = out / max(float(np.abs(out).max()), 1e-9) + rng.uniform(0, 0.3) * noise(length, rng)
    return (0.5 * out / max(float(np.abs(out).max()), 1e-9)).astype(np.float32)


def near_silence(length: int, rng: np.random.Generator) -> Float32Array:
    """Digital silence, or hiss between -90 and -55 dB below full scale."""
    if rng.random() < 0.3:
        return np.zeros(length, np.float32)
    hiss: Float32Array = noise(length, rng) * np.float32(10 ** (rng.uniform(-85, -50) / 20))
    return hiss


_SOUNDS: Final = (tone, sweep, line_signal, noise, noise, clicks, hum)


def random_sound(length: int, rng: np.random.Generator) -> Float32Array:
    """One of the sounds above that can be heard."""
    return _SOUNDS[rng.integers(len(_SOUNDS))](length, rng)
