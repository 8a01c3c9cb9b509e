"""Five seconds put together out of recordings, and the labels that follow from what was put in.

A scene is one or more layers (speech, music, something that is neither) of one length between
0.3 s and 5 s, then zeros to 5 s, as the last segment of a track has them. Every class comes in
every length and through every effect: neither padding nor an artefact can stand for a label.

Labels, in the order `LABELS`, follow from how long a layer is *audible*. A layer is audible in a
frame of 20 ms where it is not silent by its own gate and not *masked*: in at least
`UNMASKED_BANDS` bands of one Bark it lies at most `MASKED_DB` below everything else put together,
background noise included, and at most `FAINT_DB` below its own loudest band of the scene. Ears
find noise in noise of the same critical band down to about -5 dB and an organised sound somewhat
below; overall level says little, since a voice 15 dB under an orchestra is heard in its gaps.

- present: audible for `SPEECH_S` (`MUSIC_S`), or for half of a shorter scene;
- absent: no such layer was put in, or it is silent or masked but for less than 20 ms;
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

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from catalog_tagger.training import effects
from catalog_tagger.training.dealing import BLOCK
from catalog_tagger.training.layers import (
    BED,
    GRID,
    MUSIC,
    NEITHER,
    SPEECH,
    UNKNOWN,
    VOCAL,
    Banks,
    Layer,
    LayerPool,
    LayerSource,
    place,
    relative,
)

Float32Array = npt.NDArray[np.float32]
LABELS: Final = ("speech", "music")
SPEECH_S: Final = 0.4
MUSIC_S: Final = 1.0
ABSENT_S: Final = 0.02
MASKED_DB: Final = 6.0
FAINT_DB: Final = 45.0
UNMASKED_BANDS: Final = 2
_HOP: Final = 320
_WINDOW: Final = 512
#: Edges of Zwicker's critical bands within the range of the front end, Hz.
_BARK_HZ: Final = (
    *(100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480),
    *(1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300),
)
#: Layers in the pool that the batches of a block share: each is heard three or four times.
_POOL_SHARES: Final = {SPEECH: 0.16, MUSIC: 0.15, BED: 0.12, VOCAL: 0.05, NEITHER: 0.13}
_RATIO_DB: Final = 16.0
#: Of the voice over what accompanies it: from a choir behind a band to a singer far in front.
_SONG_DB: Final = (-8.0, 16.0)


@dataclass(frozen=True)
class Scene:
    """A training example: float32 [shape=(80000,)], and target and weight per label."""

    samples: Float32Array
    target: tuple[float, float]
    weight: tuple[float, float]
    recipe: str


#: Shares of the recipes of `compose`, unless a training says otherwise. A song is a voice that sings over
#: its accompaniment, as most of a catalogue's music is; a sequence one thing after another.
RECIPES: Final[dict[str, float]] = {
    "speech": 0.22,
    "music": 0.20,
    "song": 0.07,
    "speech+music": 0.26,
    "neither": 0.14,
    "sequence": 0.08,
    "unknown": 0.03,
}


class SceneSeries:
    """Batches of scenes; batch `i` depends on the seed and `i` alone.

    Every `BLOCK` batches in a row take their layers from one pool, which is kept until a
    batch of another pool is asked for: ask in order.
    """

    def __init__(self, banks: Banks, *, seed: int, batch_size: int, shares: Mapping[str, float] = RECIPES) -> None:
        self._banks = banks
        self._seed = seed
        self._batch_size = batch_size
        self._shares = shares
        self._pool: tuple[int, LayerPool] | None = None

    def scenes(self, index: int) -> list[Scene]:
        """The scenes of batch `index`."""
        number = index // BLOCK
        if self._pool is None or self._pool[0] != number:
            total = BLOCK * self._batch_size
            sizes = {kind: max(4, round(share * total)) for kind, share in _POOL_SHARES.items()}
            self._pool = (number, LayerPool(self._banks, seed=(self._seed, number, 1), sizes=sizes))
        rng = np.random.default_rng([self._seed, index])
        return [compose(self._pool[1], rng, shares=self._shares) for _ in range(self._batch_size)]


def compose(
    source: LayerSource,
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
        length = max(length, 16 * GRID)
        speech, music = source.layer(SPEECH, length, rng), source.layer(BED, length, rng)
        ratio_db = float(rng.uniform(-_RATIO_DB, _RATIO_DB)) if ratio_db is None else ratio_db
        layers = [speech, relative(music, speech, -ratio_db)]
    elif recipe == "song":
        voice = source.layer(VOCAL, length, rng)
        layers = [voice, relative(source.layer(BED, length, rng), voice, -float(rng.uniform(*_SONG_DB)))]
    elif recipe == "sequence":
        length = max(length, 32 * GRID)
        layers = _sequence(source, length, rng)
    else:
        layers = [source.layer(recipe, length, rng)]
        if recipe == MUSIC and rng.random() < 0.2:
            other = source.layer(MUSIC, length, rng)
            layers.append(relative(other, layers[0], float(rng.uniform(-10, 6))))
    samples = _sum(layers)
    if recipe != NEITHER and rng.random() < 0.3:
        loud = Layer(recipe, samples, np.any([layer.active for layer in layers], axis=0))
        layers.append(relative(source.layer(NEITHER, length, rng), loud, -float(rng.uniform(-3, 35))))
        samples = _sum(layers)
    target, weight = labels(layers)
    return Scene(_finish(samples, rng), target, weight, recipe)


def labels(layers: list[Layer]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Targets and weights per label, by the module's rule."""
    heard = _unmasked(layers)
    frames = len(heard[0])
    audible_s = {
        kind: float(np.any([one for layer, one in zip(layers, heard, strict=True) if layer.kind == kind], axis=0).sum())
        * _HOP
        / SAMPLE_RATE_HZ
        for kind in {layer.kind for layer in layers}
    }
    length_s = frames * _HOP / SAMPLE_RATE_HZ
    speech = presence(audible_s.get(SPEECH, 0.0), needed_s=min(SPEECH_S, 0.5 * length_s))
    music = presence(audible_s.get(MUSIC, 0.0), needed_s=max(0.3, min(MUSIC_S, 0.5 * length_s)))
    if audible_s.get(UNKNOWN, 0.0) >= ABSENT_S and music != (1.0, 1.0):
        music = (0.0, 0.0)
    return (speech[0], music[0]), (speech[1], music[1])


