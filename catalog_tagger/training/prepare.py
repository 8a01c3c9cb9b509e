"""From a configuration to banks of recordings on both sides of the split.

Everything slow is kept under the cache folder: decoded clips (`cache`), and per side of the split
the recordings that are made out of its voices (`synthetic`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from catalog_tagger.errors import UsageError
from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.cache import PcmCache, open_cache, with_lengths
from catalog_tagger.training.config import ClipConfig, TrainingConfig
from catalog_tagger.training.layers import Banks
from catalog_tagger.training.manifest import Clip, groups, named_in, read_manifest, split_clips
from catalog_tagger.training.synthetic import make_synthetic

Progress = Callable[[str, int, int], None]
SPEECH_BELOW_LOUD_DB: Final = 32.0
OTHER_BELOW_LOUD_DB: Final = 45.0
UNSAID: Final = "unsaid"
_NEEDS: Final = (
    "training needs clips of speech and of music, by their role or by a label of that name alone; rows with other "
    "labels say nothing of the two, unless clips.neither matches them"
)


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
    rows = tuple(clip for clip in read_manifest(config.manifest) if clip.trains)
    if not rows:
        raise UsageError(f"{config.manifest}: no row has the split 'train'")
    cache = open_cache(rows, cache_dir, degraded=True, progress=lambda done, of: progress("decoding", done, of))
    rows = with_lengths(rows, cache)
    usable = usable_clips(rows, config.clips)
    if not usable:
        raise UsageError(f"{config.manifest}: {_NEEDS}")
    split = split_clips(
        usable,
        hold_out=config.validation.hold_out,
        fraction=config.validation.fraction,
        seed=config.seed,
        by=config.validation.by,
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


def usable_clips(clips: Sequence[Clip], config: ClipConfig) -> list[Clip]:
    """Those that are not excluded and belong to a bank."""
    return [clip for clip in clips if not matches(clip, config.exclude) and kind_of(clip, config) != UNSAID]


def kind_of(clip: Clip, config: ClipConfig) -> str:
    """The bank a clip belongs to; `UNSAID` where nobody says which, or labels name other things beside it."""
    for kind in ("notes", "unknown"):
        if matches(clip, getattr(config, kind)):
            return kind
    if clip.role == "music":
        return "singing" if matches(clip, config.singing) else "music"
    if clip.role != "tag":
        return clip.role
    named = {label.lower() for label in named_in(clip)}
    return "noise" if matches(clip, config.neither) and not named & {"speech", "music"} else UNSAID


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
        raise UsageError(f"{config.manifest}: {_NEEDS}")
    banks = {kind: Bank(found) for kind, found in sorted_in.items()}
    share = 1.0 if title == "training" else 0.15
    seed = config.seed + (title != "training")
    made = make_synthetic(
        banks,
        config.synthetic,
        share=share,
        seed=seed,
        cache_dir=cache_dir,
        progress=lambda kind, done, of: progress(f"{title}: {kind}", done, of),
    )
    return Side(clips=clips, recordings=recordings, banks=Banks(**banks, **made))
