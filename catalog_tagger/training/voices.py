"""Examples of voices: somebody speaks, or not; and if so, a woman or a man.

An example is a stretch of sound, shorter than a segment where training is to be quick, with targets
for `LABELS`. Three kinds are drawn, by `SHARES`:

- `gendered`   a voice of which the collection says whose it is, both genders equally often, as
               recorded or acted (`acting`): both labels count;
- `voice`      speech of unknown gender: `voice` counts, `female` has weight 0;
- `voiceless`  music, singing, noise, signals, near-silence: `voice` is 0, `female` has weight 0.

Singers count as voiceless: the collections do not say who sings, and "who speaks" has no answer
there. All kinds pass through the same rooms, lines, codecs and noises. Pitch and formants move by
a semitone at most together, and further only apart: a voice sped up by a third is another person's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import Dataset

from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float
from catalog_tagger.training import effects, sounds
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.cache import frame_levels_db

Float32Array = npt.NDArray[np.float32]
LABELS: Final = ("female", "voice")
SHARES: Final[dict[str, float]] = {"gendered": 0.66, "voice": 0.08, "voiceless": 0.26}
_VOICELESS: Final[dict[str, float]] = {"singing": 0.33, "music": 0.3, "noise": 0.22, "silence": 0.03, "signal": 0.12}
#: A voice that is audible for so long can be told; for a shorter sound, half of it.
VOICE_S: Final = 0.25
_ACTED: Final = 0.25
_HEARD: Final = 0.25
_SHORTEST_S: Final = 0.3
_OCTAVES: Final = 0.06
_GRID: Final = 400  # lengths are multiples of 25 ms: quick to transform


@dataclass
class SpeakerBank(Bank):
    """A bank in which collections weigh by the square root of the voices they hold, not of their minutes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = np.sqrt(np.array([len(groups) for groups in self._tree], np.float64))
        self._weights = weights / weights.sum() if len(weights) else weights


@dataclass(frozen=True)
class VoiceBanks:
    """Where examples come from; `acted` and `sung` are made out of the same side's voices.

    Attributes
    ----------
    spoken, heard, acted
        Per gender, `f` and `m`; `heard` is speech whose gender no collection tells, and may be wrong.
    unlabelled
        Speech of unknown gender.
    """

    spoken: Mapping[str, Bank]
    heard: Mapping[str, Bank]
    acted: Mapping[str, Bank]
    unlabelled: Bank
    music: Bank
    singing: Bank
    sung: Bank
    noise: Bank


@dataclass(frozen=True)
class VoiceExample:
    """float32 [shape=(samples,)], and target and weight per label."""

    samples: Float32Array
    target: tuple[float, float]
    weight: tuple[float, float]
    kind: str


def compose_voice(
    banks: VoiceBanks,
    rng: np.random.Generator,
    *,
    samples: int,
    kind: str | None = None,
    gender: str | None = None,
    acted: bool | None = None,
) -> VoiceExample:
    """Draw an example of `samples` samples; what is not given is drawn, too."""
    if kind is None:
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "voice" and not banks.unlabelled:
        kind = "gendered"
    length = _random_length(samples, rng)
    if kind == "voiceless":
        sound = _voiceless(banks, length, rng)
        return VoiceExample(_recorded(sound, samples, rng), (0.0, 0.0), (0.0, 1.0), kind)
    if kind == "voice":
        gender, bank = "", banks.unlabelled
    else:
        gender = gender or ("f" if rng.random() < 0.5 else "m")
        acted = rng.random() < _ACTED if acted is None else acted
        bank = banks.acted[gender] if acted and banks.acted[gender] else _unacted(banks, gender, rng)
    one, *more = bank.draw_group(rng, 9)
    sound, audible_s = _voice(one, more, length, rng)
    known = float(audible_s >= min(VOICE_S, 0.5 * length / SAMPLE_RATE_HZ))
    if rng.random() < 0.05:
        sound = effects.random_effect(sound, rng)
    room, equaliser = rng.random() < 0.3, rng.random() < 0.4
    if room or equaliser:
        sound = effects.colour(sound, rng, room=room, equaliser=equaliser)
    if rng.random() < 0.45:
        sound = _over(sound, _background(banks, length, rng), float(rng.uniform(-2, 30)))
    target = (float(gender == "f"), 1.0)
    return VoiceExample(_recorded(sound, samples, rng), target, (known * float(gender != ""), known), kind)


class VoiceBatches(Dataset[Batch]):
    """Batch `i`, composed from the seed and `i`; the front end runs where the example is composed."""

    def __init__(
        self, banks: VoiceBanks, frontend: nn.Module, *, seed: int, batches: int, batch_size: int, samples: int
    ) -> None:
        self.banks = banks
        self.frontend = frontend
        self.seed = seed
        self.batches = batches
        self.batch_size = batch_size
        self.samples = samples

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        drawn = [compose_voice(self.banks, rng, samples=self.samples) for _ in range(self.batch_size)]
        return as_batch(drawn, self.frontend)


@torch.no_grad()
def as_batch(examples: list[VoiceExample], frontend: nn.Module) -> Batch:
    """Stack examples and run the front end."""
    return Batch(
        features=frontend(torch.stack([torch.from_numpy(one.samples) for one in examples])),
        target=torch.tensor([one.target for one in examples]),
        weight=torch.tensor([one.weight for one in examples]),
    )


