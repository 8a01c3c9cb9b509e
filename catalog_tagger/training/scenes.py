"""Five seconds put together out of recordings, and the labels that follow from what was put in.

A scene is one or more layers (speech, music, something that is neither) of one length between
0.3 s and 5 s, then zeros to 5 s, as the last segment of a track has them. Every class comes in
every length and through every effect: neither padding nor an artefact can stand for a label.

Labels, in the order `LABELS`, follow from how long a layer is *audible*: not silent by its own
gate, and at most `MASKED_DB` below everything else in the same 10 ms.

- present: audible for `SPEECH_S` (`MUSIC_S`), or for half of a shorter scene;
- absent: audible for less than 20 ms;
- between the two: the label has weight 0 and teaches nothing.

Lone notes and sounds that may be either (`unknown`) are certainly not speech; whether they are
music is left open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, pcm_to_float
from catalog_tagger.training import effects, sounds
from catalog_tagger.training.bank import Bank, BoolArray, Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db

Float32Array = npt.NDArray[np.float32]
LABELS: Final = ("speech", "music")
SPEECH, MUSIC, NEITHER, UNKNOWN = "speech", "music", "neither", "unknown"
SPEECH_S: Final = 0.4
MUSIC_S: Final = 1.0
ABSENT_S: Final = 0.02
MASKED_DB: Final = 20.0
_GRID: Final = 800  # lengths are multiples of 50 ms: quick to transform


@dataclass(frozen=True)
class Banks:
    """Where layers come from; `sung` and `respoken` are made by `singing`."""

    speech: Bank
    respoken: Bank
    music: Bank
    singing: Bank
    sung: Bank
    notes: Bank
    noise: Bank
    unknown: Bank


@dataclass(frozen=True)
class Layer:
    """One sound of the scene's length with the 10 ms frames in which it is not silent."""

    kind: str
    samples: Float32Array
    active: BoolArray


@dataclass(frozen=True)
class Scene:
    """A training example: float32 [shape=(80000,)], and target and weight per label."""

    samples: Float32Array
    target: tuple[float, float]
    weight: tuple[float, float]
    recipe: str


#: Shares of the recipes of `compose`, unless a training says otherwise.
RECIPES: Final[dict[str, float]] = {
    "speech": 0.27,
    "music": 0.33,
    "speech+music": 0.13,
    "neither": 0.17,
    "sequence": 0.07,
    "unknown": 0.03,
}


def compose(
    banks: Banks,
    rng: np.random.Generator,
    *,
    recipe: str | None = None,
    ratio_db: float | None = None,
    shares: Mapping[str, float] = RECIPES,
) -> Scene:
    """Draw a scene by the shares of the recipes, or one of a given recipe and speech-to-music ratio."""
    if recipe is None:
        weights = np.array(list(shares.values()))
        recipe = str(rng.choice(list(shares), p=weights / weights.sum()))
    length = _random_length(rng)
    if recipe == "speech+music":
        length = max(length, 16 * _GRID)
        layers = [speech_layer(banks, length, rng), music_layer(banks, length, rng)]
        ratio_db = float(rng.uniform(-15, 15)) if ratio_db is None else ratio_db
        layers = [layers[0], _relative(layers[1], layers[0], -ratio_db)]
    elif recipe == "sequence":
        length = max(length, 32 * _GRID)
        layers = _sequence(banks, length, rng)
    else:
        layers = [_layer(recipe, banks, length, rng)]
        if recipe == MUSIC and rng.random() < 0.15:
            other = music_layer(banks, length, rng)
            layers.append(_relative(other, layers[0], float(rng.uniform(-10, 6))))
    target, weight = labels(layers)
    samples = np.asarray(np.sum([layer.samples for layer in layers], axis=0), np.float32)
    if recipe != "neither" and rng.random() < 0.35:
        background = noise_layer(banks, length, rng)
        loud = Layer(recipe, samples, np.any([layer.active for layer in layers], axis=0))
        samples = samples + _relative(background, loud, -float(rng.uniform(-3, 35))).samples
    return Scene(_finish(samples, rng), target, weight, recipe)


