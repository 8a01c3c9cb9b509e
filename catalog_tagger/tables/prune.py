"""Old runs that nobody needs any more are removed: never the newest committed row of a track.

A run of tagging goes once all its rows have been replaced by later ones, unless it is the newest of its source, by
which is told what the source no longer lists; a search for songs or a comparison goes unless it is the newest of its
kind. Runs of the last `keep` days stay, and whatever is not committed is left alone.

A run is removed in this order: ``runs/<run>/pruned`` is written; its files leave the Iceberg catalogue that is named;
``job.json``, so that nobody resumes it; ``commits/<run>.parquet`` and ``manifest.json``, so that nobody reads it;
its tables' files; what is left of ``runs/<run>``, the mark last.

Failure rule: whatever dies in between, a run is there or it is not, and the next prune removes what is left of one that
bears the mark. Who was reading a run's files at that moment meets a missing file and asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, RunManifest, committed_runs, require_warehouse, run_folder
from catalog_tagger.tables.published import COMMITS, MARK
from catalog_tagger.tables.schemas import TABLES_OF
from catalog_tagger.tables.views import connect


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A run that was, or would be, removed."""

    run_id: str
    kind: str
    committed_at: str
    files: int
    size_bytes: int


def prunable(store: Store, *, keep: timedelta, now: datetime | None = None) -> list[RunManifest]:
    """Committed runs that nobody needs, oldest first.

    Raises
    ------
    UsageError
        There is no warehouse at that place.
    """
    runs = committed_runs(store)
    if not runs:
        require_warehouse(store)
    before = (now or datetime.now(timezone.utc)) - keep
    old = [run for run in runs if _time(run.committed_at) < before]
    if not old:
        return []
    newest = {(run.kind, run.source if run.kind == TAG else None): run.run_id for run in runs}
    with connect(store, tables=("tracks",), columns=("track_id", "run_id", "tagged_at")) as connection:
        current = {run_id for (run_id,) in connection.execute("SELECT DISTINCT run_id FROM tracks").fetchall()}
    needed = current | set(newest.values())
    return [run for run in old if run.run_id not in needed]


def prune(
    store: Store, *, keep: timedelta, dry_run: bool = False, unregister: Callable[[set[str]], None] | None = None
) -> list[Pruned]:
    """Remove the runs of `prunable`, and what is left of those that an earlier call began to remove.

    Parameters
    ----------
    unregister
        Takes runs' files out of whatever else lists them, before any is removed.
    """
    wanted = prunable(store, keep=keep)
    found = [
        Pruned(
            run_id=run.run_id,
            kind=run.kind,
            committed_at=run.committed_at,
            files=len(run.files),
            size_bytes=sum(file.size_bytes for file in run.files),
        )
        for run in wanted
    ]
    if dry_run:
        return found
    begun = [name for name in store.children("runs") if store.exists(f"{run_folder(name)}/{MARK}")]
    going = list(dict.fromkeys([*begun, *(run.run_id for run in wanted)]))
    for run_id in going:
        store.write(f"{run_folder(run_id)}/{MARK}", b"")
    if unregister is not None and going:
        unregister(set(going))
    for run_id in going:
        _remove(store, run_id)
    return found


def _remove(store: Store, run_id: str) -> None:
    folder = run_folder(run_id)
    for name in (f"{folder}/job.json", f"{COMMITS}/{run_id}.parquet", f"{folder}/manifest.json"):
        store.remove(name)
    for tables in TABLES_OF.values():
        for table in tables:
            store.remove_below(f"{table}/run_id={run_id}")
    for name in store.children(folder):
        if name != MARK:
            store.remove_below(f"{folder}/{name}")
    store.remove_below(folder)


def _time(at: str) -> datetime:
    time = datetime.fromisoformat(at)
    return time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
