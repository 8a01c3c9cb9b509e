"""What a job would have to do, how long that takes and what it costs, before anything is started.

The arithmetic, all of it:

- audio seconds of a track = its bytes / bytes per second of audio files with its extension;
- wall time = `START_S` + audio seconds / (rate of a core x cores);
- cost = wall time in hours x nodes x price of a node for an hour.

Both rates are measured where that is possible: bytes per second over the warehouse's current rows of
the same extension, the rate of a core over its committed runs, their start left out, once they add up
to `_ENOUGH_S` seconds of work: over those with bundles of the same names where they are enough, for a run
with more of them takes longer, else over all. Else they are defaults that ship with the product, and the answer says
which it used. Tracks whose size is not known count as many bytes as the others have on average; where no
size is known, neither length nor time nor cost is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, Session, committed_runs, read_manifest
from catalog_tagger.tables.views import connect
from catalog_tagger.tagging.bundle_set import PEAKS_ID, load_bundles
from catalog_tagger.tagging.changes import REMOVED, select_changed
from catalog_tagger.tagging.config import TagConfig
from catalog_tagger.tagging.job import left_behind
from catalog_tagger.tagging.pieces import Piece
from catalog_tagger.tagging.plan import PLAN, make_plan, plan_shards, read_plan
from catalog_tagger.tagging.runs import read_begun
from catalog_tagger.tagging.sources import list_tracks

#: seconds of audio per second and core of the whole job with one bundle, two cores of an AMD EPYC without a GPU
DEFAULT_RATE: Final = 315.0
#: what each further bundle adds to its time, front end shared (`tests/bench/bench_bundles.py`)
_FURTHER_BUNDLE: Final = 0.2
#: 128 kb/s, what most lossy catalogues come near to
_LOSSY_BYTES_PER_S: Final = 16_000.0
#: 16 bit stereo at 44.1 kHz, and what FLAC leaves of it
_UNCOMPRESSED_BYTES_PER_S: Final = 176_400.0
_LOSSLESS_BYTES_PER_S: Final = 100_000.0
DEFAULT_BYTES_PER_S: Final[Mapping[str, float]] = {
    **dict.fromkeys(("wav", "wave", "w64", "aif", "aiff", "aifc"), _UNCOMPRESSED_BYTES_PER_S),
    "flac": _LOSSLESS_BYTES_PER_S,
}
#: Ray and the models, before the first track
START_S: Final = 10.0
_ENOUGH_S: Final = 60.0
_NEWEST_RUNS: Final = 20

_LENGTH_COLUMNS: Final = ("track_id", "run_id", "status", "uri", "size_bytes", "duration_s", "tagged_at")
#: of a uri; a tar's member without one has none
_EXTENSION: Final = r"\.([^./#]*)$"
_LENGTHS_SQL: Final = """
    SELECT lower(regexp_extract(uri, $extension, 1)) AS extension, sum(size_bytes) / sum(duration_s) AS bytes_per_s
    FROM tracks WHERE status = 'tagged' AND size_bytes > 0 AND duration_s > 0 GROUP BY 1"""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What an estimate rests on."""

    rate_per_core: float = DEFAULT_RATE
    """Seconds of audio per second and core."""
    measured_runs: int = 0
    """Runs that it was measured in; 0 for the default that ships."""
    bytes_per_s: Mapping[str, float]
    """Extension -> bytes per second of audio, as measured; others have the defaults that ship."""
    nodes: int = 1
    cpus: int = 1
    """Of a node. Both as the newest measured run had them, else as this machine has."""

    def bytes_per_second_of(self, extension: str) -> float:
        """Bytes of a second of audio in a file with that extension."""
        return self.bytes_per_s.get(extension) or DEFAULT_BYTES_PER_S.get(extension, _LOSSY_BYTES_PER_S)


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a job would come to."""

    state: Literal["dry_run"] = "dry_run"
    run_id: str
    source: str
    warehouse: str
    tracks: int
    up_to_date: int
    removed: int
    removed_ids: tuple[str, ...]
    """The first 20 of them."""
    shards: int
    size_bytes: int
    """Encoded audio of the tracks to do, as far as sizes are known."""
    tracks_without_size: int
    audio_s: float | None
    """None, as what follows from it, where there are tracks and the size of none is known."""
    nodes: int
    cpus: int
    """Of a node."""
    wall_s: float | None
    cost: float | None
    """Of the machines, in the currency of `cost_per_hour`; None where that is not set or the time not known."""
    cost_per_hour: float | None
    rate_per_core: float
    """Seconds of audio per second and core."""
    measured_runs: int
    """Runs of this warehouse that the rate was measured in; 0: the default that ships."""
    measured_extensions: tuple[str, ...]
    default_extensions: tuple[str, ...]
    """Extensions to do whose bytes per second of audio were measured in this warehouse, and which have defaults; one
    is empty where files have none."""


def plan_only(
    config: TagConfig, *, nodes: int | None = None, cpus: int | None = None, tracks: pa.Table | None = None
) -> DryRun:
    """Plan a job and estimate it; starts and writes nothing.

    A run that is unfinished is estimated by what is left of it, one that is finished by nothing. Without a
    `run_id` of its own the job would finish what it left unfinished before: what that has done is not to do.

    Parameters
    ----------
    nodes, cpus
        Machines, and CPUs of each, to reckon with; by default those of the newest measured run, else this one.
    tracks
        Columns of `TRACK_LIST`, in place of those that the source lists.

    Raises
    ------
    CatalogTaggerError
        As the job itself would refuse the source, the bundles, the warehouse.
    """
    warehouse = Store(config.warehouse)
    bundle_ids = load_bundles(config.bundles).ids
    rates = measured_rates(warehouse, bundle_ids)
    estimate = partial(_estimated, config, warehouse.uri, rates, nodes=nodes or rates.nodes, cpus=cpus or rates.cpus)
    named = "run_id" in config.model_fields_set
    committed = read_manifest(warehouse, config.run_id) if named else None
    if committed is not None:
        return estimate(PLAN.empty_table(), shards=0, up_to_date=committed.tracks, removed=REMOVED.empty_table())
    begun = read_begun(warehouse, config.run_id) if named else None
    if begun is not None:
        plan = read_plan(warehouse, begun.job["plan"])
        return estimate(
            _rows_of(plan, begun.left),
            shards=len({piece.shard for piece in begun.left}),
            up_to_date=begun.job["up_to_date"] + sum(summary.tracks for summary in begun.done),
            removed=REMOVED.empty_table(),
        )
    selected = select_changed(
        list_tracks(config.source, roots=config.roots) if tracks is None else tracks,
        warehouse,
        bundle_ids=bundle_ids,
        source=config.source,
        retry=config.retry_quarantined,
    )
    todo = selected.todo
    left = None if named else left_behind(warehouse, config.source, bundle_ids)
    if left is not None:
        todo = _without_done(todo, warehouse, left)
    shards = 0
    if todo.num_rows:
        plan = make_plan(todo, shard_tracks=config.shard_tracks, shard_bytes=config.shard_bytes)
        shards = plan_shards(plan).num_rows
    up_to_date = selected.up_to_date + selected.todo.num_rows - todo.num_rows
    return estimate(todo, shards=shards, up_to_date=up_to_date, removed=selected.removed)


def _without_done(todo: pa.Table, warehouse: Store, run_id: str) -> pa.Table:
    """Tracks that an unfinished run has not finished yet, or that changed since it was planned."""
    begun = read_begun(warehouse, run_id)
    if begun is None:
        return todo
    plan = read_plan(warehouse, begun.job["plan"])
    left = _rows_of(plan, begun.left)
    done = plan.filter(pc.invert(pc.is_in(plan["track_id"], value_set=left["track_id"])))
    at = pc.index_in(todo["track_id"], value_set=done["track_id"]).combine_chunks()
    etag = pc.fill_null(todo["etag"], "")
    same = pc.or_(pc.equal(etag, pc.fill_null(done["etag"].take(at), "")), pc.equal(etag, ""))
    return todo.filter(pc.invert(pc.and_(pc.is_valid(at), same)))


def _rows_of(plan: pa.Table, pieces: Sequence[Piece]) -> pa.Table:
    """The rows of a plan that pieces of its shards stand for."""
    starts = np.concatenate([[0], np.cumsum(plan_shards(plan)["tracks"].to_numpy())])
    parts = [plan.slice(int(starts[piece.index]) + piece.first, piece.count) for piece in pieces]
    return pa.concat_tables([PLAN.empty_table(), *parts])


def _estimated(
    config: TagConfig,
    warehouse: str,
    rates: Rates,
    todo: pa.Table,
    *,
    shards: int,
    up_to_date: int,
    removed: pa.Table,
    nodes: int,
    cpus: int,
) -> DryRun:
    sizes = bytes_by_extension(todo)
    unknown = todo["size_bytes"].null_count
    audio_s = audio_seconds(sizes, rates, unknown_share=unknown / todo.num_rows if todo.num_rows else 0.0)
    wall_s: float | None = 0.0
    if todo.num_rows:
        cores = nodes * cpus
        wall_s = None if audio_s is None else wall_seconds(audio_s, rate_per_core=rates.rate_per_core, cores=cores)
    return DryRun(
        run_id=config.run_id,
        source=config.source,
        warehouse=warehouse,
        tracks=todo.num_rows,
        up_to_date=up_to_date,
        removed=removed.num_rows,
        removed_ids=tuple(removed["track_id"].slice(0, 20).to_pylist()),
        shards=shards,
        size_bytes=sum(sizes.values()),
        tracks_without_size=unknown,
        audio_s=audio_s,
        nodes=nodes,
        cpus=cpus,
        wall_s=wall_s,
        cost=None if wall_s is None else cost_of(wall_s, nodes=nodes, cost_per_hour=config.cost_per_hour),
        cost_per_hour=config.cost_per_hour,
        rate_per_core=rates.rate_per_core,
        measured_runs=rates.measured_runs,
        measured_extensions=tuple(sorted(sizes.keys() & rates.bytes_per_s.keys())),
        default_extensions=tuple(sorted(sizes.keys() - rates.bytes_per_s.keys())),
    )


def audio_seconds(sizes: Mapping[str, int], rates: Rates, *, unknown_share: float = 0.0) -> float | None:
    """Length of the audio in so many bytes by extension; `unknown_share` of the tracks are not among them.

    None where that is all of them.
    """
    known = sum(size / rates.bytes_per_second_of(extension) for extension, size in sizes.items())
    return known / (1.0 - unknown_share) if unknown_share < 1.0 else None


def wall_seconds(audio_s: float, *, rate_per_core: float, cores: int) -> float:
    """How long so much audio takes, the start included."""
    return START_S + audio_s / (rate_per_core * cores)


def cost_of(wall_s: float, *, nodes: int, cost_per_hour: float | None) -> float | None:
    """Price of so many machines for so long; None where no price is set."""
    return None if cost_per_hour is None else wall_s / 3600.0 * nodes * cost_per_hour


def core_seconds(sessions: Iterable[Session]) -> float:
    """Seconds of work of a core, the start of each session left out."""
    total = 0.0
    for session in sessions:
        machine_s = session.node_s or session.wall_s * session.nodes
        nodes = max(session.nodes, 1)
        total += max(0.0, machine_s / nodes - START_S) * session.cpus
    return total


def default_rate(bundles: int) -> float:
    """Seconds of audio per second and core with so many bundles."""
    return DEFAULT_RATE / (1.0 + _FURTHER_BUNDLE * (max(bundles, 1) - 1))


def measured_rate(runs: Sequence[RunManifest], *, bundle_ids: Sequence[str] = ()) -> tuple[float, list[RunManifest]]:
    """Seconds of audio per second and core over the newest runs, and those it was measured in.

    Where runs with bundles of the same names as `bundle_ids` did enough work, they alone count.
    """
    names = _names_of(bundle_ids)
    for chosen in ([run for run in runs if _names_of(run.bundles) == names], runs):
        used = [run for run in chosen[-_NEWEST_RUNS:] if run.audio_s > 0 and core_seconds(run.sessions) > 0]
        worked_s = sum(core_seconds(run.sessions) for run in used)
        if worked_s >= _ENOUGH_S:
            return sum(run.audio_s for run in used) / worked_s, used
    return default_rate(len(_names_of(bundle_ids))), []


def _names_of(bundle_ids: Sequence[str]) -> list[str]:
    return [identity.partition("@")[0] for identity in bundle_ids if identity != PEAKS_ID]


def measured_rates(warehouse: Store, bundle_ids: Sequence[str] = ()) -> Rates:
    """What a warehouse's committed runs say of one with these bundles."""
    runs = committed_runs(warehouse) if warehouse.children("runs") else []
    own = Rates(bytes_per_s={}, cpus=usable_cpus(), rate_per_core=default_rate(len(_names_of(bundle_ids))))
    if not runs:
        return own
    with connect(warehouse, tables=("tracks",), columns=_LENGTH_COLUMNS) as connection:
        lengths = dict(connection.execute(_LENGTHS_SQL, {"extension": _EXTENSION}).fetchall())
    rate, used = measured_rate(runs, bundle_ids=bundle_ids)
    last = used[-1].sessions[-1] if used else None
    return Rates(
        rate_per_core=rate,
        measured_runs=len(used),
        bytes_per_s=lengths,
        nodes=max(last.nodes, 1) if last else own.nodes,
        cpus=max(last.cpus // max(last.nodes, 1), 1) if last else own.cpus,
    )


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs of this machine that a job may use: those this process may run on, within its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = map(float, " ".join((cgroup / name).read_text() for name in names).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            count = min(count, max(1, math.floor(quota / period)))
    return count


def bytes_by_extension(tracks: pa.Table) -> dict[str, int]:
    """Bytes of encoded audio by lower-case extension, empty where there is none; without tracks of unknown size."""
    last = pc.replace_substring_regex(tracks["uri"], rf"(?s)^.*{_EXTENSION}", r"\1")
    extension = pc.utf8_lower(pc.if_else(pc.match_substring_regex(tracks["uri"], _EXTENSION), last, ""))
    table = pa.table({"extension": extension, "size": pc.fill_null(tracks["size_bytes"], 0)})
    grouped = table.group_by("extension").aggregate([("size", "sum")])
    sizes = zip(grouped["extension"].to_pylist(), grouped["size_sum"].to_pylist(), strict=True)
    return {extension: int(size) for extension, size in sizes if size}
