"""The join and the passes over its rows as Ray Data, on a cluster or on the cores of one machine.

Both sides, metadata and what was heard, are dealt into buckets by the hash of their ids. A bucket's rows of both sides
meet on one worker (``groupby(...).map_groups``), which joins them by the statement that one machine uses. Ray's own
``Dataset.join`` would need polars beside it. The passes of `noise` and `claims`
are the same functions of batches of joined rows, mapped over what the join left in the object store.

The driver has read, checked and narrowed both sides before (`job`), since bad input must be known before anything
starts; they reach the workers through the object store, and no folder needs to be shared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.errors import RunError
from catalog_tagger.reconcile.joining import Rows, joined_sql
from catalog_tagger.reconcile.mapping import MetadataMapping

_BATCH_ROWS: Final = 1 << 17
#: rows of both sides that one worker joins at a time
_BUCKET_ROWS: Final = 400_000
_BUCKET: Final = "bucket"
_IS_HEARD: Final = "is_heard"


@dataclass(frozen=True, kw_only=True)
class RayRows:
    """Joined rows in the object store of a cluster."""

    rows: Any
    """A `ray.data.Dataset`."""

    def map(self, function: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        """As `joining.Rows.map`, many batches at once."""
        mapped = self.rows.map_batches(function, batch_format="pyarrow", batch_size=_BATCH_ROWS)
        with _explained():
            for part in mapped.iter_batches(batch_format="pyarrow", batch_size=None):
                if part.num_rows:
                    yield part


@contextmanager
def joined_by_ray(mapping: MetadataMapping, *, metadata: Path, heard: Path, address: str | None) -> Iterator[Rows]:
    """The joined rows, for as long as the block lasts.

    Parameters
    ----------
    metadata, heard
        Files of this machine, as `joining.narrow` and `heard.keep_heard` write them.
    address
        The cluster; by default that of ``RAY_ADDRESS``, or a local one.

    Raises
    ------
    RunError
        The cluster cannot be reached.
    """
    from catalog_tagger.tagging import cluster  # its settings must precede Ray's import

    with cluster.connected(address) as size:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told by the job
        sides = [pq.ParquetFile(path) for path in (metadata, heard)]
        rows = sum(side.metadata.num_rows for side in sides)
        buckets = max(size.size.cpus, -(-rows // _BUCKET_ROWS))
        both = pa.unify_schemas([side.schema_arrow.remove_metadata() for side in sides])
        refs = [
            ray.put(part)
            for is_heard, side in enumerate(sides)
            for batch in side.iter_batches(_BATCH_ROWS)
            for part in [_dealt(pa.Table.from_batches([batch]), both, buckets, is_heard=bool(is_heard))]
        ]
        dealt = ray.data.from_arrow_refs(refs)
        joined = dealt.groupby(_BUCKET, num_partitions=buckets).map_groups(
            partial(join_bucket, mapping=mapping), batch_format="pyarrow"
        )
        with _explained():
            rows_there = joined.materialize()
        yield RayRows(rows=rows_there)


@contextmanager
def _explained() -> Iterator[None]:
    """What a cluster can fail in, once Ray has tried again, as one error."""
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise RunError(f"Ray: the join failed and nothing is committed ({last}); run it again") from error


def join_bucket(rows: pa.Table, mapping: MetadataMapping) -> pa.Table:
    """Join the two sides of a bucket."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")  # one of the workers of a node
        connection.register("sides", rows)
        for view, condition in (("metadata", f"NOT {_IS_HEARD}"), ("heard", _IS_HEARD)):
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM sides WHERE {condition}")  # noqa: S608
        return connection.sql(joined_sql(mapping)).to_arrow_table()


def _dealt(rows: pa.Table, both: pa.Schema, buckets: int, *, is_heard: bool) -> pa.Table:
    """Rows of one side with the columns of both, and their bucket."""
    with duckdb.connect() as connection:
        connection.register("side", rows)
        bucket = connection.sql(f"SELECT CAST(hash(track_id) % {buckets} AS INTEGER) AS b FROM side")  # noqa: S608
        buckets_of = bucket.to_arrow_table()["b"]
    columns = [rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in both]
    return (
        pa.table(columns, schema=both)
        .append_column(_BUCKET, buckets_of)
        .append_column(_IS_HEARD, pa.repeat(is_heard, len(rows)))
    )
