"""The tagging job: plan, run pieces of work on Ray, commit.

States of a run, told by what lies in ``runs/<run>/``: nothing (unknown), ``job.json`` (unfinished),
``manifest.json`` (committed). Running an unfinished run again does what is missing; running a committed
one does nothing. One driver at a time works on a run (`tables.lease`).

Failure rule: an error or an interruption leaves the run unfinished with every ended shard kept.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger._version import __version__
from catalog_tagger.errors import EXIT_OK, EXIT_QUARANTINED, CatalogTaggerError, RunError, StorageError, UsageError
from catalog_tagger.logs import driver_log
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import (
    FileEntry,
    RunManifest,
    ShardSummary,
    commit_run,
    read_manifest,
    read_shards,
    run_folder,
    sweep_run,
    unfinished_runs,
)
from catalog_tagger.tables.lease import HeldLease, Lease, hold, read_leases, require_free
from catalog_tagger.tables.published import publish
from catalog_tagger.tagging.bundle_names import name_bundles
from catalog_tagger.tagging.changes import Selection, select_changed
from catalog_tagger.tagging.config import TagConfig
from catalog_tagger.tagging.pieces import pieces_left
from catalog_tagger.tagging.plan import make_plan, plan_shards, read_plan_shards, write_plan
from catalog_tagger.tagging.progress import Progress
from catalog_tagger.tagging.skimming import Depth
from catalog_tagger.tagging.sources import list_tracks

_PACKAGES: Final = ("ray", "torch", "torchaudio", "pyarrow", "numpy", "av", "s3fs")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a call came to."""

    state: Literal["committed", "nothing_to_do", "already_committed"]
    run_id: str
    warehouse: str
    manifest: RunManifest | None
    """Of the run; None when there was nothing to do."""
    up_to_date: int
    removed: int = 0
    """Tracks that an earlier run of this source had and that the source no longer lists."""
    removed_ids: tuple[str, ...] = ()
    """The first 20 of them; all are in ``runs/<run>/removed.parquet`` of a run that had something to do."""
    unfinished_runs: tuple[str, ...] = ()
    """Other runs in the warehouse that were never finished."""
    finished: str | None = None
    """A run that was found unfinished and that this call finished, first of all or as all there was to do."""
    finished_quarantined: bool = False
    """Whether that one, when it is another than `run_id`, quarantined tracks."""

    @property
    def exit_code(self) -> int:
        """0, or 3 when this call quarantined tracks."""
        quarantined = self.state == "committed" and self.manifest is not None and self.manifest.quarantined > 0
        return EXIT_QUARANTINED if quarantined or self.finished_quarantined else EXIT_OK


@dataclass(frozen=True, kw_only=True)
class _Plan:
    name: str
    """Of the plan in the warehouse."""
    shards: dict[str, int]
    """Shard -> its tracks, in order."""
    tracks: int
    size_bytes: int
    up_to_date: int
    removed: int
    started_at: str
    cost_per_hour: float | None
    depth: Depth
    """What the run was started with, both."""


def run_tag_job(config: TagConfig, *, on_progress: Callable[[Progress], None] | None = None) -> RunResult:
    """Tag what a source has that the warehouse has not.

    Without a `run_id` of its own the job first finishes the newest run of the same source and bundles that
    was left unfinished, and then does what has changed since. It refuses while somebody works on one.

    Parameters
    ----------
    config
        The job.
    on_progress
        Called about twice a second from another thread.

    Raises
    ------
    CatalogTaggerError
        Bad input, a store that refuses, a cluster that cannot be used, another driver on the same run,
        actors that die whatever they are given.
    KeyboardInterrupt
        As it came; the run can be resumed.
    """
    try:
        return _run_tag_job(config, on_progress)
    except CatalogTaggerError as error:
        driver_log(run_id=config.run_id).event("run_failed", source=config.source, message=str(error))
        raise


def _run_tag_job(config: TagConfig, on_progress: Callable[[Progress], None] | None) -> RunResult:
    warehouse = Store(config.warehouse)
    if "run_id" in config.model_fields_set:
        committed = read_manifest(warehouse, config.run_id)
        if committed is not None:
            return _already(warehouse, committed)
    bundle_ids = name_bundles(config.bundles)
    left = None if "run_id" in config.model_fields_set else left_behind(warehouse, config.source, bundle_ids)
    if left is None:
        return _run(warehouse, config, bundle_ids, on_progress)
    finished = _run(warehouse, config.model_copy(update={"run_id": left}), bundle_ids, on_progress)
    since = _run(warehouse, config, bundle_ids, on_progress)
    if since.state == "nothing_to_do":
        return replace(finished, removed=since.removed, removed_ids=since.removed_ids, finished=left)
    return replace(since, finished=left, finished_quarantined=finished.exit_code == EXIT_QUARANTINED)


