"""From clips to banks of voices.

What is made out of recordings (`acting`, `singing`) is kept under the cache folder, as
`<kind>-<key>.i16`, int16 mono 16 kHz one after the other, and `<kind>-<key>.json`, a list of the
length in samples, the source and the group of each; the key is a hash of what went in. Each is
written beside its name and renamed, the index last: an index that exists is complete. What is made
of a training voice never meets validation, and the reverse.

A file of heard genders is a CSV of `source`, `original_path`, `gender`: genders of speech whose
collection does not say, for training alone. It never overrules a collection.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from catalog_tagger.audio import pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.training.acting import act
from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.cache import frame_levels_db
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.manifest import GENDERS, Clip, Split
from catalog_tagger.training.prepare import SPEECH_BELOW_LOUD_DB, Progress, kind_of, matches
from catalog_tagger.training.singing import sing
from catalog_tagger.training.voice import Float32Array
from catalog_tagger.training.voices import SpeakerBank, VoiceBanks

Make = Callable[[Float32Array, np.random.Generator], Float32Array]
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
        raise UsageError(f"{title}: needs speech of both genders; has {len(sorted_in['f'])} f, {len(sorted_in['m'])} m")
    told = {gender: SpeakerBank(sorted_in[gender]) for gender in ("f", "m")}
    both = SpeakerBank([*sorted_in["f"], *sorted_in["m"]])

    def made(kind: str, bank: Bank, make: Make, count: int) -> Bank:
        found = _made(kind, bank, make, count=count, seed=seed, cache_dir=cache_dir, title=title, progress=progress)
        return SpeakerBank(found)

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


def _made(
    kind: str, bank: Bank, make: Make, *, count: int, seed: int, cache_dir: Path, title: str, progress: Progress
) -> list[Recording]:
    digest = hashlib.sha256(f"{kind} {count} {seed}".encode())
    for recording in bank.recordings:
        digest.update(f"{recording.group}\t{recording.pcm.size}\n".encode())
    path = cache_dir / f"{kind}-{digest.hexdigest()[:16]}.i16"
    index_path = path.with_suffix(".json")
    if not index_path.exists():
        _write(path, bank, make, count=count, seed=seed, told=lambda done: progress(f"{title}: {kind}", done, count))
    found, start = [], 0
    index = json.loads(index_path.read_text())
    pcm = np.memmap(path, np.int16, "r") if index else np.zeros(0, np.int16)
    for size, source, group in index:
        piece = pcm[start : start + size]
        start += size
        gate_db = gate_level_db(frame_levels_db(pcm_to_float(piece)), below_loud_db=SPEECH_BELOW_LOUD_DB)
        found.append(Recording(piece, piece, gate_db, source=source, group=group))
    return found


def _write(path: Path, bank: Bank, make: Make, *, count: int, seed: int, told: Callable[[int], None]) -> None:
    cache_dir = path.parent
    cache_dir.mkdir(parents=True, exist_ok=True)
    index: list[tuple[int, str, str]] = []
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        for attempt in range(20 * count):
            if len(index) == count:
                break
            rng = np.random.default_rng([seed, attempt])
            recording = bank.draw(rng)
            if recording.pcm.size < _SHORTEST_SAMPLES:
                continue
            start = int(rng.integers(0, max(1, recording.pcm.size - _LONGEST_SAMPLES + 1)))
            pcm = make(pcm_to_float(recording.pcm[start : start + _LONGEST_SAMPLES]), rng)
            if pcm.size == 0:
                continue
            file.write(np.rint(pcm * 32767).astype(np.int16).tobytes())
            index.append((int(pcm.size), recording.source, recording.group))
            told(len(index))
    unfinished.replace(path)
    unfinished_index = path.with_suffix(".json.unfinished")
    unfinished_index.write_text(json.dumps(index))
    unfinished_index.replace(path.with_suffix(".json"))
