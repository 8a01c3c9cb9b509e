"""What is left of a run's work shards, as pieces that can be tagged and committed by themselves.

A piece is a stretch ``[first, first + count)`` of a shard's tracks. As a rule it is the whole shard,
and its files are called by the shard's name alone. A piece that kills the actors it is given to is
split until the track that does it stands by itself; the files of a part are called
``<shard>.<first>-<end>``. So the files that a run has tell which tracks of a shard are done, and no
two files that are counted together overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_PART: Final = re.compile(r"(?P<shard>.+)\.(?P<first>\d+)-(?P<end>\d+)")
#: parts of a piece that is split: three rounds take 4 000 tracks apart
_PARTS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some or all tracks of a work shard."""

    shard: str
    index: int
    """Number of the shard in the plan."""
    first: int
    count: int
    total: int
    """Tracks of the whole shard."""

    @property
    def name(self) -> str:
        """Stem of the piece's files."""
        whole = self.first == 0 and self.count == self.total
        return self.shard if whole else f"{self.shard}.{self.first:06d}-{self.first + self.count:06d}"

    def split(self) -> list[Piece]:
        """Up to 16 parts of nearly equal size that cover the piece; a single track is not split further."""
        parts = min(_PARTS, self.count)
        bounds = [self.first + self.count * i // parts for i in range(parts + 1)]
        return [
            Piece(shard=self.shard, index=self.index, first=first, count=end - first, total=self.total)
            for first, end in pairwise(bounds)
        ]


def pieces_left(shards: Mapping[str, int], finished: Iterable[str]) -> tuple[list[Piece], list[str]]:
    """What remains to be done, and which of the finished files count.

    Parameters
    ----------
    shards
        Shard -> its tracks, in the order of the plan.
    finished
        Names of the pieces that have files.

    Returns
    -------
    pieces
        Of every shard the stretches that no counted file covers, in the order of the plan.
    counted
        Names of finished pieces that belong to the plan and overlap no other; the whole shard goes before
        its parts, and an earlier part before a later one.
    """
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for name in finished:
        shard, first, end = _parsed(name, shards)
        if shard is not None:
            spans.setdefault(shard, []).append((first, end, name))
    left, counted = [], []
    for index, (shard, total) in enumerate(shards.items()):
        at = 0
        for first, end, name in sorted(spans.get(shard, []), key=lambda span: (span[0], -span[1])):
            if first < at or not first < end <= total:
                continue
            if first > at:
                left.append(Piece(shard=shard, index=index, first=at, count=first - at, total=total))
            counted.append(name)
            at = end
        if at < total:
            left.append(Piece(shard=shard, index=index, first=at, count=total - at, total=total))
    return left, counted


def _parsed(name: str, shards: Mapping[str, int]) -> tuple[str | None, int, int]:
    if name in shards:
        return name, 0, shards[name]
    part = _PART.fullmatch(name)
    if part is None or part["shard"] not in shards:
        return None, 0, 0
    return part["shard"], int(part["first"]), int(part["end"])