def left_behind(warehouse: Store, source: str, bundle_ids: list[str]) -> str | None:
    """The newest unfinished run of the same source and bundles.

    Raises
    ------
    RunError
        Somebody is working on it: the same work would be done twice.
    """
    begun = []
    for run_id in unfinished_runs(warehouse):
        try:
            job = json.loads(warehouse.read(f"{run_folder(run_id)}/job.json"))
            if (job["source"], job["bundles"]) == (source, bundle_ids):
                begun.append((job["started_at"], run_id))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # of no use to anybody: it stays among the unfinished
    for _, run_id in begun:
        require_free(warehouse, run_id)
    return max(begun)[1] if begun else None


def _run(
    warehouse: Store, config: TagConfig, bundle_ids: list[str], on_progress: Callable[[Progress], None] | None
) -> RunResult:
    """Begin or resume one run."""
    others = tuple(run for run in unfinished_runs(warehouse) if run != config.run_id)
    selected = None
    if _resume(warehouse, config, bundle_ids) is None:
        selected = select_changed(
            list_tracks(config.source, roots=config.roots),
            warehouse,
            bundle_ids=bundle_ids,
            source=config.source,
            retry=config.retry_quarantined,
            depth=config.depth,
        )
        if selected.todo.num_rows == 0:
            return RunResult(
                state="nothing_to_do",
                run_id=config.run_id,
                warehouse=warehouse.uri,
                manifest=None,
                up_to_date=selected.up_to_date,
                removed=selected.removed.num_rows,
                removed_ids=_first_ids(selected.removed),
                unfinished_runs=others,
            )
    with hold(warehouse, config.run_id) as lease:
        committed = read_manifest(warehouse, config.run_id)
        if committed is not None:  # by whoever held the run before
            return _already(warehouse, committed)
        plan = _resume(warehouse, config, bundle_ids)
        if plan is None:
            assert selected is not None, "a job that was there has been removed"
            plan = _begin(warehouse, config, bundle_ids, selected)
        manifest = _execute(warehouse, config, bundle_ids, plan, lease, on_progress=on_progress)
    return RunResult(
        state="committed",
        run_id=config.run_id,
        warehouse=warehouse.uri,
        manifest=manifest,
        up_to_date=plan.up_to_date,
        removed=plan.removed,
        removed_ids=() if selected is None else _first_ids(selected.removed),
        unfinished_runs=others,
    )


def _already(warehouse: Store, committed: RunManifest) -> RunResult:
    sweep_run(warehouse, committed)  # whoever committed it may have died before this
    return RunResult(
        state="already_committed",
        run_id=committed.run_id,
        warehouse=warehouse.uri,
        manifest=committed,
        up_to_date=committed.up_to_date,
        removed=committed.removed,
    )


def _first_ids(removed: pa.Table) -> tuple[str, ...]:
    return tuple(removed["track_id"].slice(0, 20).to_pylist())


def _begin(warehouse: Store, config: TagConfig, bundle_ids: list[str], selected: Selection) -> _Plan:
    """Plan a new run and write it down."""
    table = make_plan(selected.todo, shard_tracks=config.shard_tracks, shard_bytes=config.shard_bytes)
    shards = _tracks_of(plan_shards(table))
    digest = hashlib.blake2b("\n".join(shards).encode(), digest_size=6).hexdigest()
    folder = run_folder(config.run_id)
    plan = _Plan(
        name=f"{folder}/plan-{digest}",
        shards=shards,
        tracks=table.num_rows,
        size_bytes=pc.sum(table["size_bytes"]).as_py() or 0,
        up_to_date=selected.up_to_date,
        removed=selected.removed.num_rows,
        started_at=_now(),
        cost_per_hour=config.cost_per_hour,
        depth=config.depth,
    )
    write_plan(warehouse, plan.name, table)
    if plan.removed:
        buffer = io.BytesIO()
        pq.write_table(selected.removed, buffer, compression="zstd")
        warehouse.write(f"{folder}/removed.parquet", buffer.getbuffer())
    job = {
        "source": config.source,
        "bundles": bundle_ids,
        "plan": plan.name,
        "tracks": plan.tracks,
        "shards": len(shards),
        "size_bytes": plan.size_bytes,
        "up_to_date": plan.up_to_date,
        "removed": plan.removed,
        "started_at": plan.started_at,
        "config": config.model_dump(mode="json"),
    }
    warehouse.write(f"{folder}/job.json", json.dumps(job, indent=1).encode())
    return plan


