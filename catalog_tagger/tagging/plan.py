"""From the tracks of a source to the work shards of a run.

A plan is deterministic: the same tracks, etags and limits give the same shards with the same names.
Tracks are ordered by container and offset (a tar is read from front to back), else by uri; shards are
cut where the next track would pass a limit. A shard's name is its number and a hash of its tracks, so
a changed plan never takes an old file for its own.

On disk, below ``runs/<run>/plan``::

    <part>.parquet    columns of `PLAN`; `SHARDS_PER_PART` shards each, one row group per shard, in order
    shards.parquet    columns of `SHARDS`, one row per shard in order; written last, without it there is no plan

Written before anything is tagged and never changed; a resumed run reads it instead of planning again.
An actor reads the rows of its shard and the footer of one part, which does not grow with the plan.
"""

from __future__ import annotations

import hashlib
import io
import platform
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging.track_list import TRACK_LIST

#: `attempts`: failed attempts at the same audio in earlier runs
PLAN: Final = TRACK_LIST.append(pa.field("attempts", pa.int32())).append(pa.field("shard", pa.string(), nullable=False))
#: `size_bytes`: of encoded audio, as far as it is known
SHARDS: Final = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("tracks", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
    ]
)
SHARDS_PER_PART: Final = 64

#: a local catalogue far below the limits is still cut into this many shards, so that an interrupted
#: run keeps most of what it did and several actors share the work
_MIN_SHARDS: Final = 16
_READ_AHEAD_BYTES: Final = 1 << 16
_MIN_SHARD_BYTES: Final = 16 * 2**20
_MIN_SHARD_TRACKS: Final = 64
_WRITING_THREADS: Final = 8
_MOST_TEXT_BYTES: Final = 2**31
_ROWS_PER_CHUNK: Final = 1_000_000


def make_plan(tracks: pa.Table, *, shard_tracks: int, shard_bytes: int) -> pa.Table:
    """Order tracks and cut them into shards.

    Parameters
    ----------
    tracks
        Columns of `TRACK_LIST`, and optionally ``attempts``.
    shard_tracks, shard_bytes
        Most tracks and most bytes of a shard; a single track may be larger.

    Returns
    -------
    pa.Table
        Columns of `PLAN`, rows of a shard side by side.
    """
    position = pc.coalesce(tracks["container"], tracks["uri"])
    order = pc.sort_indices(
        pa.table({"position": position, "offset": pc.fill_null(tracks["offset"], 0), "id": tracks["track_id"]}),
        sort_keys=[("position", "ascending"), ("offset", "ascending"), ("id", "ascending")],
    )
    tracks = _taken(tracks, order)
    del order, position
    sizes = pc.fill_null(tracks["size_bytes"], 0).to_numpy()
    total = int(sizes.sum())
    shard_bytes = min(shard_bytes, max(total // _MIN_SHARDS, _MIN_SHARD_BYTES))
    shard_tracks = min(shard_tracks, max(tracks.num_rows // _MIN_SHARDS, _MIN_SHARD_TRACKS))
    starts = _cuts(sizes, shard_tracks=shard_tracks, shard_bytes=shard_bytes)
    names = _names(tracks, starts)
    counts = np.diff(np.append(starts, tracks.num_rows))
    shard = pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), counts)))
    if "attempts" not in tracks.column_names:
        tracks = tracks.append_column(PLAN.field("attempts"), pa.array(np.zeros(tracks.num_rows, np.int32)))
    return tracks.append_column(PLAN.field("shard"), shard).cast(PLAN)


def _taken(tracks: pa.Table, order: pa.Array) -> pa.Table:
    """Rows in another order; Arrow's own `take` holds the text of a column to 2 GB."""
    if max(column.nbytes for column in tracks.columns) < _MOST_TEXT_BYTES:
        return tracks.take(order)
    wide = [field.with_type(pa.large_string()) if field.type == pa.string() else field for field in tracks.schema]
    combined = tracks.cast(pa.schema(wide)).combine_chunks()
    places = range(0, len(order), _ROWS_PER_CHUNK)
    return pa.concat_tables([combined.take(order.slice(at, _ROWS_PER_CHUNK)).cast(tracks.schema) for at in places])


def _cuts(sizes: npt.NDArray[np.int64], *, shard_tracks: int, shard_bytes: int) -> npt.NDArray[np.int64]:
    """First row of every shard."""
    ends = np.cumsum(sizes)
    starts: list[int] = []
    start = 0
    while start < len(sizes):
        starts.append(start)
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + shard_bytes, side="right"))
        start = min(max(stop, start + 1), start + shard_tracks)
    return np.array(starts, np.int64)


