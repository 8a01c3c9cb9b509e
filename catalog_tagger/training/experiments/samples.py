"""Which stretches of which clips are trained on, validated on and tested on.

As in the paper (section 4.2.3): two classes, equally many samples of each, 5 s long. The *small*
set has one sample, drawn at random, of every clip that is long enough; the *large* set has all that
do not overlap. A stretch counts where at least a fifth of it sounds, by the level of its 10 ms.

Validation holds whole collections out, and has the rows of the split `validation`; test is the split
`test`, with at most `TEST_PER_CLIP` samples of one clip. Rows of any other split are left out. Clips
of a collection are never on both sides, but where the manifest itself parts them.

Voices (section 4.2.2) are patches of 150 ms with 40 ms around them, so that no window reaches over
their ends, from clips whose gender is known. *Disjoint* holds speakers out, those of the split
`validation` among them; *shared* divides the patches of the split `train` 70/20/10 whoever speaks, as
the paper did.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from catalog_tagger.audio import SAMPLE_RATE_HZ
from catalog_tagger.errors import UsageError
from catalog_tagger.training.bank import gate_level_db
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, PcmCache
from catalog_tagger.training.manifest import Clip

CLASSES: Final = ("speech", "music")
VOICES: Final = ("f", "m")
SAMPLE_LENGTH: Final = 5 * SAMPLE_RATE_HZ
PATCH_LENGTH: Final = 14 * 160 + 1 + 2 * 640
TEST_PER_CLIP: Final = 4
PATCHES_PER_CLIP: Final = 12
_SOUNDING: Final = 0.2
_BELOW_LOUD_DB: Final = 32.0
_HELD_OUT: Final = 0.15


@dataclass(frozen=True)
class Sample:
    """A stretch of a clip.

    Attributes
    ----------
    clip
        Place of the clip in the cache.
    start, length
        In samples at 16 kHz.
    label
        Place in `CLASSES` or `VOICES`.
    source
        The collection.
    """

    clip: int
    start: int
    length: int
    label: int
    source: str


@dataclass(frozen=True)
class Sets:
    """What one kind of setting is trained, validated and tested on."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def __post_init__(self) -> None:
        for title, samples in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            if len({sample.label for sample in samples}) < 2:
                raise UsageError(
                    f"{title} needs long enough clips of both classes, and has {len(samples)} samples of one; "
                    "add clips of 5 s or more from several collections"
                )