def _resume(warehouse: Store, config: TagConfig, bundle_ids: list[str]) -> _Plan | None:
    """The plan of an unfinished run; None where there is none."""
    job_name = f"{run_folder(config.run_id)}/job.json"
    try:
        job = json.loads(warehouse.read(job_name))
        shards = read_plan_shards(warehouse, job["plan"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{warehouse.uri_of(job_name)}: damaged ({error}); start a run of another name") from error
    for key, mine in (("source", config.source), ("bundles", bundle_ids)):
        if job[key] != mine:
            raise UsageError(
                f"run {config.run_id} was started with {key} {job[key]!r}, not {mine!r}; "
                f"resume it with the same, or choose another --run-id"
            )
    return _Plan(
        name=job["plan"],
        shards=_tracks_of(shards),
        tracks=pc.sum(shards["tracks"]).as_py(),
        size_bytes=job["size_bytes"],
        up_to_date=job["up_to_date"],
        removed=job["removed"],
        started_at=job["started_at"],
        cost_per_hour=job["config"].get("cost_per_hour"),
        depth=job["config"].get("depth", "scan"),
    )


def _tracks_of(shards: pa.Table) -> dict[str, int]:
    """Shard -> its tracks, in the order of the plan."""
    return dict(zip(shards["shard"].to_pylist(), shards["tracks"].to_pylist(), strict=True))


def _execute(
    warehouse: Store,
    config: TagConfig,
    bundle_ids: list[str],
    plan: _Plan,
    lease: HeldLease,
    *,
    on_progress: Callable[[Progress], None] | None,
) -> RunManifest:
    """Do the pieces that are left and commit the run; a run has one depth, whatever it is resumed with."""
    config = config.model_copy(update={"depth": plan.depth})
    done = read_shards(warehouse, config.run_id)
    pieces, counted = pieces_left(plan.shards, done)
    results = [done[name] for name in counted]
    if pieces:
        # Ray is imported here, so that planning and refusing bad input stay quick
        from catalog_tagger.tagging.execution import execute

        before = [summary for summary, _ in results]
        resumed_bytes = sum(summary.size_bytes for summary in before)
        progress = Progress(
            run_id=config.run_id,
            tracks=sum(summary.tracks for summary in before),
            tracks_total=plan.tracks,
            quarantined=sum(summary.quarantined for summary in before),
            audio_s=0.0,
            size_bytes=resumed_bytes,
            size_bytes_total=plan.size_bytes,
            resumed_bytes=resumed_bytes,
            elapsed_s=0.0,
        )
        driver_log(run_id=config.run_id).event("run_begun", source=config.source, pieces=len(pieces))
        results += execute(config, plan.name, bundle_ids, pieces, lease, before=progress, on_progress=on_progress)
    lease.beat()
    manifest = _manifest(config, bundle_ids, plan, results, read_leases(warehouse, config.run_id))
    lease.require()
    if not commit_run(warehouse, manifest):
        raise RunError(f"run {config.run_id}: another driver has committed it; nothing is lost and nothing is twice")
    publish(warehouse, committed=manifest)
    told = {key: getattr(manifest, key) for key in ("tracks", "tagged", "quarantined", "audio_s", "wall_s")}
    driver_log(run_id=manifest.run_id).event("run_committed", **told)
    return manifest


def _manifest(
    config: TagConfig,
    bundle_ids: list[str],
    plan: _Plan,
    results: list[tuple[ShardSummary, list[FileEntry]]],
    leases: list[Lease],
) -> RunManifest:
    summaries = [summary for summary, _ in results]
    tracks = sum(summary.tracks for summary in summaries)
    if tracks != plan.tracks:
        raise RunError(
            f"run {config.run_id}: {tracks} of {plan.tracks} planned tracks are accounted for; "
            f"run it again with --run-id {config.run_id}"
        )
    price = plan.cost_per_hour if config.cost_per_hour is None else config.cost_per_hour
    codes: Counter[str] = Counter()
    heard: dict[str, Counter[str]] = {}
    for summary in summaries:
        codes.update(summary.quarantined_by_code)
        for column, counts in summary.heard.items():
            heard.setdefault(column, Counter()).update(counts)
    return RunManifest(
        run_id=config.run_id,
        started_at=plan.started_at,
        committed_at=_now(),
        source=config.source,
        bundles=bundle_ids,
        versions={"catalog_tagger": __version__, **{name: version(name) for name in _PACKAGES}},
        config={**config.model_dump(mode="json"), "cost_per_hour": price},
        tracks=tracks,
        tagged=sum(summary.tagged for summary in summaries),
        quarantined=sum(summary.quarantined for summary in summaries),
        segments=sum(summary.segments for summary in summaries),
        audio_s=sum(summary.audio_s for summary in summaries),
        wall_s=round(sum(lease.session.wall_s for lease in leases), 3),
        up_to_date=plan.up_to_date,
        quarantined_by_code=dict(codes),
        workers=dict(Counter(summary.worker for summary in summaries)),
        files=sorted((file for _, files in results for file in files), key=lambda file: file.name),
        size_bytes=plan.size_bytes,
        removed=plan.removed,
        sessions=[lease.session for lease in leases],
        heard={column: dict(counter.most_common()) for column, counter in heard.items()},
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
