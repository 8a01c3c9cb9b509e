"""From clips to banks of voices.

What is made out of recordings (`acting`, `singing`) is kept as `made` says. What is made of a
training voice never meets validation, and the reverse.

A file of heard genders is a CSV of `source`, `original_path`, `gender`: genders of speech whose
collection does not say, for training alone. It never overrules a collection.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from catalog_tagger.audio import pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.training.acting import act
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.made import Made, kept
from catalog_tagger.training.manifest import GENDERS, Clip, Split
from catalog_tagger.training.prepare import SPEECH_BELOW_LOUD_DB, Progress, kind_of, matches
from catalog_tagger.training.singing import sing
from catalog_tagger.training.voice import Float32Array
from catalog_tagger.training.voices import SpeakerBank, VoiceBanks

Change = Callable[[Float32Array, np.random.Generator], Float32Array]
_MADE_S: Final = 5.0
_SHORTEST_SAMPLES: Final = 8_000
_LONGEST_SAMPLES: Final = 80_000


def read_heard(path: Path) -> dict[str, str]:
    """Genders by `source/original_path`.

    Raises
    ------
    UsageError
        The file is missing, lacks a column, or a gender is not one.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
        return {f"{row['source']}/{row['original_path']}": GENDERS[row["gender"].strip().lower()] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    except KeyError as error:
        raise UsageError(f"{path}: {error}: needs columns source, original_path, gender (f or m)") from error


def one_side_each(split: Split) -> Split:
    """The split with every named voice on one side, however few voices its source has.

    `split_clips` takes a speaker's name for a voice only where a source tells several apart. A name
    beside a gender is a voice everywhere: validation clips of a voice that trains are left out.
    """
    train = {(clip.source, clip.speaker) for clip in split.train if clip.gender}
    kept = tuple(clip for clip in split.validation if not clip.gender or (clip.source, clip.speaker) not in train)
    return Split(train=split.train, validation=kept)


def voice_banks(
    clips: Sequence[Clip],
    recordings: Sequence[Recording],
    config: ClipConfig,
    *,
    heard: Mapping[str, str],
    acted: int,
    sung: int,
    seed: int,
    cache_dir: Path,
    title: str,
    progress: Progress,
) -> VoiceBanks:
    """Sort one side's recordings into banks and make what is made.

    Parameters
    ----------
    clips, recordings
        In the same order; excluded clips are left out.
    heard
        Genders by `source/original_path` of speech whose collection does not say; nothing is made of it.
    acted, sung
        How many recordings to make: acted ones per gender, sung ones of both together.
    title
        Of the side, for `progress`.

    Raises
    ------
    UsageError
        There is no voice of one of the genders.
    """
    sorted_in: dict[str, list[Recording]] = defaultdict(list)
    for clip, recording in zip(clips, recordings, strict=True):
        if recording.pcm.size and not matches(clip, config.exclude):
            kind = kind_of(clip, config)
            if kind == "speech":
                kind = clip.gender or "heard_" + heard.get(clip.key, "nothing")
            sorted_in[kind].append(recording)
    if not (sorted_in["f"] and sorted_in["m"]):
        raise UsageError(
            f"{title}: needs speech of both genders; has {len(sorted_in['f'])} f, {len(sorted_in['m'])} m; "
            "add clips, or hold out others (validation.hold_out, validation.fraction)"
        )
    told = {gender: SpeakerBank(sorted_in[gender]) for gender in ("f", "m")}
    both = SpeakerBank([*sorted_in["f"], *sorted_in["m"]])

    def made(kind: str, bank: Bank, change: Change, count: int) -> Bank:
        return SpeakerBank(
            kept(
                kind,
                partial(_make, bank, change),
                of=bank,
                count=count,
                seed=seed,
                cache_dir=cache_dir,
                below_loud_db=SPEECH_BELOW_LOUD_DB,
                progress=partial(progress, f"{title}: {kind}"),
            )
        )

    return VoiceBanks(
        spoken=told,
        heard={gender: SpeakerBank(sorted_in["heard_" + gender]) for gender in told},
        acted={
            gender: made(f"acted_{gender}", bank, lambda one, rng, g=gender: act(one, rng, gender=g), acted)  # type: ignore[misc]
            for gender, bank in told.items()
        },
        unlabelled=SpeakerBank(sorted_in["heard_nothing"]),
        music=Bank([*sorted_in["music"], *sorted_in["notes"]]),
        singing=Bank(sorted_in["singing"]),
        sung=made("sung_by", both, lambda one, rng: sing(one, rng, length_s=_MADE_S), sung),
        noise=Bank(sorted_in["noise"]),
    )


def _make(bank: Bank, change: Change, rng: np.random.Generator) -> Made:
    recording = bank.draw(rng)
    samples = np.zeros(0, np.float32)
    if recording.pcm.size >= _SHORTEST_SAMPLES:
        start = int(rng.integers(0, max(1, recording.pcm.size - _LONGEST_SAMPLES + 1)))
        samples = change(pcm_to_float(recording.pcm[start : start + _LONGEST_SAMPLES]), rng)
    return Made(samples, source=recording.source, group=recording.group)