def _names(tracks: pa.Table, starts: npt.NDArray[np.int64]) -> list[str]:
    """A name for every shard: its number, and a hash over the ids and etags of its tracks."""
    wide = pa.large_string()  # the text of a whole catalogue may pass 2 GB
    parts = [tracks["track_id"].cast(wide), pa.scalar("\x00", wide), pc.fill_null(tracks["etag"], "").cast(wide)]
    identity = pc.binary_join_element_wise(*parts, pa.scalar("\n", wide), pa.scalar("", wide)).combine_chunks()
    _, offsets, data = identity.buffers()
    bounds = np.frombuffer(offsets, np.int64)[identity.offset :][: len(identity) + 1]
    at = [int(bound) for bound in bounds[np.append(starts, len(identity))]]
    digests = (
        hashlib.blake2b(data.slice(begin, end - begin), digest_size=6).hexdigest() for begin, end in pairwise(at)
    )
    return [f"{number:06d}-{digest}" for number, digest in enumerate(digests)]


def plan_shards(plan: pa.Table) -> pa.Table:
    """The shards of a plan: columns of `SHARDS`, in their order."""
    runs = _runs_of(plan["shard"])
    first = [start for start, _ in runs]
    sizes = pc.fill_null(plan["size_bytes"], 0).to_numpy()
    columns = {
        "shard": plan["shard"].take(pa.array(first, pa.int64())),
        "tracks": [count for _, count in runs],
        "size_bytes": np.add.reduceat(sizes, first) if first else [],
    }
    return pa.table(columns).cast(SHARDS)


def write_plan(store: Store, name: str, plan: pa.Table) -> None:
    """Store a plan below the folder `name`, whole or not at all for those who read it."""
    runs = _runs_of(plan["shard"])

    def write_part(part: int) -> None:
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, PLAN, compression="zstd", write_statistics=False) as writer:
            for first, count in runs[part * SHARDS_PER_PART : (part + 1) * SHARDS_PER_PART]:
                writer.write_table(plan.slice(first, count), row_group_size=count)
        store.write(_part_name(name, part), buffer.getbuffer())

    with ThreadPoolExecutor(_WRITING_THREADS, thread_name_prefix="plan") as pool:
        for _ in pool.map(write_part, range(-(-len(runs) // SHARDS_PER_PART))):
            pass
    buffer = io.BytesIO()
    pq.write_table(plan_shards(plan), buffer, compression="zstd")
    store.write(f"{name}/shards.parquet", buffer.getbuffer())


def read_plan(store: Store, name: str) -> pa.Table:
    """The whole plan; FileNotFoundError where there is none."""
    parts = -(-read_plan_shards(store, name).num_rows // SHARDS_PER_PART)
    tables = [PLAN.empty_table()]
    for part in range(parts):
        with store.open(_part_name(name, part)) as file:
            tables.append(pq.read_table(file))
    return pa.concat_tables(tables)


def read_plan_shards(store: Store, name: str) -> pa.Table:
    """The shards of a stored plan, as `plan_shards` gives them; FileNotFoundError where there is none."""
    with store.open(f"{name}/shards.parquet") as file:
        return pq.read_table(file)


def read_shard_tracks(
    store: Store, name: str, index: int, *, shard: str, first: int = 0, count: int | None = None
) -> list[dict[str, Any]]:
    """The tracks of one shard by its number in the plan and its name, as rows of `PLAN`.

    Parameters
    ----------
    first, count
        Only so many rows from that one on; by default all.

    Raises
    ------
    StorageError
        The plan is not the one that the shard was taken from, or is not to be seen from here.
    """
    part, group = divmod(index, SHARDS_PER_PART)
    place = _part_name(name, part)
    try:
        with store.open(place, ahead_bytes=_READ_AHEAD_BYTES) as file:
            parquet = pq.ParquetFile(file)
            table = parquet.read_row_group(group) if group < parquet.num_row_groups else PLAN.empty_table()
    except FileNotFoundError:
        raise StorageError(
            f"{store.uri_of(place)}: a part of the run's plan is not here ({platform.node()}); every node must see the "
            "warehouse at this place (a shared folder or s3://), and nobody may remove files of a run that goes on"
        ) from None
    if table.num_rows == 0 or table["shard"][0].as_py() != shard:
        raise StorageError(f"{store.uri_of(place)}: changed while its run goes on; start a run of another name")
    rows: list[dict[str, Any]] = table.slice(first, count).to_pylist()
    return rows


def _part_name(name: str, part: int) -> str:
    return f"{name}/{part:06d}.parquet"


def _runs_of(shard: pa.ChunkedArray) -> list[tuple[int, int]]:
    """(first row, rows) of every stretch of equal names."""
    encoded = pc.run_end_encode(shard.combine_chunks())
    ends = encoded.run_ends.to_numpy()
    starts = np.concatenate([[0], ends[:-1]])
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True)]
