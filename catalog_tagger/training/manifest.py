"""The labelled recordings: a CSV of clips, and a split that leaks nothing.

Columns: `path` (relative to the CSV), `role` (`speech`, `music`, `noise` or `tag`) and `source`
(the collection) are needed; `split`, `label`, `original_path`, `start_s`, `duration_s`,
`speaker_or_artist`, `gender`, `language`, `licence`, `original_sample_rate` are used where they are present. A row
without `split` is a training row. Rows with the split `test` never reach training.

Clips that share a recording or a voice share a *group*, and a group is on one side of the split
whole: in one source, two clips are of one group when the stem of their `original_path` is the same
(both sides of a call, telephone and wide-band copies, two excerpts of one track), or when their
speaker is the same and the source tells at least `MIN_SPEAKERS` speakers apart (below that the
name is the collection's, not a voice's).
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from catalog_tagger.errors import UsageError

ROLES: Final = ("speech", "music", "noise", "tag")
GENDERS: Final = {"f": "f", "female": "f", "m": "m", "male": "m"}
MIN_SPEAKERS: Final = 4
_NEEDED: Final = ("path", "role", "source")


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
    def key(self) -> str:
        """What hold-out patterns are matched against: `source/original_path`."""
        return f"{self.source}/{self.original_path}"


@dataclass(frozen=True)
class Split:
    """The two sides of the training rows."""

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]


def read_manifest(path: Path) -> tuple[Clip, ...]:
    """Read a manifest.

    Raises
    ------
    UsageError
        The file is missing, lacks a needed column, or holds an unknown role.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [name for name in _NEEDED if name not in columns]
            if missing:
                raise UsageError(
                    f"{path}: the manifest lacks the column(s) {', '.join(missing)}; "
                    f"it has {', '.join(columns) or 'none'}"
                )
            clips = tuple(_clip(row, path, line) for line, row in enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a manifest: {error}") from error
    if not clips:
        raise UsageError(f"{path}: the manifest has no rows")
    return clips


def _clip(row: dict[str, str], manifest: Path, line: int) -> Clip:
    role = row["role"]
    if role not in ROLES:
        raise UsageError(f"{manifest}, line {line}: role is {role!r}; it must be one of {', '.join(ROLES)}")
    try:
        duration_s = float(row.get("duration_s") or 0.0)
    except ValueError as error:
        raise UsageError(f"{manifest}, line {line}: duration_s is {row['duration_s']!r}, not a number") from error
    return Clip(
        path=manifest.parent / row["path"],
        split=row.get("split") or "train",
        role=role,
        label=row.get("label") or "",
        source=row["source"],
        original_path=row.get("original_path") or row["path"],
        speaker=row.get("speaker_or_artist") or "",
        licence=row.get("licence") or "",
        duration_s=duration_s,
        gender=GENDERS.get((row.get("gender") or "").strip().lower(), ""),
        language=row.get("language") or "",
    )


def groups(clips: Sequence[Clip]) -> list[str]:
    """The group of each clip, as a name that does not depend on the order of the rows."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
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

    nodes = []
    for clip in clips:
        stem = PurePosixPath(clip.original_path).stem
        node = f"{clip.source}\tstem\t{stem}"
        root(node)
        if clip.speaker and len(speakers[clip.source]) >= MIN_SPEAKERS:
            join(node, f"{clip.source}\tspeaker\t{clip.speaker}")
        nodes.append(node)
    return [root(node) for node in nodes]


def split_clips(clips: Sequence[Clip], *, hold_out: Sequence[str], fraction: float, seed: int) -> Split:
    """Divide the training rows into training and validation by group.

    Parameters
    ----------
    clips
        Rows of any split; only those of `train` are used.
    hold_out
        Shell patterns against `source/original_path`: a group with a clip that matches goes to
        validation whole. This is how whole sources are held out.
    fraction
        Share of the other groups that goes to validation, drawn by a hash of `seed` and group.
    """
    rows = [clip for clip in clips if clip.split == "train"]
    names = groups(rows)
    held = {
        name
        for clip, name in zip(rows, names, strict=True)
        if any(fnmatchcase(clip.key, pattern) for pattern in hold_out)
    }
    held |= {name for name in names if _draw(name, seed) < fraction}
    sides: tuple[list[Clip], list[Clip]] = ([], [])
    for clip, name in zip(rows, names, strict=True):
        sides[name in held].append(clip)
    if not sides[0]:
        raise UsageError("no clip is left for training: hold_out or fraction takes them all")
    return Split(train=tuple(sides[0]), validation=tuple(sides[1]))


def _draw(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\t{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
