"""What a job would have to do, how long that takes and what it costs, before anything is started.

The arithmetic, all of it:

- audio seconds of a track = its bytes / bytes per second of audio files with its extension;
- wall time = `START_S` + audio seconds / (rate of a core x cores);
- cost = wall time in hours x nodes x price of a node for an hour.

Both rates are the warehouse's own where it has measured enough (`rates`), else defaults: bit rates that are usual, and
the rate of a core by what was measured of the product (`costs`), for the depth, the bundles and the mean length of the
tracks, on a CPU like this machine's. The answer says which it used. Tracks whose size is not known count as many
bytes as the others have on average; where no size is known, neither length nor time nor cost is.

What a million tracks of that mean length cost on machines to hire follows from `costs` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from catalog_tagger.models.fused import best_dtype
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_manifest
from catalog_tagger.tagging.bundle_set import load_bundles
from catalog_tagger.tagging.changes import REMOVED, select_changed
from catalog_tagger.tagging.config import TagConfig
from catalog_tagger.tagging.costs import Catalogue, Listener, Million, core_rate, per_million
from catalog_tagger.tagging.job import left_behind
from catalog_tagger.tagging.pieces import Piece
from catalog_tagger.tagging.plan import PLAN, make_plan, plan_shards, read_plan
from catalog_tagger.tagging.rates import START_S, Rates, audio_seconds, bytes_by_extension, measured_rates, names_of
from catalog_tagger.tagging.runs import read_begun
from catalog_tagger.tagging.skimming import Depth
from catalog_tagger.tagging.sources import list_tracks


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a job would come to."""

    state: Literal["dry_run"] = "dry_run"
    run_id: str
    source: str
    warehouse: str
    depth: Depth
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
    """Runs of this warehouse and depth that the rate was measured in; 0: the default that ships."""
    measured_extensions: tuple[str, ...]
    default_extensions: tuple[str, ...]
    """Extensions to do whose bytes per second of audio were measured in this warehouse, and which have defaults; one
    is empty where files have none."""
    catalogue: Catalogue
    """The tracks to do as far as costs go; of a length that is usual where theirs is not known."""
    per_million: tuple[Million, ...]
    """A million such tracks on machines to hire, by every depth; empty where their length is not known."""


def plan_only(
    config: TagConfig, *, nodes: int | None = None, cpus: int | None = None, tracks: pa.Table | None = None
) -> DryRun:
    """Plan a job and estimate it; starts and writes nothing.

    A run that is unfinished is estimated by what is left of it, one that is finished by nothing. Without a
    `run_id` of its own the job would finish what it left unfinished before: what that has done is not to do.

    Parameters
    ----------
    nodes, cpus
        Machines, and CPUs of each, to reckon with; by default those of the newest run that did enough work, else this
        one.
    tracks
        Columns of `TRACK_LIST`, in place of those that the source lists.

    Raises
    ------
    CatalogTaggerError
        As the job itself would refuse the source, the bundles, the warehouse.
    """
    warehouse = Store(config.warehouse)
    bundles = load_bundles(config.bundles)
    bundle_ids = bundles.ids
    rates = measured_rates(warehouse, depth=config.depth, bundle_ids=bundle_ids)
    usual = Catalogue(bundles=tuple(names_of(bundle_ids)), can_skim=bundles.presence is not None, music=rates.music)
    estimate = partial(
        _estimated, config, warehouse.uri, rates, usual, nodes=nodes or rates.nodes, cpus=cpus or rates.cpus
    )
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
        depth=config.depth,
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
    usual: Catalogue,
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
    catalogue = replace(usual, track_s=audio_s / todo.num_rows) if audio_s else usual
    rate = rates.rate_per_core or core_rate(config.depth, catalogue, listener=_listener(config))
    wall_s: float | None = 0.0
    if todo.num_rows:
        wall_s = None if audio_s is None else wall_seconds(audio_s, rate_per_core=rate, cores=nodes * cpus)
    return DryRun(
        run_id=config.run_id,
        source=config.source,
        warehouse=warehouse,
        depth=config.depth,
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
        rate_per_core=rate,
        measured_runs=rates.measured_runs,
        measured_extensions=tuple(sorted(sizes.keys() & rates.bytes_per_s.keys())),
        default_extensions=tuple(sorted(sizes.keys() - rates.bytes_per_s.keys())),
        catalogue=catalogue,
        per_million=per_million(catalogue) if audio_s else (),
    )


def _listener(config: TagConfig) -> Listener:
    """What hears where nothing was measured: a GPU where one is asked for, else a CPU like this machine's."""
    if config.device == "gpu":
        return "gpu"
    return "bfloat16" if config.precision == "auto" and best_dtype() is torch.bfloat16 else "float32"


def wall_seconds(audio_s: float, *, rate_per_core: float, cores: int) -> float:
    """How long so much audio takes, the start included."""
    return START_S + audio_s / (rate_per_core * cores)


def cost_of(wall_s: float, *, nodes: int, cost_per_hour: float | None) -> float | None:
    """Price of so many machines for so long; None where no price is set."""
    return None if cost_per_hour is None else wall_s / 3600.0 * nodes * cost_per_hour
