"""Singing made out of speech, and the same speech resynthesised as a control.

Labelled singing is rare. A sung phrase differs from a spoken one in how pitch and time are
organised: syllables are held on notes, with glides between and vibrato on them. `sing` gives a
spoken recording that organisation and keeps its voice; `sing_together` makes a choir of several;
`resing` gives a real singer another pitch, tempo and tract. `respeak` sends speech through the same
vocoder with its own intonation (wider, narrower, higher, lower, quicker, slower): it stays speech,
so that the vocoder's own sound tells a network nothing. `whisper` takes the voice out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ
from catalog_tagger.training.voice import (
    FRAME_S,
    FRAME_SAMPLES,
    Float32Array,
    Float64Array,
    Ring,
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


_CLEAR_VOICE: Final = 0.4


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
    tonic
        Range of the tonic, octaves above the middle of the speaking voice.
    overtone
        Whether one harmonic after the other is brought out, as throat singers do.
    """

    note_s: tuple[float, float]
    repeat: float
    step: int
    melisma: float
    tonic: tuple[float, float] = (-0.2, 1.0)
    overtone: bool = False


STYLES: Final[tuple[Style, ...]] = (
    Style(note_s=(0.2, 0.7), repeat=0.15, step=2, melisma=0.1),
    Style(note_s=(0.4, 1.6), repeat=0.1, step=3, melisma=0.25),
    Style(note_s=(0.8, 2.6), repeat=0.1, step=3, melisma=0.35),
    Style(note_s=(0.18, 0.5), repeat=0.75, step=1, melisma=0.08),
    Style(note_s=(0.25, 1.2), repeat=0.2, step=2, melisma=0.6),
    Style(note_s=(0.3, 1.5), repeat=0.15, step=3, melisma=0.3, tonic=(0.7, 1.7)),
    Style(note_s=(0.6, 2.4), repeat=0.35, step=1, melisma=0.4, tonic=(-1.0, 0.0)),
    Style(note_s=(0.2, 0.7), repeat=0.85, step=1, melisma=0.05, tonic=(-0.9, 0.2)),
    Style(note_s=(2.0, 6.0), repeat=0.8, step=1, melisma=0.0, tonic=(-1.0, 0.2)),
    Style(note_s=(2.0, 6.0), repeat=0.9, step=1, melisma=0.0, tonic=(-1.0, 0.0), overtone=True),
)


@dataclass(frozen=True)
class Melody:
    """Notes as frames: pitch (before vibrato; 0 in a rest), time since the note began, and which syllable."""

    note_hz: Float64Array
    since_note_s: Float64Array
    syllable: npt.NDArray[np.intp]


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


def random_tonic_hz(voice: Voice, style: Style, rng: np.random.Generator) -> float:
    """A tonic in the style's range above the speaking voice; 150 Hz where there is no voice."""
    spoken_hz = voice.f0_hz[voice.f0_hz > 0]
    middle_hz = float(np.median(spoken_hz)) if spoken_hz.size else 150.0
    return float(np.clip(middle_hz * 2 ** rng.uniform(*style.tonic), 62, 700))


def write_melody(style: Style, rng: np.random.Generator, *, tonic_hz: float, length_s: float) -> Melody:
    """A melody of about `length_s`, at least one note."""
    scale = SCALES[rng.integers(len(SCALES))]
    shortest, longest = style.note_s
    beat_s = rng.uniform(shortest, longest)
    degree = int(rng.integers(0, len(scale)))
    notes: list[Float64Array] = []
    since: list[Float64Array] = []
    which: list[npt.NDArray[np.intp]] = []
    total = index = 0
    while total * FRAME_S < length_s:
        count = int(rng.integers(2, 6)) if rng.random() < style.melisma else 1
        for _ in range(count):
            if rng.random() >= style.repeat:
                degree += int(rng.integers(-style.step, style.step + 1))
                degree = int(np.clip(degree, -3, len(scale) + 2))
            octave, place = divmod(degree, len(scale))
            span_s = beat_s * rng.choice([0.5, 1, 1, 1, 2]) * rng.uniform(0.85, 1.15)
            span_s = float(np.clip(span_s, shortest, 1.5 * longest)) / np.sqrt(count)
            frames = max(12, round(span_s / FRAME_S))
            notes.append(np.full(frames, tonic_hz * 2 ** (octave + scale[place] / 12)))
            since.append(np.arange(frames) * FRAME_S)
            which.append(np.full(frames, index))
            total += frames
        index += 1
        if rng.random() < 0.08:
            rest = int(rng.uniform(0.1, 0.5) / FRAME_S)
            notes.append(np.zeros(rest))
            since.append(np.zeros(rest))
            which.append(np.full(rest, -1))
            total += rest
    return Melody(np.concatenate(notes), np.concatenate(since), np.concatenate(which))


