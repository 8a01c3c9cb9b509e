"""Features of labelled segments, computed once, in several takes of each.

A training on few clips sees each of them many times, and the front end costs as much as a small
network's step. So every 5 s segment is kept as float16 features in some *takes*: the first is the
segment as tagging cuts it, the others are the same sound recorded otherwise: begun elsewhere,
faster or slower, in a room, through an equaliser or a lossy codec, after or before silence.

All takes follow from the seed and the recording's place alone. They are held in memory:
62 kB for a CQT-gram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, pcm_to_float
from catalog_tagger.training import effects, sounds
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db
from catalog_tagger.training.config import Strict

Float32Array = npt.NDArray[np.float32]
#: A segment with less sound than this above its clip's gate holds none of its clip's labels for certain.
SOUND_S: Final = 0.2
_SHORTEST_S: Final = 0.5
_GRID: Final = 160  # lengths are multiples of 10 ms: quick to transform
_CHUNK: Final = 32


class Retake(Strict):
    """The chances of what makes another take differ from the segment."""

    codec: float = Field(default=0.3, ge=0, le=1, description="through a lossy codec")
    speed: float = Field(default=0.5, ge=0, le=1, description="faster or slower, pitch and tempo together")
    speed_range: float = Field(default=0.2, ge=0, lt=1, description="by a factor of e to this power at most")
    room: float = Field(default=0.35, ge=0, le=1, description="in a room")
    # seldom: whether a broad noise is rain, the sea or a rotor is told by its colour
    equaliser: float = Field(default=0.2, ge=0, le=1, description="another frequency response, often band-limited")
    noise: float = Field(default=0.0, ge=0, le=1, description="in noise of some colour, up to 30 dB below")
    gain_db: float = Field(default=30.0, ge=0, description="the peak is at most so far below full scale")


@dataclass(frozen=True)
class Truth:
    """What is known of clips, each [shape=(clips, n_labels)].

    Attributes
    ----------
    target
        1 where the label is there.
    weight
        1 where the collection says whether it is there, 0 where it does not.
    """

    target: Float32Array
    weight: Float32Array

    def repeated(self, times: int) -> Truth:
        """The labels side by side `times` over, for as many networks that learn the same."""
        return Truth(target=np.tile(self.target, (1, times)), weight=np.tile(self.weight, (1, times)))


@dataclass(frozen=True)
class TagBank:
    """Segments with their features and labels.

    Attributes
    ----------
    features
        float16 [shape=(segments, takes, frames, bins)].
    clip
        To which clip a segment belongs, [shape=(segments,)].
    seconds
        Length of each segment without its padding, [shape=(segments,)].
    truth
        Of segments, [shape=(segments, n_labels)].
    """

    features: npt.NDArray[np.float16]
    clip: npt.NDArray[np.int64]
    seconds: Float32Array
    truth: Truth

    def __len__(self) -> int:
        return len(self.clip)


@dataclass(frozen=True)
class _Place:
    clip: int
    start: int
    seconds: float
    sounds: bool


def build_bank(
    recordings: Sequence[Recording],
    truth: Truth,
    frontend: nn.Module,
    *,
    takes: int,
    seed: int,
    per_clip: int = 0,
    retake: Retake | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TagBank:
    """Cut recordings in segments, make the takes and run the front end over them.

    Parameters
    ----------
    truth
        One row per recording. A segment with less than `SOUND_S` above its recording's gate keeps
        what is absent and loses, by a weight of 0, what is present.
    takes
        Versions of each segment; 1 keeps only the segments as they are.
    per_clip
        At most so many segments of a recording, spread evenly; 0 keeps all.
    retake
        How the takes but the first differ from the segment; as `Retake` says where it is not given.
    progress
        Called with (segments done, segments in all).
    """
    retake = retake or Retake()
    places = [place for index, one in enumerate(recordings) for place in _places(index, one, per_clip)]
    kept: list[npt.NDArray[np.float16]] = []
    for begin in range(0, len(places), _CHUNK):
        chunk = places[begin : begin + _CHUNK]
        waves = np.stack(
            [_take(recordings[one.clip], one, take, seed, retake) for one in chunk for take in range(takes)]
        )
        with torch.inference_mode():
            found = frontend(torch.from_numpy(waves)).numpy().astype(np.float16)
        kept.append(found.reshape(len(chunk), takes, *found.shape[1:]))
        if progress is not None:
            progress(begin + len(chunk), len(places))
    clip = np.array([one.clip for one in places], np.int64)
    sounding = np.array([one.sounds for one in places], bool)
    target = truth.target[clip]
    said = sounding[:, None] | (target == 0)
    return TagBank(
        features=np.concatenate(kept) if kept else np.zeros((0, takes, 0, 0), np.float16),
        clip=clip,
        seconds=np.array([one.seconds for one in places], np.float32),
        truth=Truth(target=target, weight=np.where(said, truth.weight[clip], np.float32(0))),
    )


def _places(index: int, recording: Recording, per_clip: int) -> list[_Place]:
    size = recording.pcm.size
    found = []
    for start in range(0, size, SEGMENT_SAMPLES):
        length = min(size - start, SEGMENT_SAMPLES)
        if start and length < _SHORTEST_S * SAMPLE_RATE_HZ:
            continue
        levels = frame_levels_db(pcm_to_float(recording.pcm[start : start + length]))
        loud_s = float((levels > recording.gate_db).sum()) * LEVEL_HOP_SAMPLES / SAMPLE_RATE_HZ
        seconds = length / SAMPLE_RATE_HZ
        found.append(_Place(index, start, seconds, loud_s >= min(SOUND_S, 0.3 * seconds)))
    if per_clip and len(found) > per_clip:
        found = [found[i] for i in np.linspace(0, len(found) - 1, per_clip).round().astype(int)]
    return found


def _take(recording: Recording, place: _Place, take: int, seed: int, retake: Retake) -> Float32Array:
    """float32 [shape=(80000,)]."""
    if take == 0:
        return _padded(pcm_to_float(recording.pcm[place.start : place.start + SEGMENT_SAMPLES]), 0)
    rng = np.random.default_rng([seed, place.clip, place.start, take])
    source = recording.degraded if rng.random() < retake.codec else recording.pcm
    span = retake.speed_range
    speed = float(np.exp(rng.uniform(-span, span))) if rng.random() < retake.speed else 1.0
    wanted = round(SEGMENT_SAMPLES * speed)
    if source.size > wanted:
        drift = int(rng.uniform(-0.5, 0.5) * SEGMENT_SAMPLES)
        begin = int(np.clip(place.start + drift, 0, source.size - wanted))
        samples = pcm_to_float(source[begin : begin + wanted])
    else:
        samples = pcm_to_float(source)
    length = min(SEGMENT_SAMPLES, max(1, round(samples.size / speed / _GRID)) * _GRID)
    samples = effects.resample(samples, length)
    samples = _padded(samples, int(rng.integers(SEGMENT_SAMPLES - samples.size + 1)))
    room, equaliser = rng.random() < retake.room, rng.random() < retake.equaliser
    if room or equaliser:
        samples = effects.colour(samples, rng, room=room, equaliser=equaliser)
    if retake.noise and rng.random() < retake.noise:
        hiss = sounds.noise(samples.size, rng)
        level = effects.rms(samples) / max(effects.rms(hiss), 1e-9) * 10 ** (-rng.uniform(0, 30) / 20)
        samples = samples + np.float32(level) * hiss
    gain = 10 ** (rng.uniform(-retake.gain_db, 0) / 20) / max(float(np.abs(samples).max()), 1e-3)
    return np.asarray(samples * gain, np.float32)


def _padded(samples: Float32Array, start: int) -> Float32Array:
    out = np.zeros(SEGMENT_SAMPLES, np.float32)
    out[start : start + samples.size] = samples
    return out
