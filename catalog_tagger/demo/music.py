"""Pieces of music by our own hand: a style, a seed and a length give a stereo recording.

A piece is a chord progression that goes round, one bar a chord, and four parts over it: chords,
bass, melody and drums, each optional. The melody is a random walk on the scale that lands on chord
tones on strong beats; its two-bar motifs come back as A A B A, since a tune that never returns
does not sound like one. Timing and loudness of every note waver a little, as hands do.
The same arguments give the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from catalog_tagger.demo import instruments
from catalog_tagger.demo.instruments import Samples

Stereo: TypeAlias = npt.NDArray[np.float32]

_SCALES: Final = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}

#: Drum patterns over one bar, in steps of half a beat: k kick, s snare, h hi-hat, o open hi-hat.
_DRUMS: Final = {
    "rock": ("kh", "h", "sh", "h", "kh", "kh", "sh", "o"),
    "dance": ("kh", "o", "ksh", "o", "kh", "o", "ksh", "o"),
    "swing": ("h", "", "sh", "h", "h", "", "sh", "h"),
    "bossa": ("kh", "h", "h", "ksh", "kh", "h", "sh", "kh"),
    "shaker": ("h", "h", "h", "h", "h", "h", "h", "h"),
    "waltz": ("kh", "", "h", "", "h", ""),
}


@dataclass(frozen=True)
class Style:
    """What a piece is made of; instruments are names of `instruments.PITCHED`, None leaves a part out."""

    title: str
    beats_per_minute: float
    root: int
    """MIDI note of the scale's first degree, between 45 and 62."""
    scale: str
    progression: tuple[int, ...]
    """Scale degrees (0 = tonic) of the chords, one bar each."""
    chords: str | None
    figure: str = "hold"
    """How chords are played: hold, arpeggio, strum, pulse (once a beat), offbeat."""
    bass: str | None = None
    walking: bool = False
    melody: str | None = None
    drums: str | None = None
    beats_per_bar: int = 4
    swing: float = 0.0
    """How late the second half of every beat comes, in beats."""
    room_s: float = 0.8
    """Reverberation time to -60 dB."""


STYLES: Final = (
    Style("Harbour Lights", 96, 55, "major", (0, 4, 5, 3), "pluck", "arpeggio", "bass", melody="flute", drums="shaker"),
    Style("Grey Morning", 72, 50, "minor", (0, 5, 2, 6), "piano", "arpeggio", melody="piano", room_s=1.6),
    Style("Iron Road", 132, 52, "mixolydian", (0, 6, 3, 0), "pluck", "strum", "bass", melody="brass", drums="rock"),
    Style("Chorale for a Winter", 66, 57, "major", (0, 3, 4, 0, 5, 3, 4, 0), "strings", melody="strings", room_s=2.2),
    Style("Toccata in Dust", 104, 50, "minor", (0, 3, 6, 2, 5, 3, 4, 0), "organ", melody="organ", room_s=2.8),
    Style("Clockwork Garden", 120, 60, "dorian", (0, 0, 3, 6), "marimba", "arpeggio", "bass", drums="shaker"),
    Style("Night Tram", 124, 57, "minor", (0, 5, 2, 6), "organ", "offbeat", "bass", melody="bell", drums="dance"),
    Style(
        "Waltz for the Neighbours", 156, 53, "major", (0, 5, 1, 4), "piano", "pulse", "bass", melody="flute",
        drums="waltz", beats_per_bar=3,
    ),
    Style(
        "Corner of Fifth", 138, 58, "dorian", (1, 4, 0, 0), "piano", "offbeat", "bass", True, "brass", "swing",
        swing=0.16,
    ),
    Style("Lullaby of the Ferry", 84, 60, "major", (0, 3, 0, 4), "strings", "hold", melody="bell", room_s=1.8),
    Style("Tangerine", 128, 55, "major", (0, 1, 4, 0), "pluck", "strum", "bass", melody="flute", drums="bossa"),
    Style("The Miller's Daughter", 108, 50, "dorian", (0, 6, 0, 4), "pluck", "arpeggio", melody="pluck"),
)  # fmt: skip


