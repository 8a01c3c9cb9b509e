"""The sounds that scenes are put together from: excerpts of recordings through random studios and rooms.

A layer is one sound of one kind (`SPEECH`, `MUSIC`, `NEITHER`, `UNKNOWN`), with the 10 ms frames in
which it is not silent by its own gate. A `BED` and a `VOCAL` are asked for, and are music: what
people speak and sing over, mostly produced, and what they sing. Every kind passes the same effects
with the same odds, so that no effect can stand for a label.

`Banks` makes a new layer each time. `LayerPool` makes a fixed number of them by a seed and hands
out windows of those: a layer costs as much as everything else about a scene, and one that was
already heard is new in another window, at another level, beside another partner, over another line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, pcm_to_float
from catalog_tagger.training import effects, sounds
from catalog_tagger.training.bank import Bank, BoolArray, Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db

Float32Array = npt.NDArray[np.float32]
SPEECH, MUSIC, NEITHER, UNKNOWN = "speech", "music", "neither", "unknown"
BED: Final = "bed"
VOCAL: Final = "vocal"
GRID: Final = 800  # lengths are multiples of 50 ms: quick to transform
_WINDOW_TRIES: Final = 4
_CROWDS: Final = 0.06
_PRODUCED_BEDS: Final = 0.6
_REAL_VOCALS: Final = 0.45


@dataclass(frozen=True)
class Layer:
    """One sound of the scene's length with the 10 ms frames in which it is not silent."""

    kind: str
    samples: Float32Array
    active: BoolArray


class LayerSource(Protocol):
    """Whatever answers with layers."""

    def layer(self, kind: str, length: int, rng: np.random.Generator) -> Layer:
        """A layer of a kind, a bed or a vocal, `length` samples (a multiple of `GRID`, at most 5 s)."""
        ...


@dataclass(frozen=True)
class Banks:
    """Where layers come from; `sung` and `respoken` are made by `synthetic`."""

    speech: Bank
    respoken: Bank
    music: Bank
    singing: Bank
    sung: Bank
    notes: Bank
    noise: Bank
    unknown: Bank

    def layer(self, kind: str, length: int, rng: np.random.Generator) -> Layer:
        """A new layer."""
        if kind == SPEECH:
            return speech_layer(self, length, rng)
        if kind == MUSIC:
            return music_layer(self, length, rng)
        if kind == BED:
            return bed_layer(self, length, rng)
        if kind == VOCAL:
            return vocal_layer(self, length, rng)
        if kind == UNKNOWN and (self.unknown or self.notes):
            return unknown_layer(self, length, rng)
        return noise_layer(self, length, rng)


class LayerPool:
    """Layers of 5 s made once, handed out in windows.

    Parameters
    ----------
    banks
        What they are made of.
    seed
        Equal seeds, equal pools.
    sizes
        How many of each kind; kinds that are not named are made anew each time.
    """

    def __init__(self, banks: Banks, *, seed: Sequence[int], sizes: dict[str, int]) -> None:
        self._banks = banks
        rng = np.random.default_rng(seed)
        self._layers = {
            kind: [banks.layer(kind, SEGMENT_SAMPLES, rng) for _ in range(size)] for kind, size in sizes.items()
        }

    def layer(self, kind: str, length: int, rng: np.random.Generator) -> Layer:
        """A window of one of the layers, preferably not a pause, upright or upside down."""
        ready = self._layers.get(kind)
        if not ready:
            return self._banks.layer(kind, length, rng)
        whole = ready[int(rng.integers(len(ready)))]
        sign = np.float32(rng.choice([-1.0, 1.0]))
        frames = length // LEVEL_HOP_SAMPLES
        start = 0
        for _ in range(_WINDOW_TRIES):
            start = int(rng.integers(0, whole.active.size - frames + 1))
            if whole.active[start : start + frames].mean() > 0.25:
                break
        first = start * LEVEL_HOP_SAMPLES
        return Layer(whole.kind, sign * whole.samples[first : first + length], whole.active[start : start + frames])


