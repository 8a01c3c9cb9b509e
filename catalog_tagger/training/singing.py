"""Singing made out of speech, and the same speech resynthesised as a control.

Labelled singing is rare. A sung phrase differs from a spoken one in how pitch and time are
organised: syllables are held on notes, with glides between and vibrato on them. `sing` gives a
spoken recording that organisation and keeps its voice. `respeak` sends speech through the same
vocoder with its own intonation (wider, narrower, higher, lower, quicker, slower): it stays speech,
so that the vocoder's own sound tells a network nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.training.voice import (
    FRAME_S,
    Float32Array,
    Float64Array,
    Voice,
    analyse,
    synthesise,
)

#: Degrees in semitones; the last one is seven equal steps, far from any keyboard.
SCALES: Final[tuple[tuple[float, ...], ...]] = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
    (0, 1, 4, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 1.7, 3.4, 5.1, 6.9, 8.6, 10.3),
)


@dataclass(frozen=True)
class Style:
    """How a phrase is sung.

    Attributes
    ----------
    note_s
        Range of note lengths, seconds.
    repeat
        Chance that a note is the one before again (recitation).
    step
        Largest step, in degrees of the scale.
    melisma
        Chance that a syllable carries several notes.
    """

    note_s: tuple[float, float]
    repeat: float
    step: int
    melisma: float


STYLES: Final[tuple[Style, ...]] = (
    Style(note_s=(0.2, 0.7), repeat=0.15, step=2, melisma=0.1),
    Style(note_s=(0.4, 1.6), repeat=0.1, step=3, melisma=0.25),
    Style(note_s=(0.8, 2.6), repeat=0.1, step=3, melisma=0.35),
    Style(note_s=(0.18, 0.5), repeat=0.75, step=1, melisma=0.08),
    Style(note_s=(0.25, 1.2), repeat=0.2, step=2, melisma=0.6),
)


@dataclass(frozen=True)
class Score:
    """A phrase as frames: what sounds, and at which pitch (before vibrato), 0 for unvoiced."""

    source_frame: Float64Array
    note_hz: Float64Array
    since_note_s: Float64Array


def syllables(voice: Voice) -> list[tuple[int, int, int]]:
    """Start, centre and end (frames) of the stretches of voice around each peak of loudness."""
    level = np.convolve(voice.level * (voice.f0_hz > 0), np.hanning(15) / 7.0, mode="same")
    floor = 0.05 * np.quantile(level, 0.95)
    inner = (level[1:-1] >= level[:-2]) & (level[1:-1] > level[2:]) & (level[1:-1] > floor)
    peaks: list[int] = []
    for peak in np.flatnonzero(inner) + 1:
        if peaks and peak - peaks[-1] < 20:
            if level[peak] > level[peaks[-1]]:
                peaks[-1] = int(peak)
        else:
            peaks.append(int(peak))
    found = []
    for index, centre in enumerate(peaks):
        before = peaks[index - 1] if index else max(0, centre - 50)
        after = peaks[index + 1] if index + 1 < len(peaks) else min(len(voice) - 1, centre + 50)
        start = before + int(np.argmin(level[before : centre + 1]))
        end = centre + int(np.argmin(level[centre : after + 1]))
        found.append((max(start, centre - 60), centre, min(end, centre + 60)))
    return found


def write_score(voice: Voice, style: Style, rng: np.random.Generator, *, length_s: float) -> Score | None:
    """Set the syllables of `voice` to a melody of about `length_s`; None without two of them."""
    found = syllables(voice)
    if len(found) < 2:
        return None
    spoken_hz = voice.f0_hz[voice.f0_hz > 0]
    tonic_hz = float(np.clip(np.median(spoken_hz) * 2 ** rng.uniform(-0.2, 1.0), 80, 600))
    scale = SCALES[rng.integers(len(SCALES))]
    beat_s = rng.uniform(*style.note_s)
    degree = int(rng.integers(0, len(scale)))
    frames: list[Float64Array] = []
    notes: list[Float64Array] = []
    since: list[Float64Array] = []
    total, index = 0, int(rng.integers(len(found)))
    while total * FRAME_S < length_s:
        start, centre, end = found[index % len(found)]
        count = int(rng.integers(2, 6)) if rng.random() < style.melisma else 1
        held = []
        for _ in range(count):
            if rng.random() >= style.repeat:
                degree += int(rng.integers(-style.step, style.step + 1))
                degree = int(np.clip(degree, -3, len(scale) + 2))
            octave, place = divmod(degree, len(scale))
            shortest, longest = style.note_s
            span_s = beat_s * rng.choice([0.5, 1, 1, 1, 2]) * rng.uniform(0.85, 1.15)
            span_s = float(np.clip(span_s, shortest, 1.5 * longest)) / np.sqrt(count)
            hertz = tonic_hz * 2 ** (octave + scale[place] / 12)
            held.append(np.full(max(12, round(span_s / FRAME_S)), hertz))
        note = np.concatenate(held)
        frames.append(_stretch(start, centre, end, len(note)))
        notes.append(note)
        since.append(np.concatenate([np.arange(len(one)) * FRAME_S for one in held]))
        total += len(note)
        index += 1
        if rng.random() < 0.08:
            rest = int(rng.uniform(0.1, 0.5) / FRAME_S)
            quiet = float(np.argmin(voice.level))
            frames.append(np.full(rest, quiet))
            notes.append(np.zeros(rest))
            since.append(np.zeros(rest))
            total += rest
    source_frame = np.concatenate(frames)
    voiced = voice.f0_hz[np.clip(np.rint(source_frame).astype(int), 0, len(voice) - 1)] > 0
    return Score(
        source_frame=source_frame,
        note_hz=np.concatenate(notes) * voiced,
        since_note_s=np.concatenate(since),
    )


def _stretch(start: int, centre: int, end: int, length: int) -> Float64Array:
    """Frames of a syllable over `length` frames: its edges keep their pace, its middle is held."""
    core = 5
    head, tail = max(0, centre - core - start), max(0, end - centre - core)
    if head + tail + 4 > length:
        return np.linspace(start, end, length)
    points = [0, head, length - 1 - tail, length - 1]
    places = [start, centre - core, centre + core, end]
    return np.interp(np.arange(length), points, places)


def perform(voice: Voice, score: Score, rng: np.random.Generator) -> Float32Array:
    """Sing a score: portamento, vibrato, drift, and a voice placed somewhere from soft to full.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5.
    """
    voiced = score.note_hz > 0
    if not voiced.any():
        return np.zeros(len(voiced) * 80, np.float32)
    cents = np.zeros(len(voiced))
    cents[voiced] = 1200 * np.log2(score.note_hz[voiced])
    cents = np.interp(np.arange(len(cents)), np.flatnonzero(voiced), cents[voiced])
    glide = max(3, int(rng.uniform(0.02, 0.16) / FRAME_S))
    kernel = np.hanning(glide + 2)[1:-1]
    cents = np.convolve(np.pad(cents, glide, mode="edge"), kernel / kernel.sum(), mode="same")
    cents = cents[glide:-glide]
    time_s = np.arange(len(cents)) * FRAME_S
    depth = rng.choice([0.0, rng.uniform(10, 40), rng.uniform(40, 110)], p=[0.35, 0.35, 0.3])
    onset = np.clip((score.since_note_s - rng.uniform(0.05, 0.3)) / 0.2, 0, 1)
    rate_hz = rng.uniform(4.3, 7.0)
    cents += depth * onset * np.sin(2 * np.pi * rate_hz * time_s + rng.uniform(0, 6.28))
    cents += _slow_noise(len(cents), 3.0, rng) * rng.uniform(5, 30)
    cents += rng.standard_normal(len(cents)) * rng.uniform(0, 6)
    return synthesise(
        voice,
        score.source_frame + np.clip(_slow_noise(len(cents), 4.0, rng), -1, 1) * 1.5,
        np.where(voiced, np.clip(2 ** (cents / 1200), 50, 1200), 0.0),
        rng,
        formant_ratio=float(rng.uniform(0.85, 1.2)),
        tilt_db_per_octave=float(rng.uniform(-4, 3)),
        ring_db=float(rng.choice([0.0, rng.uniform(3, 12)])),
        breath=float(rng.uniform(0.02, 0.25)),
    )


def sing(samples: Float32Array, rng: np.random.Generator, *, length_s: float) -> Float32Array:
    """A spoken recording as solo singing, or as a small choir one time in five.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz; empty where the recording holds too little voice.
    """
    voice = analyse(samples)
    style = STYLES[rng.integers(len(STYLES))]
    score = write_score(voice, style, rng, length_s=length_s)
    if score is None:
        return np.zeros(0, np.float32)
    if rng.random() >= 0.2:
        return perform(voice, score, rng)
    parts = np.array([[0, 0, 0, 0], [0, 0, 12, 12], [0, 4, 7, 12], [0, 3, 7, 12], [0, 7, 0, -5]])
    chord = parts[rng.integers(len(parts))]
    mixed = np.zeros(len(score.note_hz) * 80, np.float32)
    for singer in range(int(rng.integers(3, 7))):
        detune = chord[singer % 4] + rng.normal(0, 0.12)
        late = int(abs(rng.normal(0, 8)))
        own = Score(
            source_frame=np.roll(score.source_frame, late),
            note_hz=np.roll(score.note_hz, late) * 2 ** (detune / 12),
            since_note_s=np.roll(score.since_note_s, late),
        )
        mixed += perform(voice, own, rng) * np.float32(rng.uniform(0.4, 1.0))
    answer: Float32Array = mixed * np.float32(0.5 / max(float(np.abs(mixed).max()), 1e-6))
    return answer


def respeak(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A spoken recording through the vocoder with another intonation, tempo and tract.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5.
    """
    voice = analyse(samples)
    tempo = float(2 ** rng.uniform(-0.6, 0.6))
    source_frame = np.arange(0, len(voice) - 1, tempo)
    f0_hz = voice.f0_hz[np.rint(source_frame).astype(int)]
    voiced = f0_hz > 0
    if voiced.any():
        middle_hz = float(np.median(f0_hz[voiced]))
        ratio = f0_hz[voiced] / middle_hz
        spread = float(rng.choice([rng.uniform(0.0, 0.5), rng.uniform(0.7, 1.2), rng.uniform(1.2, 2)]))
        f0_hz = f0_hz.copy()
        f0_hz[voiced] = np.clip(middle_hz * 2 ** rng.uniform(-0.5, 0.8) * ratio**spread, 50.0, 900.0)
    return synthesise(
        voice,
        source_frame,
        f0_hz,
        rng,
        formant_ratio=float(rng.uniform(0.85, 1.25)),
        tilt_db_per_octave=float(rng.uniform(-4, 3)),
        ring_db=float(rng.choice([0.0, rng.uniform(3, 12)])),
        breath=float(rng.uniform(0.02, 0.4)),
    )


def _slow_noise(length: int, rate_hz: float, rng: np.random.Generator) -> Float64Array:
    """Unit-variance noise below `rate_hz`, one value per frame."""
    points = max(4, int(length * FRAME_S * rate_hz) + 2)
    values: npt.NDArray[np.float64] = rng.standard_normal(points)
    return np.interp(np.linspace(0, points - 1, length), np.arange(points), values)