def compose(style: Style, *, seed: int, length_s: float, rate_hz: int) -> Stereo:
    """Play `style` for `length_s`.

    Returns
    -------
    ndarray
        Shape (2, samples), float32, peak 0.8.
    """
    rng = np.random.default_rng([seed, *style.title.encode()])
    beat_s = 60.0 / style.beats_per_minute
    bar_s = beat_s * style.beats_per_bar
    n = int(length_s * rate_hz)
    mix = np.zeros((2, n), dtype=np.float32)
    melody = list(_melody(style, rng, bars=int(length_s / bar_s) + 1))

    def add(sound: Samples, at_beats: float, *, gain: float, pan: float) -> None:
        half = at_beats % 1.0 >= 0.5
        at_s = (at_beats + style.swing * half) * beat_s + max(0.0, float(rng.normal(0.004, 0.004)))
        start = int(at_s * rate_hz)
        sound = sound[: max(0, n - start)] * np.float32(gain * rng.uniform(0.8, 1.0))
        mix[0, start : start + len(sound)] += sound * np.float32(np.cos((pan + 1.0) * np.pi / 4))
        mix[1, start : start + len(sound)] += sound * np.float32(np.sin((pan + 1.0) * np.pi / 4))

    for bar in range(int(length_s / bar_s) + 1):
        chord = _chord(style, style.progression[bar % len(style.progression)])
        first = bar * style.beats_per_bar
        if style.chords:
            for at, notes, beats in _figure(style, chord):
                for voice, note in enumerate(notes):
                    sound = _note(style.chords, note, beats * beat_s, rate_hz)
                    add(sound, first + at, gain=0.32, pan=-0.4 + 0.25 * voice)
        if style.bass:
            for at, note, beats in _bass_line(style, chord):
                add(_note(style.bass, note, beats * beat_s, rate_hz), first + at, gain=0.5, pan=0.0)
        if style.drums:
            for step, hits in enumerate(_DRUMS[style.drums]):
                for hit in hits:
                    sound, gain, pan = _drum(hit, rate_hz)
                    add(sound, first + step / 2, gain=gain, pan=pan)
    if style.melody:
        for at, note, beats in melody:
            add(_note(style.melody, note, beats * beat_s, rate_hz), at, gain=0.45, pan=0.2)

    mix = _room(mix, style.room_s, rate_hz)
    fade = min(n, rate_hz)
    mix[:, n - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return np.asarray(0.8 * mix / np.abs(mix).max(), dtype=np.float32)


def _degree(style: Style, degree: int) -> int:
    """MIDI note of a scale degree, which may lie octaves below or above."""
    octave, step = divmod(degree, 7)
    return style.root + 12 * octave + _SCALES[style.scale][step]


def _chord(style: Style, degree: int) -> list[int]:
    """Triad on a scale degree, turned so that it stays near the root: chords should glide, not leap."""
    notes = [_degree(style, degree + third) for third in (0, 2, 4)]
    return sorted(note - 12 if note > style.root + 11 else note for note in notes)


def _figure(style: Style, chord: list[int]) -> Iterator[tuple[float, list[int], float]]:
    """(beat, notes, beats held) of one bar of the chord part."""
    beats = style.beats_per_bar
    if style.figure == "hold":
        yield 0.0, chord, beats + 0.1
    elif style.figure == "arpeggio":
        ladder = [chord[0] - 12, *chord, chord[0] + 12, *reversed(chord)]
        for step in range(2 * beats):
            yield step / 2, [ladder[step % len(ladder)]], 1.5
    elif style.figure == "strum":
        for at, held in ((0.0, 1.0), (1.0, 0.5), (1.5, 1.0), (2.5, 0.5), (3.0, 1.0)):
            for string, note in enumerate([*chord, chord[0] + 12]):
                yield at + 0.02 * string, [note], held
    elif style.figure == "pulse":
        for beat in range(1, beats):
            yield float(beat), chord, 0.6
    else:
        for beat in range(beats):
            yield beat + 0.5, chord, 0.35


def _bass_line(style: Style, chord: list[int]) -> Iterator[tuple[float, int, float]]:
    low = [note - 24 if note >= 60 else note - 12 for note in chord]
    if style.walking:
        for beat, note in enumerate((low[0], low[1], low[2], low[1])):
            yield float(beat), note, 0.9
    elif style.beats_per_bar == 3:
        yield 0.0, low[0], 1.0
    else:
        for at, note, beats in ((0.0, low[0], 1.4), (1.5, low[0], 0.5), (2.0, low[2], 1.0), (3.0, low[0], 0.9)):
            yield at, note, beats


def _melody(style: Style, rng: np.random.Generator, *, bars: int) -> Iterator[tuple[float, int, float]]:
    """(beat, note, beats held) of a tune whose two-bar motifs return as A A B A."""
    beats = 2 * style.beats_per_bar
    motifs = [_motif(rng, beats), _motif(rng, beats)]
    for pair in range(-(-bars // 2)):
        tonic = style.progression[2 * pair % len(style.progression)]
        for at, step, held in motifs[(0, 0, 1, 0)[pair % 4]]:
            strong = at % 2.0 == 0.0
            degree = 7 + (tonic + 2 * round(step / 2) if strong else tonic + step)
            yield pair * beats + at, _degree(style, degree - 7 * (degree > 14)), held


def _motif(rng: np.random.Generator, beats: int) -> list[tuple[float, int, float]]:
    """(beat, steps above the chord's root, beats held): a walk in steps, seldom a leap, with a rest at the end."""
    notes, at, step = [], 0.0, int(rng.integers(0, 5))
    while at < beats - 1:
        held = float(rng.choice([0.5, 1.0, 1.5, 2.0], p=[0.4, 0.4, 0.1, 0.1]))
        notes.append((at, step, held + 0.1))
        at += held
        step = int(np.clip(step + rng.choice([-4, -2, -1, 1, 2, 4], p=[0.04, 0.1, 0.38, 0.38, 0.06, 0.04]), -3, 8))
    return notes


def _note(instrument: str, note: int, length_s: float, rate_hz: int) -> Samples:
    return _render(instrument, note, round(length_s, 3), rate_hz)


@lru_cache(maxsize=512)
def _render(instrument: str, note: int, length_s: float, rate_hz: int) -> Samples:
    """A piece plays the same few dozen notes again and again; callers never write into them."""
    return instruments.PITCHED[instrument](note, length_s, rate_hz)


@lru_cache(maxsize=32)
def _drum(hit: str, rate_hz: int) -> tuple[Samples, float, float]:
    """(sound, gain, pan) of a letter of `_DRUMS`."""
    if hit == "k":
        return instruments.kick(rate_hz), 0.9, 0.0
    if hit == "s":
        return instruments.snare(rate_hz), 0.5, -0.1
    return instruments.hat(rate_hz, 0.06 if hit == "h" else 0.25), 0.16, 0.35


def _room(dry: Stereo, reverberation_s: float, rate_hz: int) -> Stereo:
    """Add a room: noise that decays by 60 dB in `reverberation_s`, another on each side."""
    rng = np.random.default_rng(4)
    n = int(reverberation_s * rate_hz)
    tail = rng.standard_normal((2, n)) * 10.0 ** (-3.0 * np.arange(n) / n)
    tail[:, : int(0.008 * rate_hz)] = 0.0
    tail *= 0.3 / np.sqrt((tail**2).sum(axis=1, keepdims=True))
    size = 1 << (dry.shape[1] + n - 1).bit_length()
    spectrum = np.fft.rfft(dry, size) * np.fft.rfft(tail.astype(np.float32), size)
    return np.asarray(dry + np.fft.irfft(spectrum, size)[:, : dry.shape[1]], dtype=np.float32)
