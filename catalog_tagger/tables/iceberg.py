"""Iceberg tables over the committed files of a warehouse: registered where they lie, none of them copied.

Layout::

    iceberg/catalog.db         the catalogue, where no other one is named (SQLite)
    iceberg/<table>/metadata/  Iceberg's own files

A namespace has a table for each of the warehouse's, with every committed row of it, and ``runs``. A run is one snapshot
of each table that it has rows of, in the order of commits; its summary says ``catalog_tagger.run_id``. Which rows are
current is said by views, as for the files (`engines`).

Failure rule: a run whose files are in a table already is left alone, so that registering again adds what is missing and
nothing else, whatever ended an earlier attempt; files of runs that are no longer there leave the table. Two at a time
on one catalogue: the later one is refused by Iceberg and says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, committed_runs, require_warehouse
from catalog_tagger.tables.published import COMMITS, publish
from catalog_tagger.tables.schemas import RUNS, TABLES

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

NAMESPACE: Final = "catalog_tagger"
RUN_ID: Final = "catalog_tagger.run_id"

_RUN_OF_FILE: Final = re.compile(r"/(?:run_id=([^/]+)/[^/]+|commits/([^/]+)\.parquet)$")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One snapshot that was added."""

    table: str
    run_id: str
    files: int
    rows: int
    snapshot_id: int


def open_catalog(store: Store, *, name: str | None = None, properties: Mapping[str, str] | None = None) -> Catalog:
    """The catalogue to register in.

    Parameters
    ----------
    name
        Of a catalogue in PyIceberg's own configuration (``~/.pyiceberg.yaml`` or ``PYICEBERG_CATALOG__...``).
    properties
        PyIceberg's own, such as ``type``, ``uri``, ``s3.endpoint``. Without a name and these: SQLite in the warehouse.

    Raises
    ------
    UsageError
        PyIceberg is not installed, does not know the catalogue, or a bucket is to hold a SQLite file.
    """
    try:
        from pyiceberg.catalog import load_catalog
    except ImportError as error:
        raise UsageError(
            f"iceberg: PyIceberg is not installed ({error}); pip install 'catalog-tagger[iceberg]'"
        ) from error
    given = dict(properties or {})
    if os.environ.get("AWS_ENDPOINT_URL"):
        given.setdefault("s3.endpoint", os.environ["AWS_ENDPOINT_URL"])
    if name is None and "uri" not in given and "type" not in given:
        if not store.is_local:
            raise UsageError(
                f"{store.uri}: SQLite cannot lie in a bucket; name a catalogue of yours (--catalog NAME, or --property "
                "type=rest --property uri=...), or a local file (--property uri=sqlite:////path/catalog.db)"
            )
        Path(store.path("iceberg")).mkdir(parents=True, exist_ok=True)
        given["uri"] = f"sqlite:///{store.path('iceberg/catalog.db')}"
    if given.get("uri", "").startswith("sqlite:"):
        given.setdefault("type", "sql")
    try:
        return load_catalog(name or NAMESPACE, **given)
    except Exception as error:
        raise UsageError(f"iceberg: cannot open the catalogue: {_in_a_line(error)}") from error


def pairs_of(properties: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` as a mapping; `UsageError` for what is none."""
    pairs = [one.partition("=") for one in properties]
    wrong = next((key + rest for key, equals, rest in pairs if not (key and equals)), None)
    if wrong is not None:
        raise UsageError(f"--property {wrong}: give KEY=VALUE")
    return {key: value for key, _, value in pairs}


def own_catalog(store: Store) -> Catalog | None:
    """The SQLite catalogue in a warehouse; None where there is none."""
    return open_catalog(store) if store.is_local and store.exists("iceberg/catalog.db") else None


def register(store: Store, catalog: Catalog, *, namespace: str = NAMESPACE) -> list[Registered]:
    """Add what the catalogue lacks of a warehouse's committed runs.

    Returns
    -------
    list of Registered
        What was added, in order.

    Raises
    ------
    UsageError
        There is no warehouse at that place.
    RunError
        The catalogue refused: somebody else has changed a table meanwhile, or its files cannot be written.
    """
    require_warehouse(store)
    publish(store)
    runs = committed_runs(store)
    try:
        catalog.create_namespace_if_not_exists(namespace)
        added = []
        for name, schema in (("runs", RUNS), *TABLES.items()):
            table = _table(catalog, f"{namespace}.{name}", schema, f"{_place(store)}/iceberg/{name}")
            known = _known_runs(table)
            pruned = known.difference(run.run_id for run in runs)
            if pruned:  # by somebody who did not name the catalogue
                _drop(table, pruned)
            added += [one for run in runs if run.run_id not in known for one in _add(store, table, name, run)]
        return added
    except Exception as error:
        raise RunError(
            f"iceberg: {_in_a_line(error)}; what is registered stays, and the same command adds the rest"
        ) from error


def unregister(catalog: Catalog, run_ids: AbstractSet[str], *, namespace: str = NAMESPACE) -> None:
    """Take some runs' files out of all tables, in one snapshot of each; none of them is read.

    Raises
    ------
    RunError
        The catalogue refused.
    """
    try:
        for name in ("runs", *TABLES):
            if catalog.table_exists(f"{namespace}.{name}"):
                _drop(catalog.load_table(f"{namespace}.{name}"), run_ids)
    except Exception as error:
        raise RunError(f"iceberg: {_in_a_line(error)}; nothing is removed, and the same command tries again") from error


def _drop(table: Table, run_ids: AbstractSet[str]) -> None:
    files = [task.file for task in table.scan().plan_files()] if table.current_snapshot() else []
    going = [file for file in files if _run_of(file.file_path) in run_ids]
    if going:
        with table.transaction() as transaction, transaction.update_snapshot().overwrite() as change:
            for file in going:
                change.delete_data_file(file)


def _table(catalog: Catalog, identifier: str, schema: pa.Schema, place: str) -> Table:
    """A table, made where it is missing, with all columns that this release knows."""
    table = catalog.create_table_if_not_exists(identifier, schema=schema, location=place)
    if set(schema.names) - {field.name for field in table.schema().fields}:
        with table.update_schema() as update:
            update.union_by_name(schema)
    return table


def _known_runs(table: Table) -> set[str]:
    """Runs whose files a table has: snapshots may have been expired."""
    paths: list[str] = table.inspect.data_files()["file_path"].to_pylist() if table.current_snapshot() else []
    return {run_id for path in paths if (run_id := _run_of(path)) is not None}


def _run_of(path: str) -> str | None:
    match = _RUN_OF_FILE.search(path)
    return None if match is None else match[1] or match[2]


def _add(store: Store, table: Table, name: str, run: RunManifest) -> Sequence[Registered]:
    if name == "runs":
        files, rows = [f"{COMMITS}/{run.run_id}.parquet"], 1
    else:
        entries = [entry for entry in run.files if entry.table == name and entry.rows]
        files, rows = [entry.name for entry in entries], sum(entry.rows for entry in entries)
    if not files:
        return ()
    table.add_files(
        [f"{_place(store)}/{file}" for file in files],
        snapshot_properties={RUN_ID: run.run_id},
        check_duplicate_files=False,  # it reads all manifests once more
    )
    snapshot = table.current_snapshot()
    assert snapshot is not None, "adding files makes one"
    return (Registered(table=name, run_id=run.run_id, files=len(files), rows=rows, snapshot_id=snapshot.snapshot_id),)


def _place(store: Store) -> str:
    """The warehouse, as every reader of Iceberg takes it."""
    return f"file://{store.uri}" if store.is_local else store.uri


def _in_a_line(error: Any) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