def speech_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Speech, as recorded or resynthesised; seldom a crowd, each for itself or in unison."""
    bank = banks.respoken if banks.respoken and rng.random() < 0.17 else banks.speech
    if rng.random() < _CROWDS:
        return _treated(SPEECH, *_crowd(bank, length, rng), rng)
    samples, active = _excerpt(bank, length, rng, octaves=0.15, wide=0.67)
    if rng.random() < 0.03:
        samples = effects.unison(samples, rng)
    return _treated(SPEECH, samples, active, rng)


def music_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Music of any kind: produced, sung alone or together, made of single notes."""
    draw = rng.random()
    if draw < 0.22 and banks.singing:
        bank = banks.singing
    elif draw < 0.50 and banks.sung:
        bank = banks.sung
    elif draw < 0.57 and banks.notes:
        return _treated(MUSIC, *_note_sequence(banks.notes, length, rng), rng)
    else:
        return _produced_layer(banks.music, length, rng)
    return _sung_layer(bank, length, rng)


def bed_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Music to speak over: mostly produced, now and then any."""
    if banks.music and rng.random() < _PRODUCED_BEDS:
        return _produced_layer(banks.music, length, rng)
    return music_layer(banks, length, rng)


def vocal_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Singing, by singers or out of speech; any music where there is neither."""
    real = banks.singing and (not banks.sung or rng.random() < _REAL_VOCALS)
    bank = banks.singing if real else banks.sung
    return _sung_layer(bank, length, rng) if bank else music_layer(banks, length, rng)


