"""The labelled recordings: a CSV of clips, one row each, and a split that leaks nothing.

Only the column `path` (relative to the CSV) is needed; a byte order mark is passed over. Used where
they are present:

- `labels` or `label`: what is heard, several with ``;`` between;
- `role`: `speech`, `music`, `noise` (neither of the two) or `tag` (of which only its labels say what it
  is); without it the label where that is one of these, `speech` where there is a `gender`, else `tag`;
- `source`: the collection; without it the name of the CSV;
- `split`: `train`, `validation` (or `val`, `dev`) or `test`, without it `train`; rows of `validation`
  are only validated on, with what else shares their group; those of `test`, or of any other name,
  never reach training;
- `original_path`, `speaker_or_artist`: what splits keep together, see below;
- `duration_s`, `gender`, `language`, `licence`.

Clips that share a recording or a voice share a *group*, and a group is on one side of the split
whole: in one source, two clips are of one group when the stem of their `original_path` is the same
(both sides of a call, telephone and wide-band copies, two excerpts of one track; a stem found in more
than `MAX_COPIES` folders, like `0001/audio.wav`, names nothing without its folder), or when their
speaker is the same, unless the whole source has no other name (which is the collection's then, not
a voice's).
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from catalog_tagger.errors import UsageError, reason_of

ROLES: Final = ("speech", "music", "noise", "tag")
_SPLITS: Final = {"": "train", "training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
GENDERS: Final = {"f": "f", "female": "f", "m": "m", "male": "m"}
MAX_COPIES: Final = 8


@dataclass(frozen=True)
class Clip:
    """One row of the manifest; `path` is resolved, `duration_s` 0 where the manifest has none.

    `gender` is `f`, `m` or empty; the manifest may spell it out.
    """

    path: Path
    split: str
    role: str
    label: str
    source: str
    original_path: str
    speaker: str
    licence: str
    duration_s: float
    gender: str = ""
    language: str = ""

    @property
    def trains(self) -> bool:
        """Whether a training may see it, be it to validate on."""
        return self.split in ("train", "validation")

    @property
    def key(self) -> str:
        """What hold-out patterns are matched against: `source/original_path`."""
        return f"{self.source}/{self.original_path}"


@dataclass(frozen=True)
class Split:
    """The two sides of the training rows."""

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]


def split_name(text: str) -> str:
    """The split that is meant: lower case, one name for those of the same meaning, `train` for none."""
    name = text.strip().lower()
    return _SPLITS.get(name, name)


def read_manifest(path: Path) -> tuple[Clip, ...]:
    """Read a manifest.

    Raises
    ------
    UsageError
        The file is missing, has no column `path`, a row without one, the same one twice, or an unknown role.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if "path" not in columns:
                has = ", ".join(columns) or "none"
                raise UsageError(f"{path}: the manifest lacks the column path; it has {has} (commas part columns)")
            clips = tuple(_clip(row, path, line) for line, row in enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = reason_of(error)
        raise UsageError(f"{path}: cannot be read as a manifest: {reason}; name a CSV on this machine") from error
    if not clips:
        raise UsageError(f"{path}: the manifest has no rows")
    first: dict[Path, int] = {}
    for line, clip in enumerate(clips, start=2):
        if first.setdefault(clip.path, line) != line:  # on both sides of a split, or with labels that contradict
            raise UsageError(
                f"{path}, line {line}: {clip.path} is on line {first[clip.path]} already; "
                "give a clip one row, several labels with ';' between"
            )
    return clips


def _clip(row: dict[str, str], manifest: Path, line: int) -> Clip:
    if not row["path"]:
        raise UsageError(f"{manifest}, line {line}: the row has no path")
    label = row.get("labels") or row.get("label") or ""
    role = (row.get("role") or "").strip().lower() or _role_of(label, gender=row.get("gender") or "")
    if role not in ROLES:
        raise UsageError(f"{manifest}, line {line}: role is {role!r}; it must be one of {', '.join(ROLES)}")
    try:
        duration_s = float(row.get("duration_s") or 0.0)
    except ValueError as error:
        raise UsageError(f"{manifest}, line {line}: duration_s is {row['duration_s']!r}, not a number") from error
    if not 0.0 <= duration_s < math.inf:  # tables written by a program have nan where they know nothing
        raise UsageError(
            f"{manifest}, line {line}: duration_s is {row['duration_s']!r}; give seconds, or leave it empty"
        )
    return Clip(
        path=manifest.parent / row["path"],
        split=split_name(row.get("split") or ""),
        role=role,
        label=label,
        source=row.get("source") or manifest.stem,
        original_path=row.get("original_path") or row["path"],
        speaker=row.get("speaker_or_artist") or "",
        licence=row.get("licence") or "",
        duration_s=duration_s,
        gender=GENDERS.get((row.get("gender") or "").strip().lower(), ""),
        language=row.get("language") or "",
    )


def _role_of(label: str, *, gender: str) -> str:
    told = label.strip().lower()
    if told in ROLES:
        return told
    return "speech" if gender else "tag"


def named_in(clip: Clip) -> tuple[str, ...]:
    """The labels a row names."""
    return tuple(part.strip() for part in clip.label.split(";") if part.strip())


def groups(clips: Sequence[Clip]) -> list[str]:
    """The group of each clip, as a name that does not depend on the order of the rows."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.speaker:
            speakers[clip.source].add(clip.speaker)
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    folders: dict[tuple[str, str], set[PurePosixPath]] = defaultdict(set)
    for clip in clips:
        place = PurePosixPath(clip.original_path)
        folders[clip.source, place.stem].add(place.parent)
    nodes = []
    for clip in clips:
        place = PurePosixPath(clip.original_path)
        told = place.stem if len(folders[clip.source, place.stem]) <= MAX_COPIES else str(place.with_suffix(""))
        node = f"{clip.source}\tstem\t{told}"
        root(node)
        if clip.speaker and len(speakers[clip.source]) > 1:
            join(node, f"{clip.source}\tspeaker\t{clip.speaker}")
        nodes.append(node)
    return [root(node) for node in nodes]


def leaked_test_rows(clips: Sequence[Clip]) -> list[Clip]:
    """Rows of the split `test` that share a recording or a voice with rows that a training may see."""
    names = groups(clips)
    train = {name for clip, name in zip(clips, names, strict=True) if clip.trains}
    return [clip for clip, name in zip(clips, names, strict=True) if clip.split == "test" and name in train]


def split_clips(
    clips: Sequence[Clip],
    *,
    hold_out: Sequence[str],
    fraction: float,
    seed: int,
    by: Literal["recording", "source"] = "recording",
) -> Split:
    """Divide the training rows into training and validation by group.

    Parameters
    ----------
    clips
        Rows of any split; only those of `train` and of `validation` are used.
    hold_out
        Shell patterns against `source/original_path`: a group with a clip that matches goes to
        validation whole. This is how whole sources are held out.
    fraction
        Share of the other groups that goes to validation, drawn by a hash of `seed` and group.
    by
        `recording`: groups are what shares a recording or a voice, see the module's text; `source`:
        whole collections.
    """
    rows = [clip for clip in clips if clip.trains]
    names = groups(rows) if by == "recording" else [clip.source for clip in rows]
    held = {
        name
        for clip, name in zip(rows, names, strict=True)
        if clip.split == "validation" or any(fnmatchcase(clip.key, pattern) for pattern in hold_out)
    }
    held |= {name for name in names if _draw(name, seed) < fraction}
    sides: tuple[list[Clip], list[Clip]] = ([], [])
    for clip, name in zip(rows, names, strict=True):
        sides[name in held].append(clip)
    if not sides[0]:
        raise UsageError("no clip is left for training: hold_out, fraction or split takes them all")
    return Split(train=tuple(sides[0]), validation=tuple(sides[1]))


def _draw(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\t{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
