"""A reconcile run: everything is checked, then computed, then written and made visible at once.

Tables `flags`, `label_noise`, `flag_precision` and `decisions`, a file each, then ``manifest.json`` with the
shifts of the confidences in its `config`. A run gives the whole answer and is never resumed: what a killed
one left is invisible and is in nobody's way.

Failure rule: bad input is one `UsageError` before anything is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.reconcile import found, joining
from catalog_tagger.reconcile.claims import UNPLAYABLE, find_claims
from catalog_tagger.reconcile.config import ReconcileConfig
from catalog_tagger.reconcile.decisions import GIVEN, SHIFTS, Shift, fit_shifts, gather, given_of
from catalog_tagger.reconcile.evidence import find_evidence
from catalog_tagger.reconcile.flags import flag_rows, keep, resolved_rows
from catalog_tagger.reconcile.heard import keep_heard, open_warehouse, segments_of
from catalog_tagger.reconcile.known_tags import known_tags
from catalog_tagger.reconcile.mapping import MappingFile, MetadataMapping, fit_mapping, needs_tags, read_mapping
from catalog_tagger.reconcile.noise import Noise, estimate
from catalog_tagger.reconcile.reading import open_rows, text
from catalog_tagger.reconcile.reviewed import TAKEN, read_reviewed, taken_in
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, RunManifest, committed_runs, read_manifest, require_warehouse
from catalog_tagger.tables.lease import hold
from catalog_tagger.tables.schemas import DECISIONS, LABEL_NOISE
from catalog_tagger.tables.whole import Beginning, commit_tables

RECONCILE: Final = "reconcile"
_PACKAGES: Final = ("cleanlab", "duckdb", "pyarrow", "numpy")
_GIVEN: Final = "given_metadata"
_METADATA: Final = "metadata.parquet"
_HEARD: Final = "heard.parquet"


@dataclass(frozen=True, kw_only=True)
class ReconcileResult:
    """What a run came to."""

    run_id: str
    warehouse: str
    manifest: RunManifest
    coverage: joining.Coverage
    mapping: MetadataMapping
    unmapped: Mapping[str, Mapping[str, int]]
    """Field -> values that the mapping does not list -> rows."""
    unjudged: Mapping[str, tuple[str, ...]]
    """Field -> values whose noise cannot be estimated."""
    flags: pa.Table
    """As `schemas.FLAGS`, the surest first."""
    label_noise: pa.Table
    flag_precision: pa.Table
    decisions: int
    """On flags, all so far."""


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """Input that is known to be good."""

    connection: duckdb.DuckDBPyConnection
    runs: list[RunManifest]
    folder: Path
    mapping: MetadataMapping
    columns: list[str]
    coverage: joining.Coverage
    decisions: list[dict[str, Any]]
    reviewed: dict[str, int]
    """Session of reviewers -> rows that are among the decisions."""
    given: dict[str, list[str | None]]
    """What the file of decisions says."""
    shifts_before: Mapping[str, float]


def run_reconcile(config: ReconcileConfig) -> ReconcileResult:
    """Compare a warehouse with metadata, and write what does not agree.

    Raises
    ------
    UsageError
        The metadata, the mapping or the decisions are not usable, the warehouse has no committed run of
        tagging, or a run of that name is there; nothing is written.
    RunError
        Somebody works on a run of that name, or memory or disk do not suffice.
    StorageError
        The store refuses.
    """
    try:
        return _run(config, Store(config.warehouse))
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise RunError(
            f"the join cannot go on and nothing is committed ({str(error).splitlines()[0]}); give it more memory "
            "(memory_bytes) or a temporary folder with more room (temporary)"
        ) from error


def _run(config: ReconcileConfig, store: Store) -> ReconcileResult:
    begun = Beginning()
    with ExitStack() as stack:
        checked = _check(config, store, stack)
        held = stack.enter_context(hold(store, config.run_id))
        rows = stack.enter_context(_joined(config, checked))
        noise = estimate(rows, checked.mapping)
        claims = pa.concat_tables(
            [
                find_claims(rows, checked.mapping, noise),
                found.embedded_songs(checked.connection),
                found.duplicates(
                    checked.connection, key=checked.mapping.track_id, view=_GIVEN, columns=checked.columns
                ),
            ]
        ).combine_chunks()
        shifts = fit_shifts(checked.decisions)
        kept = keep(
            claims, run_id=config.run_id, precision=config.precision, shifts=shifts, decisions=checked.decisions
        )
        before = checked.connection.sql("SELECT * FROM flags").to_arrow_table()
        with segments_of(store, checked.runs, kept.claims.select(["track_id", "track_run_id"])) as segments:
            _bound(segments, config, checked.folder)
            evidence = find_evidence(segments, kept.claims)
        gone = resolved_rows(
            kept.claims, before, run_id=config.run_id, shifts=shifts, shifts_before=checked.shifts_before
        )
        flags = pa.concat_tables([flag_rows(kept.claims, evidence, before, run_id=config.run_id), gone])
        tables = {
            "flags": flags,
            "label_noise": _noise_rows(checked.mapping, noise, run_id=config.run_id),
            "flag_precision": kept.precision,
            "decisions": pa.Table.from_pylist(
                [{**row, "run_id": config.run_id} for row in checked.decisions], schema=DECISIONS
            ),
        }
        unmapped = joining.unmapped(checked.connection, checked.mapping)
        held.require()
        manifest = _commit(config, store, checked, tables, shifts=shifts, begun=begun)
    return ReconcileResult(
        run_id=config.run_id,
        warehouse=store.uri,
        manifest=manifest,
        coverage=checked.coverage,
        mapping=checked.mapping,
        unmapped=unmapped,
        unjudged=_unjudged(checked.mapping, noise),
        flags=flags,
        label_noise=tables["label_noise"],
        flag_precision=kept.precision,
        decisions=len(checked.decisions),
    )


def _check(config: ReconcileConfig, store: Store, stack: ExitStack) -> _Checked:
    """Everything that can be wrong with the input, before anything is written."""
    mapping: MappingFile | None = read_mapping(config.mapping) if isinstance(config.mapping, str) else config.mapping
    runs = committed_runs(store)
    if not runs:
        require_warehouse(store)
    if not any(run.kind == TAG for run in runs):
        raise UsageError(f"{store.uri}: no committed run of tagging yet; finish one with: catalog-tagger tag")
    if read_manifest(store, config.run_id) is not None:
        raise UsageError(f"run {config.run_id} is finished; give this one another --run-id")
    folder = Path(stack.enter_context(_temporary(config)))
    connection = stack.enter_context(open_warehouse(store, runs, folder))
    _bound(connection, config, folder)
    columns = open_rows(connection, config.metadata, view=_GIVEN)
    keep_heard(connection, folder / _HEARD)
    place = config.mapping if isinstance(config.mapping, str) else "mapping"
    tags = known_tags(connection) if needs_tags(mapping) else set()
    fitted = fit_mapping(mapping, columns, place=place, metadata=config.metadata, tags=tags)
    joining.narrow(connection, fitted, folder / _METADATA, place=config.metadata, view=_GIVEN)
    covered = joining.coverage(connection, place=config.metadata, warehouse=store.uri)
    shifts = {run.run_id: run.config.get(SHIFTS, {}) for run in runs if run.kind == RECONCILE}
    last = next((run for run in reversed(runs) if run.kind == RECONCILE), None)
    before = last.config.get(GIVEN, {}) if last is not None else {}
    reviewed, counts = read_reviewed(store, taken=taken_in(last))
    return _Checked(
        connection=connection,
        runs=runs,
        folder=folder,
        mapping=fitted,
        columns=columns,
        coverage=covered,
        decisions=gather(connection, config.decisions, shifts=shifts, reviewed=reviewed, given_before=before),
        reviewed=counts,
        given={**before, **given_of(connection, config.decisions)},
        shifts_before=shifts[last.run_id] if last is not None else {},
    )


def _temporary(config: ReconcileConfig) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="catalog-tagger-", dir=config.temporary)
    except OSError as error:
        raise UsageError(
            f"temporary {config.temporary}: {error.strerror}; name a folder that can be written"
        ) from error


def _bound(connection: duckdb.DuckDBPyConnection, config: ReconcileConfig, folder: Path) -> None:
    """Bounded memory: what goes beyond it is spilled."""
    connection.execute(f"SET memory_limit = '{config.memory_bytes // 2**20}MiB'")
    connection.execute(f"SET temp_directory = {text(str(folder / 'spilled'))}")
    connection.execute("SET preserve_insertion_order = false")


@contextmanager
def _joined(config: ReconcileConfig, checked: _Checked) -> Iterator[joining.Rows]:
    """The joined rows, made here or on a cluster."""
    if not config.ray:
        yield joining.join(checked.connection, checked.mapping, checked.folder / "joined.parquet")
        return
    from catalog_tagger.reconcile.cluster import joined_by_ray  # Ray takes a second that one machine needs not wait

    metadata, heard = checked.folder / _METADATA, checked.folder / _HEARD
    with joined_by_ray(checked.mapping, metadata=metadata, heard=heard, address=config.ray_address) as rows:
        yield rows


def _commit(
    config: ReconcileConfig,
    store: Store,
    checked: _Checked,
    tables: dict[str, pa.Table],
    *,
    shifts: Mapping[str, Shift],
    begun: Beginning,
) -> RunManifest:
    unplayable = tables["flags"]["kind"].to_pylist().count(UNPLAYABLE)
    return commit_tables(
        store,
        tables,
        run_id=config.run_id,
        kind=RECONCILE,
        source=config.metadata,
        begun=begun,
        packages=_PACKAGES,
        config={
            **config.model_dump(mode="json"),
            SHIFTS: {kind: shift.mean for kind, shift in shifts.items()},
            TAKEN: checked.reviewed,
            GIVEN: checked.given,
        },
        tracks=checked.coverage.matched,
        tagged=checked.coverage.matched - unplayable,
        quarantined=unplayable,
    )


def _noise_rows(mapping: MetadataMapping, noise: list[Noise], *, run_id: str) -> pa.Table:
    rows = [
        {
            "run_id": run_id,
            "field": field.name,
            "current_value": value,
            "true_value": kind,
            "tracks": int(of_field.tracks[v]),
            "expected": float(of_field.expected[v, j]),
        }
        for field, of_field in zip(mapping.fields, noise, strict=True)
        for v, value in enumerate(field.values)
        for j, kind in enumerate(field.classes)
        if of_field.known[v]
    ]
    return pa.Table.from_pylist(rows, schema=LABEL_NOISE)


def _unjudged(mapping: MetadataMapping, noise: list[Noise]) -> dict[str, tuple[str, ...]]:
    return {
        field.name: tuple(
            value for v, value in enumerate(field.values) if of_field.tracks[v] > 0 and not of_field.known[v]
        )
        for field, of_field in zip(mapping.fields, noise, strict=True)
    }