def noise_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Something that is neither speech nor music."""
    if banks.noise and rng.random() < 0.62:
        return _treated(NEITHER, *_excerpt(banks.noise, length, rng, octaves=0.4, wide=0.67), rng)
    if rng.random() < 0.15:
        samples = sounds.near_silence(length, rng)
        return Layer(NEITHER, samples, np.zeros(frame_count(length), bool))
    return _treated(NEITHER, sounds.random_sound(length, rng), np.ones(frame_count(length), bool), rng)


def unknown_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """A lone note, or a sound that may be music or none; certainly no speech."""
    bank = banks.unknown if banks.unknown and rng.random() < 0.5 else banks.notes
    excerpt = _excerpt(bank or banks.unknown, length, rng, octaves=0.4, wide=0.5, fill=False)
    return _treated(UNKNOWN, *excerpt, rng)


def frame_count(length: int) -> int:
    """10 ms frames of so many samples."""
    return -(-length // LEVEL_HOP_SAMPLES)


def relative(layer: Layer, reference: Layer, level_db: float) -> Layer:
    """`layer` at `level_db` above the reference, both measured where they are active."""
    own = effects.rms(layer.samples, layer.active)
    other = effects.rms(reference.samples, reference.active)
    if own < 1e-6 or other < 1e-6:
        return layer
    gain = np.float32(other / own * 10 ** (level_db / 20))
    return Layer(layer.kind, layer.samples * gain, layer.active)


def place(layer: Layer, start: int, length: int) -> Layer:
    """`layer` from sample `start` of a silence of `length` samples."""
    samples = np.zeros(length, np.float32)
    active = np.zeros(frame_count(length), bool)
    samples[start : start + layer.samples.size] = layer.samples
    frame = start // LEVEL_HOP_SAMPLES
    active[frame : frame + layer.active.size] = layer.active
    return Layer(layer.kind, samples, active)


def _excerpt(
    bank: Bank,
    length: int,
    rng: np.random.Generator,
    *,
    octaves: float,
    wide: float,
    fill: bool = True,
) -> tuple[Float32Array, BoolArray]:
    """So many samples of a recording, at a pitch up to `octaves` (seldom `wide`) from its own.

    What is too short is followed by more of its group after a pause, or, one time in two or where
    `fill` is off, stands alone somewhere in the silence.
    """
    span = wide if rng.random() < 0.2 else octaves
    speed = 2 ** rng.uniform(-span, span) if rng.random() < 0.5 else 1.0
    wanted = max(1, round(length * speed / GRID)) * GRID
    degraded = rng.random() < 0.3
    one, *more = bank.draw_group(rng, 9)
    out = np.zeros(wanted, np.float32)
    piece = _cut(one, wanted, rng, degraded=degraded)
    short = piece.size < wanted
    alone = not fill or rng.random() < 0.5
    start = int(rng.integers(0, wanted - piece.size + 1)) if short and alone else 0
    out[start : start + piece.size] = piece
    end = piece.size
    while short and not alone and more and end < wanted:
        end += int(rng.uniform(0.02, 0.4) * SAMPLE_RATE_HZ)
        if end < wanted:
            piece = _cut(more.pop(), wanted - end, rng, degraded=degraded)
            out[end : end + piece.size] = piece
            end += piece.size
    samples = effects.resample(out, length)
    return samples, frame_levels_db(samples) > one.gate_db


def _cut(recording: Recording, wanted: int, rng: np.random.Generator, *, degraded: bool) -> Float32Array:
    pcm = recording.degraded if degraded else recording.pcm
    size = min(wanted, pcm.size)
    threshold = 10 ** (recording.gate_db / 20) * 32768
    piece = pcm[:size]
    for _ in range(_WINDOW_TRIES):  # prefer a stretch that is not mostly a pause
        start = int(rng.integers(0, pcm.size - size + 1))
        piece = pcm[start : start + size]
        if np.mean(np.abs(piece[::37]) > 0.5 * threshold) > 0.25:
            break
    return pcm_to_float(piece)


def _crowd(bank: Bank, length: int, rng: np.random.Generator) -> tuple[Float32Array, BoolArray]:
    """Several who speak at once: what has many pitches, and is not music."""
    samples = np.zeros(length, np.float32)
    active = np.zeros(frame_count(length), bool)
    for _ in range(int(rng.integers(2, 9))):
        one, heard = _excerpt(bank, length, rng, octaves=0.15, wide=0.67)
        level = effects.rms(one, heard)
        if level > 1e-6:
            samples += one * np.float32(0.05 / level * 10 ** (rng.uniform(-8, 0) / 20))
            active |= heard
    return samples, active


def _produced_layer(bank: Bank, length: int, rng: np.random.Generator) -> Layer:
    return _treated(MUSIC, *_excerpt(bank, length, rng, octaves=0.3, wide=0.7), rng)


def _sung_layer(bank: Bank, length: int, rng: np.random.Generator) -> Layer:
    samples, active = _excerpt(bank, length, rng, octaves=0.3, wide=0.7)
    if rng.random() < 0.2:
        samples = effects.unison(samples, rng)
    return _treated(MUSIC, samples, active, rng)


def _note_sequence(notes: Bank, length: int, rng: np.random.Generator) -> tuple[Float32Array, BoolArray]:
    """A phrase out of a few single notes of one instrument, repeated, overlapping, in chords."""
    chosen = notes.draw_group(rng, int(rng.integers(2, 6)))
    out = np.zeros(length + 1, np.float32)
    beat = int(rng.uniform(0.1, 0.5) * SAMPLE_RATE_HZ)
    at = 0
    while at < length:
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            one = chosen[int(rng.integers(len(chosen)))]
            cut = int(rng.integers(beat // 2, 4 * beat))
            piece = pcm_to_float(one.pcm[: min(cut, length - at)])
            peak = float(np.abs(piece).max()) if piece.size else 0.0
            if peak > 0:
                fade = min(400, piece.size)
                piece[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
                out[at : at + piece.size] += piece * np.float32(rng.uniform(0.3, 1) * 0.3 / peak)
        at += beat * int(rng.choice([1, 1, 2]))
    samples = out[:length]
    return samples, frame_levels_db(samples) > -55.0


def _treated(kind: str, samples: Float32Array, active: BoolArray, rng: np.random.Generator) -> Layer:
    """A layer through a random studio, room and equaliser."""
    if rng.random() < 0.16:
        samples = effects.random_effect(samples, rng)
    room, equaliser = rng.random() < 0.3, rng.random() < 0.5
    if room or equaliser:
        samples = effects.colour(samples, rng, room=room, equaliser=equaliser)
    return Layer(kind, samples, active)
