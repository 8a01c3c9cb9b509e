"""What of the tagging runs is current, for the index and the search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog_tagger.errors import UsageError
from catalog_tagger.songs.building import all_of
from catalog_tagger.songs.recordings import Shard
from catalog_tagger.songs.segments import SegmentInfo
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, RunManifest, committed_runs
from catalog_tagger.tables.views import connect
from catalog_tagger.tagging.skimming import IN_PART_SQL

_REPLACED_SQL: Final = (
    "SELECT run_id, list(track_id) FROM tracks_history ANTI JOIN tracks USING (track_id, run_id) "
    "WHERE run_id IN (SELECT run_id FROM tracks) GROUP BY run_id"
)
_CURRENT_SQL: Final = "SELECT run_id, count(*) FROM tracks WHERE status = 'tagged' GROUP BY run_id"
_COUNT_IN_PART_SQL: Final = f"SELECT count(*) FROM tracks WHERE status = 'tagged' AND {IN_PART_SQL}"  # noqa: S608
_COLUMNS: Final = ("track_id", "run_id", "status", "uri", "tagged_at", "scanned_s", "duration_s")


@dataclass(frozen=True)
class TaggedRun:
    """A committed tagging run that has fingerprints.

    Attributes
    ----------
    shards
        With their rows of fingerprints.
    replaced
        Tracks that a later run has tagged again.
    """

    run_id: str
    shards: tuple[tuple[Shard, int], ...]
    replaced: frozenset[str]


@dataclass(frozen=True)
class Catalogue:
    """The current tracks of a warehouse, by the runs that tagged them."""

    runs: dict[str, TaggedRun]
    """Runs with current tracks."""
    without_fingerprints: int
    """Current tagged tracks of runs that made none."""
    heard_in_part: int
    """Current tagged tracks of which a few segments were heard, which are neither searched nor searched for."""
    previous: RunManifest | None
    """The last search for songs."""

    def replaced(self, runs: set[str]) -> frozenset[tuple[str, str]]:
        """``(track_id, run_id)`` of rows of some runs that are not current any more."""
        known = (self.runs[run_id] for run_id in runs if run_id in self.runs)
        return frozenset((track, run.run_id) for run in known for track in run.replaced)

    def dead_of(self, runs: Iterable[str]) -> set[str]:
        """Of some runs, those that have no current track: all have been tagged again, and they may be pruned."""
        return {run_id for run_id in runs if run_id not in self.runs}

    def gone_from(self, store: Store, segments: Sequence[SegmentInfo]) -> frozenset[tuple[str, str]]:
        """``(track_id, run_id)`` of what segments of the index hold that is not current any more."""
        sources = {run_id for segment in segments for run_id in segment.sources}
        return self.replaced(sources) | all_of(store, self.dead_of(sources), segments)


def read_catalogue(store: Store, *, kind: str) -> Catalogue:
    """Look at all committed runs.

    Parameters
    ----------
    kind
        Of the runs of which `Catalogue.previous` is the last.

    Raises
    ------
    UsageError
        There is no warehouse, or no tagging run in it is committed.
    """
    committed = committed_runs(store)
    tagging = [run for run in committed if run.kind == TAG]
    with connect(store, tables=("tracks",), columns=_COLUMNS) as connection:
        if not tagging:
            raise UsageError(
                f"{store.uri}: no committed run; tag first: catalog-tagger tag SOURCE --warehouse {store.uri}"
            )
        old = connection.execute(_REPLACED_SQL).fetchall()
        current = connection.execute(_CURRENT_SQL).fetchall()
        (in_part,) = connection.execute(_COUNT_IN_PART_SQL).fetchall()[0]
    replaced, counts = dict(old), dict(current)
    runs = {}
    for run in tagging:
        shards = [file for file in run.files if file.table == "fingerprints"]
        if shards and run.run_id in counts:
            named = tuple((Shard(run.run_id, _stem(file.name)), file.rows) for file in shards)
            runs[run.run_id] = TaggedRun(run.run_id, named, frozenset(replaced.get(run.run_id, ())))
    before = [run for run in committed if run.kind == kind]
    return Catalogue(
        runs=runs,
        without_fingerprints=sum(count for run_id, count in counts.items() if run_id not in runs),
        heard_in_part=in_part,
        previous=before[-1] if before else None,
    )


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".parquet")
