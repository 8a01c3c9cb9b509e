"""What rooms, lines, boxes and studios do to a sound; none of it changes what the sound is.

Every function takes and returns float32 mono at 16 kHz of the same length. They are applied to
speech, music and everything else alike, so that no effect can stand for a label.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ

Float32Array = npt.NDArray[np.float32]
_NYQUIST_HZ: Final = SAMPLE_RATE_HZ / 2


def resample(samples: Float32Array, length: int) -> Float32Array:
    """Stretch or squeeze to `length` samples (pitch and tempo together), exactly band-limited."""
    if samples.size in (length, 0):
        return samples
    spectrum = np.fft.rfft(samples)
    kept = min(spectrum.size, length // 2 + 1)
    padded = np.zeros(length // 2 + 1, spectrum.dtype)
    padded[:kept] = spectrum[:kept]
    return (np.fft.irfft(padded, length) * (length / samples.size)).astype(np.float32)


def random_room(rng: np.random.Generator) -> Float32Array:
    """Impulse response: the direct sound, a few early reflections, a decaying coloured tail."""
    decay_s = float(np.exp(rng.uniform(np.log(0.08), np.log(3.0))))
    length = int(min(1.2 * decay_s, 2.0) * SAMPLE_RATE_HZ)
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(length).astype(np.float32)
    tail *= np.exp(-6.9 * time_s / decay_s)
    # Air and walls take the treble first: a one-pole low-pass by repeated averaging.
    for _ in range(int(rng.integers(0, 4))):
        tail[1:] = 0.5 * (tail[1:] + tail[:-1])
    tail[: int(rng.uniform(0.002, 0.03) * SAMPLE_RATE_HZ)] = 0
    for _ in range(6):
        tail[int(rng.integers(length))] += rng.normal() * 3.0 * np.exp(-rng.uniform(0, 3))
    direct_db = rng.uniform(-18, 12)  # from across a church to across a desk
    tail *= 10 ** (-direct_db / 20) / max(float(np.sqrt(np.square(tail).sum())), 1e-6)
    tail[0] = 1.0
    return tail.astype(np.float32)


def random_response(rng: np.random.Generator, hertz: npt.NDArray[np.floating]) -> Float32Array:
    """Gain per frequency: a smooth random equaliser and, often, a band limit."""
    knots = np.array([0, 60, 150, 400, 1000, 2200, 4500, 8000.0])
    gains_db = rng.normal(0, rng.uniform(0, 6), knots.size) + rng.normal(0, 1.5) * np.arange(8)
    answer = np.interp(hertz, knots, gains_db)
    kind = rng.random()
    if kind < 0.2:  # the telephone
        answer += _edge_db(hertz, rng.uniform(200, 400), up=True)
        answer += _edge_db(hertz, rng.uniform(2800, 3700), up=False)
    elif kind < 0.5:
        answer += _edge_db(hertz, np.exp(rng.uniform(np.log(1200), np.log(7500))), up=False)
    elif kind < 0.65:
        answer += _edge_db(hertz, np.exp(rng.uniform(np.log(60), np.log(600))), up=True)
    gain: Float32Array = (10 ** (np.maximum(answer, -90.0) / 20)).astype(np.float32)
    return gain


def _edge_db(hertz: npt.NDArray[np.floating], corner_hz: float, *, up: bool) -> npt.NDArray[np.floating]:
    octaves = np.log2(np.maximum(hertz, 1.0) / corner_hz) * (-1 if up else 1)
    return np.asarray(-48.0 * np.maximum(octaves, 0.0))


def colour(samples: Float32Array, rng: np.random.Generator, *, room: bool, equaliser: bool) -> Float32Array:
    """Pass through a random room, a random frequency response, or both."""
    response = random_room(rng) if room else np.ones(1, np.float32)
    size = _smooth_size(samples.size + (response.size if room else 1600))
    spectrum = np.fft.rfft(samples, size)
    if room:
        spectrum *= np.fft.rfft(response, size)
    if equaliser:
        spectrum *= random_response(rng, np.linspace(0, _NYQUIST_HZ, spectrum.size))
    return np.fft.irfft(spectrum, size)[: samples.size].astype(np.float32)


def _smooth_size(size: int) -> int:
    """The next multiple of 4096 that has no prime above 7: quick to transform."""
    blocks = -(-size // 4096)
    while True:
        rest = blocks
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return blocks * 4096
        blocks += 1


def random_effect(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """One studio effect, drawn at random: robots, swirls, dirt, echoes."""
    time_s = np.arange(samples.size, dtype=np.float32) / SAMPLE_RATE_HZ
    peak = float(np.abs(samples).max())
    if peak == 0.0:
        return samples
    kind = int(rng.integers(7))
    if kind == 0:  # ring modulator
        carrier = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(25), np.log(900))) * time_s)
        wet = rng.uniform(0.4, 1.0)
        out = samples * (1 - wet + wet * carrier)
    elif kind == 1:  # comb: a metal tube, the classic robot
        out = _comb(samples, int(rng.uniform(0.0015, 0.02) * SAMPLE_RATE_HZ), rng.uniform(0.4, 0.85))
    elif kind == 2:  # flanger, chorus
        depth_s = rng.uniform(0.0005, 0.006)
        sweep = depth_s * (1 + np.sin(2 * np.pi * rng.uniform(0.1, 6.0) * time_s))
        delayed = np.interp(time_s - sweep, time_s, samples, left=0.0)
        out = samples + rng.uniform(0.5, 1.0) * delayed
    elif kind == 3:  # distortion
        drive = np.exp(rng.uniform(np.log(2), np.log(40)))
        out = np.tanh(drive * samples / peak)
    elif kind == 4:  # tremolo or a bad line that cuts out
        rate_hz = rng.uniform(1.0, 16.0)
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * time_s)
        out = samples * ((wave > rng.uniform(0.1, 0.4)) if rng.random() < 0.3 else wave)
    elif kind == 5:  # echo
        out = _comb(samples, int(rng.uniform(0.06, 0.5) * SAMPLE_RATE_HZ), rng.uniform(0.2, 0.7))
    else:  # few bits, few samples
        step = int(rng.integers(1, 5))
        bits = rng.integers(4, 9)
        held = np.repeat(samples[::step], step)[: samples.size] / peak
        out = np.round(held * 2.0**bits) / 2.0**bits
    return np.asarray(out, np.float32)


def unison(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Several of the same voice: copies a little out of time, tune and level."""
    out: Float32Array = samples.copy()
    for _ in range(int(rng.integers(2, 6))):
        blocks = max(1, round(samples.size * float(1 + rng.normal(0, 0.006)) / 400))
        copy = resample(samples, 400 * blocks)  # in steps of 9 cents for 5 s, at lengths quick to transform
        shift = int(rng.uniform(0, 0.09) * SAMPLE_RATE_HZ)
        kept = max(0, min(copy.size, samples.size - shift))
        out[shift : shift + kept] += np.float32(rng.uniform(0.3, 1.0)) * copy[:kept]
    return out


def _comb(samples: Float32Array, delay: int, feedback: float) -> Float32Array:
    out: Float32Array = samples.copy()
    gain, shift = feedback, delay
    while gain > 0.02 and shift < samples.size:
        out[shift:] += np.float32(gain) * samples[:-shift]
        gain *= feedback
        shift += delay
    return out


def rms(samples: Float32Array, active: npt.NDArray[np.bool_] | None = None) -> float:
    """Root mean square, over the active 10 ms frames where they are given."""
    if active is not None and active.any():
        samples = samples[np.repeat(active, SAMPLE_RATE_HZ // 100)[: samples.size]]
    return float(np.sqrt(np.square(samples, dtype=np.float32).mean())) if samples.size else 0.0
