"""What the tasks of a search have found, kept until it is committed.

``index/peaks-<version>/found/<task>.json``: the shows that a task has searched, `Searched` as JSON. The name is made
of all that the task depends on, so that whoever searches next, after a driver died, finds what was done.

Failure rule: a file that is missing or damaged is a task to do again; all are removed when a search is committed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from catalog_tagger.fingerprints.matching import Match
from catalog_tagger.songs.segments import INDEX, name_of
from catalog_tagger.storage import Store

_FOUND: Final = f"{INDEX}/found"

Stretches = list[tuple[float, float]]


@dataclass(frozen=True)
class Found:
    """A song in a show."""

    song_track_id: str
    song_run_id: str
    match: Match


@dataclass(frozen=True)
class Searched:
    """A show that was searched.

    Attributes
    ----------
    stretches
        What was searched, starts and ends in s.
    music
        Where music is heard for sure.
    found
        Those that are likelier than chance.
    """

    track_id: str
    run_id: str
    stretches: Stretches
    music: Stretches
    found: tuple[Found, ...]


def kept(store: Store, depends_on: list[str]) -> list[Searched] | None:
    """What a task found that depends on the same; None where none did."""
    try:
        return [_show(row) for row in json.loads(store.read(_place(depends_on)))]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def keep(store: Store, depends_on: list[str], shows: list[Searched]) -> None:
    """Keep what a task found."""
    store.write(_place(depends_on), json.dumps([asdict(show) for show in shows]).encode())


def sweep_kept(store: Store) -> None:
    """Remove all that was kept."""
    for name in store.children(_FOUND):
        store.remove(f"{_FOUND}/{name}")


def _place(depends_on: list[str]) -> str:
    return f"{_FOUND}/{name_of(depends_on)}.json"


def _show(row: dict[str, Any]) -> Searched:
    stretches, music = ([(start, end) for start, end in row[name]] for name in ("stretches", "music"))
    found = (Found(one["song_track_id"], one["song_run_id"], Match(**one["match"])) for one in row["found"])
    return Searched(row["track_id"], row["run_id"], stretches, music, tuple(found))