def _unacted(banks: VoiceBanks, gender: str, rng: np.random.Generator) -> Bank:
    """As recorded; mostly a voice whose gender is told."""
    heard = banks.heard[gender]
    return heard if heard and rng.random() < _HEARD else banks.spoken[gender]


def _random_length(samples: int, rng: np.random.Generator) -> int:
    if rng.random() < 0.55:
        return samples
    shortest = min(_SHORTEST_S * SAMPLE_RATE_HZ, samples)
    return max(_GRID, int(np.exp(rng.uniform(np.log(shortest), np.log(samples)))) // _GRID * _GRID)


def _voice(one: Recording, more: list[Recording], length: int, rng: np.random.Generator) -> tuple[Float32Array, float]:
    """So many samples of one voice, and how many seconds of them are audible."""
    speed = 2 ** rng.uniform(-_OCTAVES, _OCTAVES) if rng.random() < 0.5 else 1.0
    wanted = max(1, round(length * speed / _GRID)) * _GRID
    degraded = rng.random() < 0.3
    out = np.zeros(wanted, np.float32)
    piece = _cut(one, wanted, rng, degraded=degraded)
    alone = rng.random() < 0.5
    start = int(rng.integers(0, wanted - piece.size + 1)) if alone else 0
    out[start : start + piece.size] = piece
    end = start + piece.size
    while not alone and more and end < wanted:
        end += int(rng.uniform(0.02, 0.4) * SAMPLE_RATE_HZ)
        if end < wanted:
            piece = _cut(more.pop(), wanted - end, rng, degraded=degraded)
            out[end : end + piece.size] = piece
            end += piece.size
    audible = frame_levels_db(out) > one.gate_db
    return effects.resample(out, length), float(audible.sum()) / 100 / speed


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


def _voiceless(banks: VoiceBanks, length: int, rng: np.random.Generator) -> Float32Array:
    """Music, singing, noise or a signal, by `_VOICELESS` as far as there are such recordings."""
    sung = [bank for bank in (banks.singing, banks.sung) if bank]
    there = {"singing": bool(sung), "music": bool(banks.music), "noise": bool(banks.noise)}
    shares = {kind: share for kind, share in _VOICELESS.items() if there.get(kind, True)}
    kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    if kind == "silence":
        return sounds.near_silence(length, rng)
    if kind == "singing":
        sound = _stretch(sung[int(rng.integers(len(sung)))], length, rng)
        if rng.random() < 0.3 and banks.music:
            sound = _over(sound, _stretch(banks.music, length, rng), float(rng.uniform(-10, 10)))
    elif kind == "signal":
        sound = sounds.random_sound(length, rng)
    else:
        sound = _stretch(banks.music if kind == "music" else banks.noise, length, rng)
    if rng.random() < 0.45:
        sound = effects.colour(sound, rng, room=rng.random() < 0.5, equaliser=rng.random() < 0.7)
    return sound


def _background(banks: VoiceBanks, length: int, rng: np.random.Generator) -> Float32Array:
    draw = rng.random()
    if draw < 0.45 and banks.music:
        return _stretch(banks.music, length, rng)
    if draw < 0.85 and banks.noise:
        return _stretch(banks.noise, length, rng)
    return sounds.random_sound(length, rng)


def _stretch(bank: Bank, length: int, rng: np.random.Generator) -> Float32Array:
    """So many samples of a recording at a random place, repeated where it is too short."""
    recording = bank.draw(rng)
    pcm = recording.degraded if rng.random() < 0.3 else recording.pcm
    start = int(rng.integers(0, max(1, pcm.size - length + 1)))
    piece = pcm_to_float(pcm[start : start + length])
    return np.resize(piece, length) if piece.size < length and rng.random() < 0.5 else _padded(piece, length)


def _padded(samples: Float32Array, length: int) -> Float32Array:
    out = np.zeros(length, np.float32)
    out[: samples.size] = samples[:length]
    return out


def _over(front: Float32Array, back: Float32Array, ratio_db: float) -> Float32Array:
    """`front` with `back` under it, at a ratio of their levels over the whole stretch."""
    own, other = effects.rms(front), effects.rms(back)
    if own < 1e-6 or other < 1e-6:
        return front
    return np.asarray(front + back * np.float32(own / other * 10 ** (-ratio_db / 20)), np.float32)


def _recorded(sound: Float32Array, samples: int, rng: np.random.Generator) -> Float32Array:
    """The recording of a sound: hiss, level, clipping, 16 bits, zeros behind it."""
    peak = float(np.abs(sound).max())
    if peak > 1e-3:  # what is nearly silent stays nearly silent
        sound = sound / np.float32(peak)
        if rng.random() < 0.25:
            sound = sound + np.float32(10 ** (rng.uniform(-75, -28) / 20)) * rng.standard_normal(sound.size, np.float32)
        level_db = rng.uniform(-40, -15) if rng.random() < 0.2 else rng.uniform(-18, 0)
        if rng.random() < 0.06:
            level_db = rng.uniform(0, 14)  # clips
        sound = sound * np.float32(10 ** (level_db / 20) / max(float(np.abs(sound).max()), 1e-6))
    out = np.zeros(samples, np.float32)
    out[: sound.size] = np.clip(np.rint(sound * 32768), -32768, 32767) / 32768
    return out
