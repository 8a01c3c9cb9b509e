"""Generations of the index: which segments it consists of.

``index/peaks-<version>/generation-<n>.json``, numbered from 1; the highest number counts. A generation lists every
segment, and every tagging run that they cover: ``{"segments": [SegmentInfo], "covered": [run_id]}``.

Failure rule: a generation is created once, where nobody has taken its number, after all its files are there.
Segments that neither of the two newest generations lists are removed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Final

from catalog_tagger.errors import RunError, StorageError
from catalog_tagger.songs.segments import BUILT, INDEX, SegmentInfo
from catalog_tagger.storage import Store

_NAME: Final = re.compile(r"generation-(\d{6})\.json")
_FILES: Final = ("postings.parquet", "songs.parquet", "sketches.parquet")


@dataclass(frozen=True)
class Generation:
    """The index at one moment."""

    number: int
    segments: tuple[SegmentInfo, ...]
    covered: frozenset[str]

    @property
    def songs_s(self) -> float:
        """Seconds of all songs."""
        return sum(segment.songs_s for segment in self.segments)


def newest_generation(store: Store) -> Generation:
    """The index as it is; number 0 and empty where there is none.

    Raises
    ------
    StorageError
        The newest generation is damaged.
    """
    numbers = _numbers(store)
    return _read(store, numbers[-1]) if numbers else Generation(0, (), frozenset())


def commit_generation(store: Store, generation: Generation) -> None:
    """Make a generation the newest, and remove what none refers to any more.

    Raises
    ------
    RunError
        Somebody else has made one of the same number.
    """
    name = f"{INDEX}/{_name(generation.number)}"
    content = {
        "segments": [asdict(segment) for segment in generation.segments],
        "covered": sorted(generation.covered),
    }
    if not store.create(name, json.dumps(content, indent=1).encode()):
        raise RunError(f"{store.uri_of(name)}: another run has updated the index meanwhile; run it again")
    _sweep(store)


def _sweep(store: Store) -> None:
    numbers = _numbers(store)
    kept = {segment.name for number in numbers[-2:] for segment in _read(store, number).segments}
    for number in numbers[:-2]:
        store.remove(f"{INDEX}/{_name(number)}")
    for name in store.children(INDEX):
        if name.endswith(BUILT):
            store.remove(f"{INDEX}/{name}")
        elif _NAME.fullmatch(name) is None and name not in kept:
            for file in _FILES:
                store.remove(f"{INDEX}/{name}/{file}")
    store.sweep(INDEX)


def _numbers(store: Store) -> list[int]:
    found = (_NAME.fullmatch(name) for name in store.children(INDEX))
    return sorted(int(match[1]) for match in found if match)


def _name(number: int) -> str:
    return f"generation-{number:06d}.json"


def _read(store: Store, number: int) -> Generation:
    name = f"{INDEX}/{_name(number)}"
    try:
        content = json.loads(store.read(name))
        segments = tuple(SegmentInfo(**segment) for segment in content["segments"])
        return Generation(number, segments, frozenset(content["covered"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{store.uri_of(name)}: damaged ({error}); remove {store.uri_of(INDEX)}, it is built again"
        ) from error