def presence(audible_s: float, *, needed_s: float) -> tuple[float, float]:
    """Target and weight of a label that is audible for so long."""
    if audible_s >= needed_s:
        return 1.0, 1.0
    return 0.0, (1.0 if audible_s < ABSENT_S else 0.0)


def _unmasked(layers: list[Layer]) -> list[npt.NDArray[np.bool_]]:
    """Per layer the frames of 20 ms in which it can be heard."""
    active = [layer.active[::2].copy() for layer in layers]
    for one, layer in zip(active, layers, strict=True):
        one[: layer.active[1::2].size] |= layer.active[1::2]
    if len(layers) == 1:
        return active
    power = [band_power(layer.samples) for layer in layers]
    total = np.sum(power, axis=0)
    return [
        frames
        & (
            (
                (own > 10 ** (-MASKED_DB / 10) * np.maximum(total - own, 1e-12))
                & (own > 10 ** (-FAINT_DB / 10) * own.max())
            ).sum(axis=1)
            >= UNMASKED_BANDS
        )
        for frames, own in zip(active, power, strict=True)
    ]


def band_power(samples: Float32Array) -> Float32Array:
    """Power in critical bands, float32 [shape=(ceil(n / 320), 18)]; frame ``k`` begins at sample ``320 k``."""
    frames = -(-samples.size // _HOP)
    padded = np.zeros((frames - 1) * _HOP + _WINDOW, np.float32)
    padded[: samples.size] = samples
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectrum = np.fft.rfft(blocks * _HANN, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # One column more than needed: what lies above the last edge is summed there and dropped.
    return np.asarray(np.add.reduceat(power, _EDGES, axis=1)[:, :-1], np.float32)


_HANN: Final = np.hanning(_WINDOW).astype(np.float32)
_EDGES: Final = np.ceil(np.array(_BARK_HZ) * _WINDOW / SAMPLE_RATE_HZ).astype(int)


def _sum(layers: list[Layer]) -> Float32Array:
    return np.asarray(np.sum([layer.samples for layer in layers], axis=0), np.float32)


def _sequence(source: LayerSource, length: int, rng: np.random.Generator) -> list[Layer]:
    cut = int(length * rng.uniform(0.15, 0.85)) // GRID * GRID
    kinds = rng.choice([SPEECH, MUSIC, NEITHER], size=2, replace=False, p=[0.4, 0.4, 0.2])
    first = source.layer(str(kinds[0]), max(cut, 6 * GRID), rng)
    second = source.layer(str(kinds[1]), max(length - cut, 6 * GRID), rng)
    second = relative(second, first, float(rng.uniform(-10, 10)))
    return [place(first, 0, length), place(second, length - second.samples.size, length)]


def _random_length(rng: np.random.Generator) -> int:
    if rng.random() < 0.6:
        return SEGMENT_SAMPLES
    seconds = float(np.exp(rng.uniform(np.log(0.3), np.log(5.0))))
    return max(6, int(seconds * 20)) * GRID


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
