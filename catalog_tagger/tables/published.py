"""What engines read that take whole folders of Parquet and know nothing of manifests.

Layout, beside what `commit` describes::

    commits/<run>.parquet                       the run as one row of `schemas.RUNS`
    <table>/run_id=none/schema-<hash>.parquet   no rows: every table has a file, and all columns, from the start

A row of a table counts where ``commits`` has its ``run_id``: files of a run in progress lie in the same folders. The
views of `engines` say so. Since a committed run's folders are swept of all that its manifest does not list, whole
folders and manifests give the same rows.

Failure rule: `manifest.json` alone decides that a run is committed. What is missing here, because its driver died
right after the commit or since an older release made it, is added by the next commit and by
``catalog-tagger views``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, read_manifest, run_folder, sweep_run
from catalog_tagger.tables.schemas import RUNS, TABLES

COMMITS: Final = "commits"
#: in the folder of a run that is being removed (`prune`)
MARK: Final = "pruned"


def publish(store: Store, *, committed: RunManifest | None = None) -> int:
    """Add what is missing; returns how many files that were.

    Parameters
    ----------
    committed
        A run that the caller has committed, and swept, just now.
    """
    files = {}
    for table, schema in TABLES.items():
        folder = f"{table}/run_id=none"
        name = schema_file(schema)
        if name not in store.children(folder):
            files[f"{folder}/{name}"] = schema.empty_table()
    there, runs = {name.removesuffix(".parquet") for name in store.children(COMMITS)}, store.children("runs")
    for run_id in runs:
        if run_id in there or MARK in store.children(run_folder(run_id)):
            continue
        is_new = committed is not None and committed.run_id == run_id
        manifest = committed if is_new else read_manifest(store, run_id)
        if manifest is not None:
            if not is_new:
                sweep_run(store, manifest)  # its driver may have died before it did so itself
            files[f"{COMMITS}/{run_id}.parquet"] = runs_table([manifest])
    for run_id in there.difference(runs):
        store.remove(f"{COMMITS}/{run_id}.parquet")
    for name, rows in files.items():
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd")
        store.write(name, buffer.getbuffer())
    return len(files)


def runs_table(runs: Sequence[RunManifest]) -> pa.Table:
    """Runs as rows of `schemas.RUNS`."""
    return pa.Table.from_pylist([{name: getattr(run, name) for name in RUNS.names} for run in runs], schema=RUNS)


def schema_file(schema: pa.Schema) -> str:
    """The name of a table's file without rows: by names and types of its columns, so that a comment makes no other."""
    shape = schema.to_string(show_field_metadata=False, show_schema_metadata=False)
    return f"schema-{hashlib.sha256(shape.encode()).hexdigest()[:12]}.parquet"
