"""From a configuration to banks of recordings on both sides of the split.

Everything slow is kept under the cache folder: decoded clips (`cache`), and per side of the split
the recordings that `singing` makes out of its speech, as one int16 file with an index beside it,
named by a hash of what went in. Singing and respoken speech made of a training voice never meet
validation, and the reverse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import numpy as np

from catalog_tagger.audio import pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.training import singing
from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.cache import PcmCache, frame_levels_db, open_cache
from catalog_tagger.training.config import ClipConfig, TrainingConfig
from catalog_tagger.training.layers import Banks
from catalog_tagger.training.manifest import Clip, groups, read_manifest, split_clips

Progress = Callable[[str, int, int], None]
SPEECH_BELOW_LOUD_DB: Final = 32.0
OTHER_BELOW_LOUD_DB: Final = 45.0
_SUNG_S: Final = 6.5
_SPOKEN_SAMPLES: Final = 112_000
_MIN_SPOKEN_SAMPLES: Final = 24_000


@dataclass(frozen=True)
class Side:
    """One side of the split: its clips, where they are in the cache, and banks to draw from."""

    clips: tuple[Clip, ...]
    recordings: tuple[Recording, ...]
    banks: Banks


@dataclass(frozen=True)
class Material:
    """Both sides."""

    train: Side
    validation: Side


def prepare(config: TrainingConfig, cache_dir: Path, *, progress: Progress) -> Material:
    """Read, split, decode and synthesise what `config` asks for.

    Parameters
    ----------
    progress
        Called with what is going on, how far, and how far it will go.
    """
    rows = tuple(clip for clip in read_manifest(config.manifest) if clip.split == "train")
    if not rows:
        raise UsageError(f"{config.manifest}: no row has the split 'train'")
    cache = open_cache(rows, cache_dir, degraded=True, progress=lambda done, of: progress("decoding", done, of))
    usable = [clip for clip in rows if not matches(clip, config.clips.exclude)]
    split = split_clips(
        usable,
        hold_out=config.validation.hold_out,
        fraction=config.validation.fraction,
        seed=config.seed,
    )
    place = {clip.path: index for index, clip in enumerate(rows)}
    names = dict(zip((clip.path for clip in rows), groups(rows), strict=True))
    sides = []
    for title, clips in (("training", split.train), ("validation", split.validation)):
        recordings = tuple(recording_of(clip, cache, place[clip.path], group=names[clip.path]) for clip in clips)
        sides.append(
            _side(
                title=title,
                clips=clips,
                recordings=recordings,
                config=config,
                cache_dir=cache_dir,
                progress=progress,
            )
        )
    return Material(train=sides[0], validation=sides[1])


def matches(clip: Clip, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits the clip's label or its `source/original_path`."""
    return any(fnmatchcase(clip.label, one) or fnmatchcase(clip.key, one) for one in patterns)


def kind_of(clip: Clip, config: ClipConfig) -> str:
    """The bank a clip belongs to."""
    for kind in ("notes", "unknown"):
        if matches(clip, getattr(config, kind)):
            return kind
    if clip.role == "music":
        return "singing" if matches(clip, config.singing) else "music"
    return "speech" if clip.role == "speech" else "noise"


def recording_of(clip: Clip, cache: PcmCache, index: int, *, group: str) -> Recording:
    """The clip at `index` of the cache, with the gate of its role."""
    below = SPEECH_BELOW_LOUD_DB if clip.role == "speech" else OTHER_BELOW_LOUD_DB
    return Recording(
        pcm=cache.samples(index),
        degraded=cache.samples(index, degraded=True),
        gate_db=gate_level_db(cache.level_db(index), below_loud_db=below),
        source=clip.source,
        group=clip.label if clip.label.startswith("instrument_") else group,
    )


def _side(
    *,
    title: str,
    clips: tuple[Clip, ...],
    recordings: tuple[Recording, ...],
    config: TrainingConfig,
    cache_dir: Path,
    progress: Progress,
) -> Side:
    sorted_in: dict[str, list[Recording]] = {
        kind: [] for kind in ("speech", "music", "singing", "notes", "unknown", "noise")
    }
    for clip, recording in zip(clips, recordings, strict=True):
        if recording.pcm.size:
            sorted_in[kind_of(clip, config.clips)].append(recording)
    if title == "training" and not (sorted_in["speech"] and sorted_in["music"]):
        raise UsageError(f"{config.manifest}: training needs clips of speech and of music")
    banks = {kind: Bank(found) for kind, found in sorted_in.items()}
    share = 1.0 if title == "training" else 0.15
    seed = config.seed + (title != "training")
    made = {}
    for kind, count in (("sung", config.synthetic.sung), ("respoken", config.synthetic.respoken)):
        wanted = round(share * count) if banks["speech"] else 0
        made[kind] = Bank(
            _synthetic(
                kind,
                count=wanted,
                speech=banks["speech"],
                seed=seed,
                cache_dir=cache_dir,
                title=f"{title}: {kind}",
                progress=progress,
            )
        )
    return Side(clips=clips, recordings=recordings, banks=Banks(**banks, **made))


def _synthetic(
    kind: str, *, count: int, speech: Bank, seed: int, cache_dir: Path, title: str, progress: Progress
) -> list[Recording]:
    if count == 0:
        return []
    digest = hashlib.sha256(f"{kind} {count} {seed} {_SUNG_S}".encode())
    for recording in speech.recordings:
        digest.update(f"{recording.group}\t{recording.pcm.size}\n".encode())
    path = cache_dir / f"{kind}-{digest.hexdigest()[:16]}.i16"
    index_path = path.with_suffix(".json")
    if not index_path.exists():
        _synthesise(
            kind,
            count=count,
            speech=speech,
            seed=seed,
            path=path,
            progress=lambda done: progress(title, done, count),
        )
    index = json.loads(index_path.read_text())
    pcm = np.memmap(path, np.int16, "r")
    found, start = [], 0
    for size, group in index:
        piece = pcm[start : start + size]
        start += size
        levels = frame_levels_db(pcm_to_float(piece))
        gate = gate_level_db(levels, below_loud_db=SPEECH_BELOW_LOUD_DB)
        found.append(Recording(piece, piece, gate, source=kind, group=group))
    return found


def _synthesise(kind: str, *, count: int, speech: Bank, seed: int, path: Path, progress: Callable[[int], None]) -> None:
    rng = np.random.default_rng([seed, count, kind == "sung"])
    index: list[tuple[int, str]] = []
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        tries = 0
        while len(index) < count and tries < 20 * count:
            tries += 1
            recording = speech.draw(rng)
            if recording.pcm.size < _MIN_SPOKEN_SAMPLES:
                continue
            start = int(rng.integers(0, max(1, recording.pcm.size - _SPOKEN_SAMPLES)))
            spoken = pcm_to_float(recording.pcm[start : start + _SPOKEN_SAMPLES])
            made = singing.sing(spoken, rng, length_s=_SUNG_S) if kind == "sung" else singing.respeak(spoken, rng)
            if made.size == 0:
                continue
            file.write(np.rint(made * 32767).astype(np.int16).tobytes())
            index.append((int(made.size), recording.group))
            progress(len(index))
    unfinished.replace(path)
    path.with_suffix(".json").write_text(json.dumps(index))
