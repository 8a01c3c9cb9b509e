"""Instruments in numpy: one function per sound, from a pitch and a length to samples.

All return float32, shape (samples,), peak 1, at the rate they are asked for, and end in silence.
Plucked strings are Karplus and Strong's (Computer Music Journal 7(2), 1983); the others are sums of
partials whose amplitudes and decays follow the instrument, which is enough for a piece to sound
played and not bleeped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]

_TUNING_HZ: Final = 440.0


def midi_to_hz(note: float) -> float:
    """Frequency of a MIDI note number; 69 is 440 Hz."""
    return float(_TUNING_HZ * 2.0 ** ((note - 69.0) / 12.0))


def pluck(note: float, length_s: float, rate_hz: int) -> Samples:
    """A plucked steel string: noise that circulates in a delay line and loses its top."""
    rng = np.random.default_rng(int(note * 8))
    period = max(2, round(rate_hz / midi_to_hz(note) - 0.5))
    n = int(length_s * rate_hz)
    line = rng.uniform(-1.0, 1.0, period + 1)
    line = np.convolve(np.r_[line[-2:], line], [0.25, 0.5, 0.25], mode="same")[2:]
    out = np.empty(n + period + 1)
    out[: period + 1] = line
    for start in range(period + 1, n, period):  # y[i] = 0.998 (y[i - N] + y[i - N - 1]) / 2, a period at once
        stop = min(start + period, len(out))
        past = out[start - period - 1 : stop - period]
        out[start:stop] = 0.499 * (past[1:] + past[:-1])
    return _finish(out[:n], rate_hz, release_s=0.05)


def piano(note: float, length_s: float, rate_hz: int) -> Samples:
    """A struck string: slightly stretched partials, the high ones gone first, and a thump."""
    hz = midi_to_hz(note)
    numbers = np.arange(1, 13)
    stretched = numbers * np.sqrt(1.0 + 4e-4 * numbers**2)
    out = _partials(
        hz,
        ratios=stretched,
        amplitudes=1.0 / numbers**1.3,
        decays_per_s=0.5 + 0.35 * numbers * hz / 440.0,
        length_s=length_s,
        rate_hz=rate_hz,
    )
    thump = np.random.default_rng(1).standard_normal(int(0.02 * rate_hz)) * np.linspace(1.0, 0.0, int(0.02 * rate_hz))
    out[: len(thump)] += 0.15 * thump[: len(out)]
    return _finish(out, rate_hz, release_s=0.08)


def organ(note: float, length_s: float, rate_hz: int) -> Samples:
    """A drawbar organ with a slow tremolo."""
    out = _partials(
        midi_to_hz(note),
        ratios=np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]),
        amplitudes=np.array([0.5, 1.0, 0.4, 0.7, 0.35, 0.3, 0.15]),
        decays_per_s=0.0,
        length_s=length_s,
        rate_hz=rate_hz,
    )
    out *= 1.0 + 0.12 * np.sin(2 * np.pi * 6.1 * np.arange(len(out)) / rate_hz)
    return _finish(out, rate_hz, attack_s=0.01, release_s=0.05)


def strings(note: float, length_s: float, rate_hz: int) -> Samples:
    """A section of bowed strings: three saws out of tune with each other, each with its vibrato."""
    out = np.zeros(int(length_s * rate_hz))
    t = np.arange(len(out)) / rate_hz
    for cents, vibrato_hz in ((-7.0, 5.2), (0.0, 5.7), (6.0, 4.8)):
        hz = midi_to_hz(note + cents / 100.0)
        phase = 2 * np.pi * hz * t + hz * 0.004 / vibrato_hz * np.sin(2 * np.pi * vibrato_hz * t + cents)
        out += _harmonics(phase, _audible(1.0 / np.arange(1, 15) ** 1.2, hz, rate_hz))
    return _finish(out, rate_hz, attack_s=min(0.18, length_s / 3), release_s=min(0.25, length_s / 3))


def flute(note: float, length_s: float, rate_hz: int) -> Samples:
    """A flute: few harmonics, breath, and a vibrato that sets in late."""
    n = int(length_s * rate_hz)
    t = np.arange(n) / rate_hz
    hz = midi_to_hz(note)
    depth = np.clip((t - 0.15) / 0.3, 0.0, 1.0)
    phase = 2 * np.pi * hz * t + depth * hz * 0.006 / 5.3 * np.sin(2 * np.pi * 5.3 * t)
    breath = np.random.default_rng(int(note * 8)).standard_normal(n)
    out = _harmonics(phase, _audible(np.array([1.0, 0.45, 0.25, 0.08, 0.04]), hz, rate_hz))
    out += 0.05 * np.convolve(breath, np.hanning(9) / 4.0, mode="same")
    return _finish(out, rate_hz, attack_s=0.05, release_s=0.08)


def brass(note: float, length_s: float, rate_hz: int) -> Samples:
    """A brass lead: the louder its attack, the brighter its harmonics."""
    n = int(length_s * rate_hz)
    t = np.arange(n) / rate_hz
    hz = midi_to_hz(note)
    phase = 2 * np.pi * hz * t + hz * 0.005 / 5.5 * np.sin(2 * np.pi * 5.5 * t)
    dark = _harmonics(phase, _audible(1.0 / np.arange(1, 6) ** 1.5, hz, rate_hz))
    bright = _harmonics(phase, _audible(1.0 / np.arange(1, 19) ** 0.7, hz, rate_hz))
    open_up = 0.25 + 0.75 * np.exp(-(((t - 0.09) / 0.12) ** 2))
    return _finish(dark + open_up * bright, rate_hz, attack_s=0.03, release_s=0.07)


def marimba(note: float, length_s: float, rate_hz: int) -> Samples:
    """A wooden bar: two tuned partials (1 : 3.93) and a click."""
    out = _partials(
        midi_to_hz(note),
        ratios=np.array([1.0, 3.93, 9.2]),
        amplitudes=np.array([1.0, 0.35, 0.2]),
        decays_per_s=np.array([3.5, 12.0, 30.0]),
        length_s=length_s,
        rate_hz=rate_hz,
    )
    return _finish(out, rate_hz, release_s=0.03)


def bell(note: float, length_s: float, rate_hz: int) -> Samples:
    """A tuned bell: hum, prime, the minor third that makes it a bell, fifth, octave and above."""
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1])
    out = _partials(
        midi_to_hz(note),
        ratios=ratios,
        amplitudes=np.array([0.5, 1.0, 0.6, 0.3, 0.9, 0.3, 0.25, 0.3, 0.2]),
        decays_per_s=0.8 * ratios,
        length_s=length_s,
        rate_hz=rate_hz,
    )
    return _finish(out, rate_hz, release_s=0.1)


def bass(note: float, length_s: float, rate_hz: int) -> Samples:
    """A finger-plucked bass."""
    numbers = np.arange(1, 9)
    out = _partials(
        midi_to_hz(note),
        ratios=numbers,
        amplitudes=1.0 / numbers**1.1,
        decays_per_s=1.0 + 1.5 * numbers,
        length_s=length_s,
        rate_hz=rate_hz,
    )
    return _finish(np.tanh(1.5 * out / np.abs(out).max()), rate_hz, attack_s=0.004, release_s=0.04)


def kick(rate_hz: int) -> Samples:
    """A bass drum: a sine that falls from 150 Hz to 48 Hz."""
    t = np.arange(int(0.28 * rate_hz)) / rate_hz
    phase = 2 * np.pi * (48.0 * t + 102.0 * 0.035 * (1.0 - np.exp(-t / 0.035)))
    return _finish(np.sin(phase) * np.exp(-t / 0.1), rate_hz, attack_s=0.001, release_s=0.05)


def snare(rate_hz: int) -> Samples:
    """A snare drum: noise over a short tone."""
    t = np.arange(int(0.22 * rate_hz)) / rate_hz
    noise = np.random.default_rng(2).standard_normal(len(t))
    tone = np.sin(2 * np.pi * 185.0 * t) * np.exp(-t / 0.05)
    return _finish(0.7 * noise * np.exp(-t / 0.065) + tone, rate_hz, attack_s=0.001, release_s=0.04)


def hat(rate_hz: int, length_s: float = 0.06) -> Samples:
    """A closed hi-hat; with a longer `length_s`, a shaker or an open one."""
    t = np.arange(int(length_s * rate_hz)) / rate_hz
    noise = np.diff(np.random.default_rng(3).standard_normal(len(t) + 2), n=2)
    return _finish(noise * np.exp(-4.0 * t / length_s), rate_hz, attack_s=0.001, release_s=length_s / 4)


#: Instruments that take (note, length_s, rate_hz).
PITCHED: Final[dict[str, Callable[[float, float, int], Samples]]] = {
    "pluck": pluck,
    "piano": piano,
    "organ": organ,
    "strings": strings,
    "flute": flute,
    "brass": brass,
    "marimba": marimba,
    "bell": bell,
    "bass": bass,
}


def _audible(amplitudes: Floats, hz: float, rate_hz: int) -> Floats:
    """Amplitudes of harmonics 1, 2, ... of `hz`, those above 0.45 of the rate dropped, so that none folds back."""
    return amplitudes[: max(1, int(0.45 * rate_hz / hz))]


def _harmonics(phase: Floats, amplitudes: Floats) -> Floats:
    """Sum of ``amplitudes[k - 1] * sin(k phase)``; powers of one rotation are cheaper than as many sines."""
    first = np.exp(1j * phase).astype(np.complex64)
    turn = np.ones_like(first)
    out = np.zeros(len(phase))
    for amplitude in amplitudes.tolist():
        turn *= first
        out += amplitude * turn.imag
    return out


def _partials(
    hz: float,
    *,
    ratios: Floats | npt.NDArray[np.int_],
    amplitudes: Floats,
    decays_per_s: Floats | float,
    length_s: float,
    rate_hz: int,
) -> Floats:
    """Decaying sines at ``hz * ratios``, those above 0.45 of the rate left out."""
    t = np.arange(int(length_s * rate_hz), dtype=np.float32) / np.float32(rate_hz)
    decays: Sequence[float] = np.broadcast_to(decays_per_s, np.shape(ratios)).tolist()
    out = np.zeros(len(t))
    for ratio, amplitude, decay in zip(ratios.tolist(), amplitudes.tolist(), decays, strict=True):
        if ratio * hz < 0.45 * rate_hz:
            wave = np.sin(np.float32(2 * np.pi * ratio * hz) * t)
            out += amplitude * (wave * np.exp(np.float32(-decay) * t) if decay else wave)
    return out


def _finish(wave: Floats, rate_hz: int, *, attack_s: float = 0.002, release_s: float = 0.02) -> Samples:
    """Fade in and out, and bring the peak to 1."""
    n_in, n_out = min(len(wave), int(attack_s * rate_hz)), min(len(wave), int(release_s * rate_hz))
    wave[:n_in] *= np.linspace(0.0, 1.0, n_in)
    wave[len(wave) - n_out :] *= np.linspace(1.0, 0.0, n_out)
    peak = np.abs(wave).max(initial=0.0)
    return (wave / peak if peak else wave).astype(np.float32)
