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

import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, read_manifest
from catalog_tagger.tables.schemas import RUNS, TABLES

COMMITS = "commits"


def publish(store: Store) -> int:
    """Add what is missing; returns how many files that were."""
    files = {}
    for table, schema in TABLES.items():
        folder = f"{table}/run_id=none"
        name = f"schema-{_hash(schema)}.parquet"
        if name not in store.children(folder):
            files[f"{folder}/{name}"] = schema.empty_table()
    there = set(store.children(COMMITS))
    for run_id in store.children("runs"):
        manifest = read_manifest(store, run_id) if f"{run_id}.parquet" not in there else None
        if manifest is not None:
            files[f"{COMMITS}/{run_id}.parquet"] = runs_table([manifest])
    for name, rows in files.items():
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd")
        store.write(name, buffer.getbuffer())
    return len(files)


def runs_table(runs: Sequence[RunManifest]) -> pa.Table:
    """Runs as rows of `schemas.RUNS`."""
    return pa.Table.from_pylist([{name: getattr(run, name) for name in RUNS.names} for run in runs], schema=RUNS)


def _hash(schema: pa.Schema) -> str:
    """Of names and types; a comment makes no other file."""
    return hashlib.sha256(schema.to_string(show_field_metadata=False, show_schema_metadata=False).encode()).hexdigest()[
        :12
    ]