def usable_clips(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """Those of speech and of music which a training or the test may hear."""
    return tuple(clip for clip in clips if clip.role in CLASSES and (clip.trains or clip.split == "test"))


def speech_music_sets(
    clips: Sequence[Clip], cache: PcmCache, *, seed: int = 0, limit: int | None = None
) -> dict[str, Sets]:
    """The sets `small` and `large`, which share validation and test.

    Parameters
    ----------
    clips, cache
        The same clips in the same order; those that are neither speech nor music are left out.
    limit
        At most so many samples of a class in each set.

    Raises
    ------
    UsageError
        A class has no sample in one of the sets.
    """
    held = _held_out(clips)
    one_each: dict[str, list[Sample]] = defaultdict(list)
    all_of: dict[str, list[Sample]] = defaultdict(list)
    for place, clip in enumerate(clips):
        if clip.role not in CLASSES:
            continue
        starts = _sounding_starts(cache, place, length=SAMPLE_LENGTH, step=SAMPLE_LENGTH)
        if not starts:
            continue
        side = "validation" if clip.split == "train" and (clip.role, clip.source) in held else clip.split
        found = [Sample(place, start, SAMPLE_LENGTH, CLASSES.index(clip.role), clip.source) for start in starts]
        all_of[side] += found
        one_each[side].append(found[_draw(clip, seed) % len(found)])
        if side == "test":
            wanted = np.linspace(0, len(found) - 1, min(TEST_PER_CLIP, len(found))).round().astype(int)
            all_of["tested"] += [found[number] for number in wanted]
    validation = _balanced(one_each["validation"], seed=seed, limit=limit)
    test = _balanced(all_of["tested"], seed=seed, limit=limit)
    return {
        name: Sets(_balanced(train, seed=seed, limit=limit), validation, test)
        for name, train in (("small", one_each["train"]), ("large", all_of["train"]))
    }


def voice_sets(clips: Sequence[Clip], cache: PcmCache, *, seed: int = 0, limit: int | None = None) -> dict[str, Sets]:
    """The sets `voices_disjoint` and `voices_shared`; both are tested on patches they did not train on.

    Raises
    ------
    UsageError
        A gender has no sample in one of the sets.
    """
    spoken = [place for place, clip in enumerate(clips) if clip.role == "speech" and clip.gender in VOICES]
    held = _held_out_speakers([clips[place] for place in spoken], seed=seed)
    sides: dict[str, list[Sample]] = defaultdict(list)
    for place in spoken:
        clip = clips[place]
        starts = _sounding_starts(cache, place, length=PATCH_LENGTH, step=PATCH_LENGTH)
        if not starts:
            continue
        wanted = np.linspace(0, len(starts) - 1, min(PATCHES_PER_CLIP, len(starts))).round().astype(int)
        label = VOICES.index(clip.gender)
        found = [Sample(place, starts[number], PATCH_LENGTH, label, clip.source) for number in wanted]
        side = "validation" if clip.split == "train" and (clip.source, clip.speaker) in held else clip.split
        sides[side] += found
    known = [one for one in (*sides["train"], *sides["validation"]) if clips[one.clip].split == "train"]
    together = _shuffled(known, seed=seed)
    first, second = round(0.7 * len(together)), round(0.9 * len(together))
    shared = (together[:first], together[first:second], together[second:])
    disjoint = (sides["train"], sides["validation"], sides["test"])
    return {
        name: Sets(*(_balanced(samples, seed=seed, limit=limit) for samples in parts))
        for name, parts in (("voices_disjoint", disjoint), ("voices_shared", shared))
    }


def _held_out(clips: Sequence[Clip]) -> set[tuple[str, str]]:
    """Collections for validation: of each role, in an order of chance, until a share of its clips is held out."""
    held: set[tuple[str, str]] = set()
    for role in CLASSES:
        counts: dict[str, int] = defaultdict(int)
        for clip in clips:
            if clip.role == role and clip.split == "train" and clip.duration_s * SAMPLE_RATE_HZ >= SAMPLE_LENGTH:
                counts[clip.source] += 1
        wanted, taken = _HELD_OUT * sum(counts.values()), 0
        for source in sorted(counts, key=lambda name: _hash(f"{role}\t{name}")):
            # not one that alone would be more than twice what is wanted, were there others
            if taken < wanted and (counts[source] <= 2 * wanted or len(counts) <= 2) and len(counts) > 1:
                held.add((role, source))
                taken += counts[source]
                if len(counts) <= 2:
                    break
    return held


def _held_out_speakers(clips: Sequence[Clip], *, seed: int) -> set[tuple[str, str]]:
    """Speakers for validation: those of its rows, and a share of those of each gender, in an order of chance."""
    held = {(clip.source, clip.speaker) for clip in clips if clip.split == "validation"}
    for gender in VOICES:
        speakers = {(clip.source, clip.speaker) for clip in clips if clip.gender == gender and clip.split == "train"}
        ordered = sorted(speakers, key=lambda one: _hash("\t".join((str(seed), *one))))
        held |= set(ordered[: max(1, round(_HELD_OUT * len(ordered)))])
    return held


def _sounding_starts(cache: PcmCache, place: int, *, length: int, step: int) -> list[int]:
    levels = cache.level_db(place)
    sounds = levels >= gate_level_db(levels, below_loud_db=_BELOW_LOUD_DB)
    last = cache.samples(place).size - length
    return [
        start
        for start in range(0, last + 1, step)
        if sounds[start // LEVEL_HOP_SAMPLES : (start + length) // LEVEL_HOP_SAMPLES].mean() >= _SOUNDING
    ]


def _balanced(samples: Sequence[Sample], *, seed: int, limit: int | None) -> tuple[Sample, ...]:
    """Equally many of each class, the rest left out by chance; mixed."""
    of_class = [[sample for sample in samples if sample.label == label] for label in (0, 1)]
    size = min(len(of_class[0]), len(of_class[1]), limit or len(samples))
    kept = [sample for one in of_class for sample in _shuffled(one, seed=seed)[:size]]
    return tuple(_shuffled(kept, seed=seed + 1))


def _shuffled(samples: Iterable[Sample], *, seed: int) -> list[Sample]:
    found = list(samples)
    return [found[number] for number in np.random.default_rng(seed).permutation(len(found))]


def _draw(clip: Clip, seed: int) -> int:
    return _hash(f"{seed}\t{clip.key}\t{clip.path.name}")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
