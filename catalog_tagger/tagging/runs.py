"""The runs of a warehouse, finished or not: how far they are, what they did, what they cost.

A committed run is told by its ``manifest.json``. One that is not is told by its ``job.json``, by the
footers of the shards that it has finished and by the leases of its drivers; it is `running` while the
newest lease has not ended and was renewed within `ALIVE_S` by this machine's clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Literal

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import (
    TAG,
    RunManifest,
    Session,
    ShardSummary,
    read_manifest,
    read_shards,
    require_warehouse,
    run_folder,
)
from catalog_tagger.tables.lease import is_gone, read_leases
from catalog_tagger.tagging.pieces import Piece, pieces_left
from catalog_tagger.tagging.plan import read_plan_shards

ALIVE_S: Final = 60.0
_READERS: Final = 8
_OF_A_JOB: Final = {"plan", "source", "bundles", "started_at", "tracks", "removed", "size_bytes", "config"}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run at one moment; what cannot be known is None."""

    run_id: str
    state: Literal["committed", "running", "unfinished"]
    source: str
    started_at: str
    committed_at: str | None
    tracks: int
    """Planned ones."""
    tagged: int
    quarantined: int
    """Both so far."""
    removed: int
    audio_s: float
    """Of the tagged tracks, so far."""
    size_bytes: int
    """Encoded audio of the planned tracks."""
    wall_s: float | None
    """Of all sessions together."""
    machine_s: float | None
    """Seconds of machine time: nodes times the time that they were there."""
    times_real_time: float | None
    cost: float | None
    """Of the machines, by the run's own ``cost_per_hour``; None where it has none."""
    sessions: int
    bundles: list[str]
    kind: str = TAG
    """What it did; runs of another kind than `TAG` are seen once they are committed, and count what they looked at."""


def list_runs(warehouse: Store) -> list[RunSummary]:
    """Every run that has begun, oldest first.

    Raises
    ------
    UsageError
        There is no warehouse at that place.
    StorageError
        A run's files are damaged.
    """
    names = warehouse.children("runs")
    if not names:
        require_warehouse(warehouse)
    with ThreadPoolExecutor(_READERS) as pool:  # a few small objects for each
        found = [run for run in pool.map(lambda name: _summary(warehouse, name), names) if run is not None]
    return sorted(found, key=lambda run: (run.started_at, run.run_id))


def _summary(warehouse: Store, run_id: str) -> RunSummary | None:
    manifest = read_manifest(warehouse, run_id)
    return _of_manifest(manifest) if manifest is not None else _of_job(warehouse, run_id)


def _of_manifest(run: RunManifest) -> RunSummary:
    wall_s = sum(session.wall_s for session in run.sessions) if run.sessions else run.wall_s
    machine_s = machine_seconds(run.sessions) if run.sessions else None
    return RunSummary(
        run_id=run.run_id,
        state="committed",
        source=run.source,
        started_at=run.started_at,
        committed_at=run.committed_at,
        tracks=run.tracks,
        tagged=run.tagged,
        quarantined=run.quarantined,
        removed=run.removed,
        audio_s=run.audio_s,
        size_bytes=run.size_bytes,
        wall_s=wall_s,
        machine_s=machine_s,
        times_real_time=run.audio_s / wall_s if wall_s else None,
        cost=_cost(machine_s, run.config),
        sessions=len(run.sessions),
        bundles=run.bundles,
        kind=run.kind,
    )


def _of_job(warehouse: Store, run_id: str) -> RunSummary | None:
    """A run without a manifest; None where nothing has begun."""
    begun = read_begun(warehouse, run_id)
    if begun is None:
        return None
    job = begun.job
    leases = read_leases(warehouse, run_id)
    sessions = [lease.session for lease in leases]
    held = bool(leases) and not leases[-1].ended and not is_gone(leases[-1])
    running = held and _age_s(sessions[-1]) < ALIVE_S
    machine_s, wall_s = machine_seconds(sessions), sum(session.wall_s for session in sessions)
    audio_s = sum(summary.audio_s for summary in begun.done)
    return RunSummary(
        run_id=run_id,
        state="running" if running else "unfinished",
        source=job["source"],
        started_at=job["started_at"],
        committed_at=None,
        tracks=job["tracks"],
        tagged=sum(summary.tagged for summary in begun.done),
        quarantined=sum(summary.quarantined for summary in begun.done),
        removed=job["removed"],
        audio_s=audio_s,
        size_bytes=job["size_bytes"],
        wall_s=wall_s,
        machine_s=machine_s,
        times_real_time=audio_s / wall_s if wall_s else None,
        cost=_cost(machine_s, job["config"]),
        sessions=len(sessions),
        bundles=job["bundles"],
    )


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that has a plan and no manifest."""

    job: dict[str, Any]
    """``job.json``."""
    done: list[ShardSummary]
    """Of its finished shards, and parts of shards."""
    left: list[Piece]


def read_begun(warehouse: Store, run_id: str) -> Begun | None:
    """How far a run is that is not committed; None where nothing has begun.

    Raises
    ------
    StorageError
        The run's files are damaged.
    """
    name = f"{run_folder(run_id)}/job.json"
    try:
        job = json.loads(warehouse.read(name))
        missing = _OF_A_JOB - set(job)
        if missing:
            raise KeyError(*missing)
        shards = read_plan_shards(warehouse, job["plan"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{warehouse.uri_of(name)}: damaged ({error}); restore or remove the file") from error
    counts = dict(zip(shards["shard"].to_pylist(), shards["tracks"].to_pylist(), strict=True))
    found = read_shards(warehouse, run_id)
    left, counted = pieces_left(counts, found)
    return Begun(job=job, done=[found[name][0] for name in counted], left=left)


def machine_seconds(sessions: Sequence[Session]) -> float:
    """Machine time of several sessions."""
    return sum(session.node_s or session.wall_s * session.nodes for session in sessions)


def _cost(machine_s: float | None, config: dict[str, Any]) -> float | None:
    price = config.get("cost_per_hour")
    return None if machine_s is None or price is None else machine_s / 3600.0 * float(price)


def _age_s(session: Session) -> float:
    return (datetime.now(timezone.utc) - datetime.fromisoformat(session.last_seen_at)).total_seconds()