def set_words(voice: Voice, melody: Melody, *, first: int = 0) -> Score | None:
    """Give each syllable of a melody one of `voice`, from its `first` on; None without two of them."""
    found = syllables(voice)
    if len(found) < 2:
        return None
    source_frame = np.full(len(melody.syllable), float(np.argmin(voice.level)))
    for index in range(int(melody.syllable.max()) + 1):
        at = melody.syllable == index
        source_frame[at] = _stretch(*found[(first + index) % len(found)], int(at.sum()))
    voiced = voice.f0_hz[np.clip(np.rint(source_frame).astype(int), 0, len(voice) - 1)] > 0
    return Score(source_frame=source_frame, note_hz=melody.note_hz * voiced, since_note_s=melody.since_note_s)


def _stretch(start: int, centre: int, end: int, length: int) -> Float64Array:
    """Frames of a syllable over `length` frames: its edges keep their pace, its middle is held."""
    core = 5
    head, tail = max(0, centre - core - start), max(0, end - centre - core)
    if head + tail + 4 > length:
        return np.linspace(start, end, length)
    points = [0, head, length - 1 - tail, length - 1]
    places = [start, centre - core, centre + core, end]
    return np.interp(np.arange(length), points, places)


def perform(voice: Voice, score: Score, rng: np.random.Generator, *, overtone: bool = False) -> Float32Array:
    """Sing a score: portamento, vibrato, drift, and a voice placed somewhere from soft to full.

    With `overtone` one harmonic after the other, between 0.8 and 2.6 kHz, is brought out.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5.
    """
    voiced = score.note_hz > 0
    if not voiced.any():
        return np.zeros(len(voiced) * FRAME_SAMPLES, np.float32)
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
    ring = _whistled(score, rng) if overtone else Ring(gain_db=float(rng.choice([0.0, rng.uniform(3, 12)])))
    return synthesise(
        voice,
        score.source_frame + np.clip(_slow_noise(len(cents), 4.0, rng), -1, 1) * 1.5,
        np.where(voiced, np.clip(2 ** (cents / 1200), 50, 1200), 0.0),
        rng,
        formant_ratio=float(rng.uniform(0.85, 1.2)),
        tilt_db_per_octave=float(rng.uniform(-4, 3)),
        ring=ring,
        breath=float(rng.uniform(0.02, 0.25)),
    )


def _whistled(score: Score, rng: np.random.Generator) -> Ring:
    """A narrow resonance that steps along the harmonics of what is sung."""
    drone_hz = float(np.median(score.note_hz[score.note_hz > 0]))
    low, high = int(np.ceil(800 / drone_hz)), max(int(2600 / drone_hz), int(np.ceil(800 / drone_hz)) + 1)
    harmonics: list[Float64Array] = []
    place, total = int(rng.integers(low, high)), 0
    while total < len(score.note_hz):
        frames = int(rng.uniform(0.2, 1.2) / FRAME_S)
        place = int(np.clip(place + rng.integers(-2, 3), low, high))
        harmonics.append(np.full(frames, place * drone_hz))
        total += frames
    return Ring(
        gain_db=float(rng.uniform(15, 28)),
        hertz=np.concatenate(harmonics)[: len(score.note_hz)],
        width_hz=float(rng.uniform(60, 160)),
    )


def sing(samples: Float32Array, rng: np.random.Generator, *, length_s: float) -> Float32Array:
    """A spoken recording as solo singing.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz; empty where the recording holds too little voice.
    """
    voice = analyse(samples)
    style = STYLES[rng.integers(len(STYLES))]
    melody = write_melody(style, rng, tonic_hz=random_tonic_hz(voice, style, rng), length_s=length_s)
    score = set_words(voice, melody, first=int(rng.integers(100)))
    return np.zeros(0, np.float32) if score is None else perform(voice, score, rng, overtone=style.overtone)


