"""The tagging job: plan, run shards on Ray, commit.

States of a run, told by what lies in ``runs/<run>/``: nothing (unknown), ``plan.parquet`` and
``job.json`` (unfinished), ``manifest.json`` (committed). Running an unfinished run again does the
shards that are missing; running a committed one does nothing.

Failure rule: an error or an interruption leaves the run unfinished with every ended shard kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, Final, Literal

from catalog_tagger._version import __version__
from catalog_tagger.errors import EXIT_OK, EXIT_QUARANTINED, CatalogTaggerError, RunError, StorageError, UsageError
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import (
    FileEntry,
    RunManifest,
    ShardSummary,
    commit_run,
    finished_shards,
    read_manifest,
    read_shard,
    run_folder,
    unfinished_runs,
)
from catalog_tagger.tagging.config import TagConfig
from catalog_tagger.tagging.plan import make_plan, read_plan, select_changed, write_plan
from catalog_tagger.tagging.progress import Progress
from catalog_tagger.tagging.sources import list_tracks
from catalog_tagger.tagging.tagger import presence_bundle

_LOOK_EVERY_S: Final = 0.5
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
    unfinished_runs: tuple[str, ...] = ()
    """Other runs in the warehouse that were never finished."""

    @property
    def exit_code(self) -> int:
        """0, or 3 when this call quarantined tracks."""
        quarantined = self.state == "committed" and self.manifest is not None and self.manifest.quarantined > 0
        return EXIT_QUARANTINED if quarantined else EXIT_OK


@dataclass(frozen=True, kw_only=True)
class _Plan:
    shards: list[str]
    tracks: int
    size_bytes: int
    up_to_date: int
    sizes: dict[str, tuple[int, int]]
    """Shard -> (tracks, bytes)."""


def run_tag_job(config: TagConfig, *, on_progress: Callable[[Progress], None] | None = None) -> RunResult:
    """Tag what a source has that the warehouse has not.

    Parameters
    ----------
    config
        The job.
    on_progress
        Called about twice a second from another thread.

    Raises
    ------
    CatalogTaggerError
        Bad input, a store that refuses, a cluster that cannot be used, a shard that cannot be done.
    KeyboardInterrupt
        As it came; the run can be resumed.
    """
    warehouse = Store(config.warehouse)
    committed = read_manifest(warehouse, config.run_id)
    if committed is not None:
        return RunResult(
            state="already_committed",
            run_id=config.run_id,
            warehouse=warehouse.uri,
            manifest=committed,
            up_to_date=committed.up_to_date,
        )
    bundles = [load_bundle(name) for name in config.bundles]
    presence_bundle(bundles)
    bundle_ids = [bundle.identity for bundle in bundles]
    others = tuple(run for run in unfinished_runs(warehouse) if run != config.run_id)
    plan = _resume(warehouse, config, bundle_ids) or _begin(warehouse, config, bundle_ids)
    manifest = _execute(warehouse, config, bundle_ids, plan, on_progress) if plan.shards else None
    return RunResult(
        state="nothing_to_do" if manifest is None else "committed",
        run_id=config.run_id,
        warehouse=warehouse.uri,
        manifest=manifest,
        up_to_date=plan.up_to_date,
        unfinished_runs=others,
    )


def _names(config: TagConfig) -> tuple[str, str]:
    folder = run_folder(config.run_id)
    return f"{folder}/plan.parquet", f"{folder}/job.json"


def _begin(warehouse: Store, config: TagConfig, bundle_ids: list[str]) -> _Plan:
    """Plan a new run and write it down; writes nothing when there is nothing to do."""
    selected = select_changed(list_tracks(config.source), warehouse, bundle_ids=bundle_ids)
    if selected.todo.num_rows == 0:
        return _Plan(shards=[], tracks=0, size_bytes=0, up_to_date=selected.up_to_date, sizes={})
    table = make_plan(selected.todo, shard_tracks=config.shard_tracks, shard_bytes=config.shard_bytes)
    plan_name, job_name = _names(config)
    write_plan(warehouse, plan_name, table)
    job = {
        "source": config.source,
        "bundles": bundle_ids,
        "up_to_date": selected.up_to_date,
        "started_at": _now(),
        "config": config.model_dump(mode="json"),
    }
    warehouse.write(job_name, json.dumps(job, indent=1).encode())
    return _summarised(table, selected.up_to_date)


def _resume(warehouse: Store, config: TagConfig, bundle_ids: list[str]) -> _Plan | None:
    """The plan of an unfinished run; None where there is none."""
    plan_name, job_name = _names(config)
    try:
        job = json.loads(warehouse.read(job_name))
        table = read_plan(warehouse, plan_name)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(f"{warehouse.uri_of(job_name)}: damaged ({error}); start a run of another name") from error
    for key, mine in (("source", config.source), ("bundles", bundle_ids)):
        if job[key] != mine:
            raise UsageError(
                f"run {config.run_id} was started with {key} {job[key]!r}, not {mine!r}; "
                f"resume it with the same, or choose another --run-id"
            )
    return _summarised(table, int(job["up_to_date"]))


def _summarised(table: Any, up_to_date: int) -> _Plan:
    grouped = table.group_by("shard", use_threads=False).aggregate([("track_id", "count"), ("size_bytes", "sum")])
    sizes = {
        row["shard"]: (row["track_id_count"], row["size_bytes_sum"] or 0)
        for row in grouped.sort_by("shard").to_pylist()
    }
    return _Plan(
        shards=list(sizes),
        tracks=table.num_rows,
        size_bytes=sum(size for _, size in sizes.values()),
        up_to_date=up_to_date,
        sizes=sizes,
    )


def _execute(
    warehouse: Store,
    config: TagConfig,
    bundle_ids: list[str],
    plan: _Plan,
    on_progress: Callable[[Progress], None] | None,
) -> RunManifest:
    # Ray is imported here, so that planning and refusing bad input stay quick
    from catalog_tagger.tagging.actor import ActorJob, ShardTagger
    from catalog_tagger.tagging.cluster import connected, map_shards
    from catalog_tagger.tagging.progress import make_board

    started = time.monotonic()
    done = [shard for shard in finished_shards(warehouse, config.run_id) if shard in plan.sizes]
    results = [read_shard(warehouse, config.run_id, shard) for shard in done]
    rows = [{"shard": shard, "index": i} for i, shard in enumerate(plan.shards) if shard not in set(done)]
    if rows:
        with connected(config.ray_address) as cluster:
            # with an autoscaler the GPUs may not be there yet: device "gpu" asks for them all the same
            on_gpu = config.device == "gpu" or (config.device == "auto" and cluster.gpus > 0)
            if config.device == "gpu" and not cluster.gpus and cluster.is_own:
                raise UsageError("device gpu: this machine has no GPU that Ray can see; use auto or cpu")
            most = min(config.max_actors or (cluster.gpus if on_gpu else 0) or cluster.nodes, len(rows))
            in_flight = config.decoders or max(2, cluster.cpus // most + 1)
            job = ActorJob(
                run_id=config.run_id,
                warehouse=warehouse.uri,
                plan=_names(config)[0],
                bundle_ids=tuple(bundle_ids),
                bundles=config.bundles,
                device=config.device,
                batch_segments=config.batch_segments,
                tracks_in_flight=in_flight,
                max_duration_s=config.max_duration_s,
                decode_timeout_s=config.decode_timeout_s,
                decode_memory_bytes=config.decode_memory_bytes,
                roots=config.roots,
            )
            board = make_board()
            with _watched(board, config.run_id, plan, [summary for summary, _ in results], on_progress):
                statuses = map_shards(
                    rows,
                    ShardTagger,
                    arguments=(job, board),
                    gpus=1 if on_gpu else 0,
                    actors=(min(config.min_actors, most), most),
                )
                results += _collected(statuses)
    manifest = _manifest(warehouse, config, bundle_ids, plan, results, wall_s=time.monotonic() - started)
    commit_run(warehouse, manifest)
    return manifest


def _collected(statuses: Any) -> list[tuple[ShardSummary, list[FileEntry]]]:
    results = []
    try:
        # closed here, while Ray still runs: a data set that is still working waits for ever for a Ray that has gone
        with closing(statuses):
            for row in statuses:
                status = json.loads(row["status"])
                if "error" in status:
                    raise StorageError(status["error"])
                results.append((ShardSummary(**status["summary"]), [FileEntry(**file) for file in status["files"]]))
    except (CatalogTaggerError, KeyboardInterrupt):
        raise
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, CatalogTaggerError):
            raise RunError(str(cause)) from error
        reason = str(cause).strip().splitlines() or [""]
        raise RunError(
            f"Ray gave up on a shard: {type(cause).__name__}: {reason[0]}; finished shards are kept"
        ) from error
    return results


class _watched:
    """Look at the board from a thread while the block runs."""

    def __init__(
        self,
        board: Any,
        run_id: str,
        plan: _Plan,
        before: list[ShardSummary],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._board, self._run_id, self._plan, self._on_progress = board, run_id, plan, on_progress
        self._tracks = sum(summary.tracks for summary in before)
        self._quarantined = sum(summary.quarantined for summary in before)
        self._bytes = sum(plan.sizes[summary.shard][1] for summary in before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)

    def __enter__(self) -> None:
        if self._on_progress is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._on_progress is not None:
            self._thread.join(timeout=5)

    def _look(self) -> None:
        import ray
        import ray.exceptions

        started = time.monotonic()
        last = False
        while not last:
            last = self._stop.wait(_LOOK_EVERY_S)
            try:
                total = ray.get(self._board.total.remote(), timeout=5)
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayError:
                return
            if self._on_progress is not None:
                self._on_progress(
                    Progress(
                        run_id=self._run_id,
                        tracks=self._tracks + total.tracks,
                        tracks_total=self._plan.tracks,
                        quarantined=self._quarantined + total.quarantined,
                        audio_s=total.audio_s,
                        size_bytes=self._bytes + total.size_bytes,
                        size_bytes_total=self._plan.size_bytes,
                        resumed_bytes=self._bytes,
                        elapsed_s=time.monotonic() - started,
                    )
                )


def _manifest(
    warehouse: Store,
    config: TagConfig,
    bundle_ids: list[str],
    plan: _Plan,
    results: list[tuple[ShardSummary, list[FileEntry]]],
    *,
    wall_s: float,
) -> RunManifest:
    summaries = [summary for summary, _ in results]
    tracks = sum(summary.tracks for summary in summaries)
    if tracks != plan.tracks or len(summaries) != len(plan.shards):
        raise RunError(
            f"run {config.run_id}: {tracks} of {plan.tracks} planned tracks are accounted for; "
            f"run it again with --run-id {config.run_id}"
        )
    codes: Counter[str] = Counter()
    for summary in summaries:
        codes.update(summary.quarantined_by_code)
    job = json.loads(warehouse.read(_names(config)[1]))
    return RunManifest(
        run_id=config.run_id,
        started_at=job["started_at"],
        committed_at=_now(),
        source=config.source,
        bundles=bundle_ids,
        versions={"catalog_tagger": __version__, **{name: version(name) for name in _PACKAGES}},
        config=config.model_dump(mode="json"),
        tracks=tracks,
        tagged=sum(summary.tagged for summary in summaries),
        quarantined=sum(summary.quarantined for summary in summaries),
        segments=sum(summary.segments for summary in summaries),
        audio_s=sum(summary.audio_s for summary in summaries),
        wall_s=wall_s,
        up_to_date=plan.up_to_date,
        quarantined_by_code=dict(codes),
        workers=dict(Counter(summary.worker for summary in summaries)),
        files=sorted((file for _, files in results for file in files), key=lambda file: file.name),
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