def labels(layers: list[Layer]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Targets and weights per label, by the module's rule."""
    power = [np.maximum(10 ** (frame_levels_db(one.samples) / 10), 1e-12) for one in layers]
    total = np.sum(power, axis=0)
    audible_s = {kind: 0.0 for kind in (SPEECH, MUSIC, UNKNOWN)}
    for kind in audible_s:
        frames = np.zeros(len(total), bool)
        for layer, own in zip(layers, power, strict=True):
            if layer.kind == kind:
                others = np.maximum(total - own, 1e-12)
                frames |= layer.active & (10 * np.log10(own / others) > -MASKED_DB)
        audible_s[kind] = float(frames.sum()) / 100
    length_s = len(total) / 100
    speech = presence(audible_s[SPEECH], needed_s=min(SPEECH_S, 0.5 * length_s))
    music = presence(audible_s[MUSIC], needed_s=max(0.3, min(MUSIC_S, 0.5 * length_s)))
    if audible_s[UNKNOWN] >= ABSENT_S and music != (1.0, 1.0):
        music = (0.0, 0.0)
    return (speech[0], music[0]), (speech[1], music[1])


def presence(audible_s: float, *, needed_s: float) -> tuple[float, float]:
    """Target and weight of a label that is audible for so long."""
    if audible_s >= needed_s:
        return 1.0, 1.0
    return 0.0, (1.0 if audible_s < ABSENT_S else 0.0)


def speech_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Speech, as recorded or resynthesised."""
    bank = banks.respoken if banks.respoken and rng.random() < 0.15 else banks.speech
    return _treated(SPEECH, _excerpt(bank, length, rng, octaves=0.15, wide=0.67), rng)


def music_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Music of any kind: produced, sung alone, made of single notes."""
    draw = rng.random()
    if draw < 0.22 and banks.singing:
        bank = banks.singing
    elif draw < 0.46 and banks.sung:
        bank = banks.sung
    elif draw < 0.53 and banks.notes:
        return _treated(MUSIC, _note_sequence(banks.notes, length, rng), rng)
    else:
        bank = banks.music
    return _treated(MUSIC, _excerpt(bank, length, rng, octaves=0.25, wide=0.5), rng)


def noise_layer(banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    """Something that is neither speech nor music."""
    if banks.noise and rng.random() < 0.62:
        return _treated(NEITHER, _excerpt(banks.noise, length, rng, octaves=0.4, wide=0.67), rng)
    if rng.random() < 0.15:
        samples = sounds.near_silence(length, rng)
        return Layer(NEITHER, samples, np.zeros(_frames(length), bool))
    samples = sounds.random_sound(length, rng)
    return _treated(NEITHER, (samples, np.ones(_frames(length), bool)), rng)


def _layer(kind: str, banks: Banks, length: int, rng: np.random.Generator) -> Layer:
    if kind == SPEECH:
        return speech_layer(banks, length, rng)
    if kind == MUSIC:
        return music_layer(banks, length, rng)
    if kind == UNKNOWN and (banks.unknown or banks.notes):
        bank = banks.unknown if banks.unknown and rng.random() < 0.5 else banks.notes
        excerpt = _excerpt(bank or banks.unknown, length, rng, octaves=0.4, wide=0.5, fill=False)
        return _treated(UNKNOWN, excerpt, rng)
    return noise_layer(banks, length, rng)


def _sequence(banks: Banks, length: int, rng: np.random.Generator) -> list[Layer]:
    cut = int(length * rng.uniform(0.15, 0.85)) // _GRID * _GRID
    kinds = rng.choice([SPEECH, MUSIC, NEITHER], size=2, replace=False, p=[0.4, 0.4, 0.2])
    first = _layer(str(kinds[0]), banks, max(cut, 6 * _GRID), rng)
    second = _layer(str(kinds[1]), banks, max(length - cut, 6 * _GRID), rng)
    second = _relative(second, first, float(rng.uniform(-10, 10)))
    return [_place(first, 0, length), _place(second, length - second.samples.size, length)]


def _place(layer: Layer, start: int, length: int) -> Layer:
    samples = np.zeros(length, np.float32)
    active = np.zeros(_frames(length), bool)
    samples[start : start + layer.samples.size] = layer.samples
    frame = start // LEVEL_HOP_SAMPLES
    active[frame : frame + layer.active.size] = layer.active
    return Layer(layer.kind, samples, active)


def _random_length(rng: np.random.Generator) -> int:
    if rng.random() < 0.6:
        return SEGMENT_SAMPLES
    seconds = float(np.exp(rng.uniform(np.log(0.3), np.log(5.0))))
    return max(6, int(seconds * 20)) * _GRID


def _frames(length: int) -> int:
    return -(-length // LEVEL_HOP_SAMPLES)


def _relative(layer: Layer, reference: Layer, level_db: float) -> Layer:
    """`layer` at `level_db` above the reference, both measured where they are active."""
    own = effects.rms(layer.samples, layer.active)
    other = effects.rms(reference.samples, reference.active)
    if own < 1e-6 or other < 1e-6:
        return layer
    gain = np.float32(other / own * 10 ** (level_db / 20))
    return Layer(layer.kind, layer.samples * gain, layer.active)


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
    wanted = max(1, round(length * speed / _GRID)) * _GRID
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
    for _ in range(4):  # prefer a stretch that is not mostly a pause
        start = int(rng.integers(0, pcm.size - size + 1))
        piece = pcm[start : start + size]
        if np.mean(np.abs(piece[::37]) > 0.5 * threshold) > 0.25:
            break
    return pcm_to_float(piece)


def _note_sequence(notes: Bank, length: int, rng: np.random.Generator) -> tuple[Float32Array, BoolArray]:
    """A phrase out of a few single notes of one instrument, repeated, overlapping, in chords."""
    chosen = notes.draw_group(rng, int(rng.integers(2, 6)))
    out = np.zeros(length + 1, np.float32)
    beat = int(rng.uniform(0.1, 0.5) * SAMPLE_RATE_HZ)
    place = 0
    while place < length:
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            one = chosen[int(rng.integers(len(chosen)))]
            cut = int(rng.integers(beat // 2, 4 * beat))
            piece = pcm_to_float(one.pcm[: min(cut, length - place)])
            peak = float(np.abs(piece).max()) if piece.size else 0.0
            if peak > 0:
                fade = min(400, piece.size)
                piece[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
                out[place : place + piece.size] += piece * np.float32(rng.uniform(0.3, 1) * 0.3 / peak)
        place += beat * int(rng.choice([1, 1, 2]))
    samples = out[:length]
    return samples, frame_levels_db(samples) > -55.0


def _treated(kind: str, sound: tuple[Float32Array, BoolArray], rng: np.random.Generator) -> Layer:
    """A layer through a random studio, room and equaliser; the same odds for every kind."""
    samples, active = sound
    if rng.random() < 0.14:
        samples = effects.random_effect(samples, rng)
    room, equaliser = rng.random() < 0.25, rng.random() < 0.45
    if room or equaliser:
        samples = effects.colour(samples, rng, room=room, equaliser=equaliser)
    return Layer(kind, samples, active)


def _finish(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The recording of the scene: hiss, line, level, clipping, 16 bits, zeros to 5 s."""
    peak = float(np.abs(samples).max())
    if peak > 1e-3:  # what is nearly silent stays nearly silent
        samples = samples / np.float32(peak)
        if rng.random() < 0.25:
            hiss = 10 ** (rng.uniform(-75, -30) / 20)
            samples = samples + np.float32(hiss) * rng.standard_normal(samples.size, np.float32)
        if rng.random() < 0.15:
            samples = effects.colour(samples, rng, room=rng.random() < 0.3, equaliser=True)
        quiet = rng.random() < 0.2
        level_db = rng.uniform(-40, -15) if quiet else rng.uniform(-18, 0)
        if rng.random() < 0.06:
            level_db = rng.uniform(0, 14)  # clips
        peak = max(float(np.abs(samples).max()), 1e-6)
        samples = samples * np.float32(10 ** (level_db / 20) / peak)
    out = np.zeros(SEGMENT_SAMPLES, np.float32)
    room = SEGMENT_SAMPLES - samples.size
    start = int(rng.integers(0, room + 1)) if room and rng.random() < 0.2 else 0
    out[start : start + samples.size] = np.clip(np.rint(samples * 32768), -32768, 32767) / 32768
    return out