def sing_together(recordings: Sequence[Float32Array], rng: np.random.Generator, *, length_s: float) -> Float32Array:
    """Spoken recordings as a choir: unison, octaves, parallel intervals or chords, now and then over a drone.

    The singers share a melody and, one time in two, its words; each has a voice, a delay, a tuning
    and a vibrato of their own.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5; empty where no recording holds enough voice.
    """
    voices = [analyse(one) for one in recordings]
    style = STYLES[rng.integers(len(STYLES))]
    tonic_hz = random_tonic_hz(voices[0], style, rng)
    melody = write_melody(style, rng, tonic_hz=tonic_hz, length_s=length_s)
    held = np.full(len(melody.note_hz), tonic_hz * 2 ** float(rng.choice([-1, 0, 0])), np.float64)
    drone = Melody(held, np.arange(len(held), dtype=np.float64) * FRAME_S, np.maximum(melody.syllable, 0) // 4)
    drones = int(rng.integers(1, 3)) if rng.random() < 0.25 else 0
    intervals = _PARTS[rng.integers(len(_PARTS))]
    same_words = rng.random() < 0.5
    tuning, lateness_s = rng.uniform(0.05, 0.3), rng.uniform(0.005, 0.08)
    mixed = np.zeros(len(held) * FRAME_SAMPLES, np.float32)
    for singer in range(int(rng.integers(3, 8))):
        voice = voices[singer % len(voices)]
        part = drone if singer < drones else melody
        score = set_words(voice, part, first=0 if same_words else int(rng.integers(100)))
        if score is None:
            continue
        late = int(abs(rng.normal(0, lateness_s)) / FRAME_S)
        interval = 0.0 if singer < drones else intervals[singer % len(intervals)]
        own = Score(
            source_frame=np.roll(score.source_frame, late),
            note_hz=np.roll(score.note_hz, late) * 2 ** ((interval + rng.normal(0, tuning)) / 12),
            since_note_s=np.roll(score.since_note_s, late),
        )
        mixed += perform(voice, own, rng) * np.float32(rng.uniform(0.4, 1.0))
    peak = float(np.abs(mixed).max())
    return mixed * np.float32(0.5 / peak) if peak > 0 else np.zeros(0, np.float32)


#: Semitones of the parts above the melody.
_PARTS: Final[tuple[tuple[float, ...], ...]] = (
    (0,),
    (0,),
    (0, 0, 12),
    (0, -12, 0, 12),
    (0, 7),
    (0, -5),
    (0, 2),
    (0, 4, 7, 12),
    (0, 3, 7, -12),
    (0, 7, 0, -5),
    (0, -4, -9),
)


def respeak(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A spoken recording through the vocoder with another intonation, tempo and tract.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5.
    """
    spread = float(rng.choice([rng.uniform(0.0, 0.5), rng.uniform(0.7, 1.2), rng.uniform(1.2, 2)]))
    return _revoice(analyse(samples), rng, octaves=rng.uniform(-0.5, 0.8), spread=spread)


def whisper(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A spoken recording as if it had been whispered.

    Without the folds there is no pitch, vowels lose far more than consonants do, most of it below
    the first formant, and formants lie higher (Ito, Takeda and Itakura, "Analysis and recognition of
    whispered speech", Speech Communication 45(2), 2005, section 2).

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5.
    """
    voice = analyse(samples)
    hertz = np.arange(voice.log_envelope.shape[1]) * (SAMPLE_RATE_HZ / 2) / (voice.log_envelope.shape[1] - 1)
    octaves_below = np.log2(np.maximum(rng.uniform(600, 1000) / np.maximum(hertz, 60.0), 1.0))
    loss_db = rng.uniform(4, 14) + rng.uniform(6, 14) * octaves_below
    voiced = (voice.f0_hz > 0)[:, None]
    source_frame = np.arange(0, len(voice) - 1, float(2 ** rng.uniform(-0.5, 0.3)))
    return synthesise(
        replace(voice, log_envelope=voice.log_envelope - np.where(voiced, loss_db * np.log(10) / 20, 0.0)),
        source_frame,
        np.zeros(len(source_frame)),
        rng,
        formant_ratio=float(rng.uniform(0.95, 1.25)),
        tilt_db_per_octave=float(rng.uniform(-2, 2)),
    )


def resing(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A recording of one singer through the vocoder at another pitch and tempo, by another tract.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5; empty where there is too little of one clear voice.
    """
    voice = analyse(samples)
    if np.mean(voice.f0_hz > 0) < _CLEAR_VOICE:
        return np.zeros(0, np.float32)
    return _revoice(voice, rng, octaves=rng.uniform(-0.8, 0.8), spread=1.0)


def _revoice(voice: Voice, rng: np.random.Generator, *, octaves: float, spread: float) -> Float32Array:
    tempo = float(2 ** rng.uniform(-0.6, 0.6))
    source_frame = np.arange(0, len(voice) - 1, tempo)
    f0_hz = voice.f0_hz[np.rint(source_frame).astype(int)]
    voiced = f0_hz > 0
    if voiced.any():
        middle_hz = float(np.median(f0_hz[voiced]))
        f0_hz[voiced] = np.clip(middle_hz * 2**octaves * (f0_hz[voiced] / middle_hz) ** spread, 50.0, 900.0)
    return synthesise(
        voice,
        source_frame,
        f0_hz,
        rng,
        formant_ratio=float(rng.uniform(0.85, 1.25)),
        tilt_db_per_octave=float(rng.uniform(-4, 3)),
        ring=Ring(gain_db=float(rng.choice([0.0, rng.uniform(3, 12)]))),
        breath=float(rng.uniform(0.02, 0.4)),
    )


def _slow_noise(length: int, rate_hz: float, rng: np.random.Generator) -> Float64Array:
    """Unit-variance noise below `rate_hz`, one value per frame."""
    points = max(4, int(length * FRAME_S * rate_hz) + 2)
    values: npt.NDArray[np.float64] = rng.standard_normal(points)
    return np.interp(np.linspace(0, points - 1, length), np.arange(points), values)
