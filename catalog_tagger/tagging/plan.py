"""From the tracks of a source to the work shards of a run.

A plan is deterministic: the same tracks, etags and limits give the same shards with the same names.
Tracks are ordered by container and offset (a tar is read from front to back), else by uri; shards are
cut where the next track would pass a limit. A shard's name is its number and a hash of its tracks, so
a changed plan never takes an old file for its own.

On disk: ``runs/<run>/plan.parquet``, columns of `PLAN`, one row group per shard in the order of
shards; written before anything is tagged and never changed. A resumed run reads it instead of
planning again.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query
from catalog_tagger.tagging.sources import TRACK_LIST

#: `attempts`: failed attempts at the same audio in earlier runs
PLAN: Final = TRACK_LIST.append(pa.field("attempts", pa.int32())).append(pa.field("shard", pa.string(), nullable=False))

#: a local catalogue far below the limits is still cut into this many shards, so that an interrupted
#: run keeps most of what it did and several actors share the work
_MIN_SHARDS: Final = 16
_READ_AHEAD_BYTES: Final = 1 << 16
_MIN_SHARD_BYTES: Final = 16 * 2**20
_MIN_SHARD_TRACKS: Final = 64

#: what is done; these two codes may say something of the moment, a lost node or a failed read, not of the audio
_CURRENT_SQL: Final = (
    "SELECT track_id, uri AS old_uri, audio_etag, bundles FROM tracks "
    "WHERE error_code IS NULL OR error_code NOT IN ('unreadable', 'decoder_crashed')"
)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which tracks of a source a run has to do."""

    todo: pa.Table
    up_to_date: int


def select_changed(tracks: pa.Table, warehouse: Store, *, bundle_ids: list[str]) -> Selection:
    """Leave out tracks whose current row is still valid: same uri, same audio etag, same bundles.

    A track without an etag (a manifest of objects that cannot be listed) counts as unchanged. Tracks that
    were quarantined for a reason that may pass (``unreadable``, ``decoder_crashed``) are planned again.
    """
    if not warehouse.children("runs"):
        return Selection(todo=tracks, up_to_date=0)
    current = query(warehouse, _CURRENT_SQL)
    same_models = pc.equal(
        pc.binary_join(current["bundles"], "\n"), pa.scalar("\n".join(bundle_ids), current["track_id"].type)
    )
    current = current.filter(same_models).select(["track_id", "old_uri", "audio_etag"])
    numbered = tracks.append_column("row", pa.array(np.arange(tracks.num_rows)))
    both = numbered.select(["row", "track_id", "uri", "etag"]).join(current, "track_id", join_type="inner")
    etag, old = pc.fill_null(both["etag"], ""), pc.fill_null(both["audio_etag"], "")
    unchanged = pc.and_(pc.equal(both["uri"], both["old_uri"]), pc.or_(pc.equal(etag, old), pc.equal(etag, "")))
    keep = np.ones(tracks.num_rows, dtype=bool)
    keep[both["row"].filter(unchanged).to_numpy()] = False
    return Selection(todo=tracks.filter(pa.array(keep)), up_to_date=int((~keep).sum()))


def make_plan(tracks: pa.Table, *, shard_tracks: int, shard_bytes: int) -> pa.Table:
    """Order tracks and cut them into shards.

    Parameters
    ----------
    tracks
        Columns of `TRACK_LIST`.
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
    tracks = tracks.take(order)
    sizes = pc.fill_null(tracks["size_bytes"], 0).to_numpy()
    total = int(sizes.sum())
    shard_bytes = min(shard_bytes, max(total // _MIN_SHARDS, _MIN_SHARD_BYTES))
    shard_tracks = min(shard_tracks, max(tracks.num_rows // _MIN_SHARDS, _MIN_SHARD_TRACKS))
    ends = np.cumsum(sizes)
    names: list[str] = []
    counts: list[int] = []
    start = 0
    identity = pc.binary_join_element_wise(tracks["track_id"], pc.fill_null(tracks["etag"], ""), "\x00")
    while start < tracks.num_rows:
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + shard_bytes, side="right"))
        stop = min(max(stop, start + 1), start + shard_tracks, tracks.num_rows)
        digest = hashlib.blake2b(digest_size=6)
        for text in identity.slice(start, stop - start).to_pylist():
            digest.update(text.encode() + b"\n")
        names.append(f"{len(names):06d}-{digest.hexdigest()}")
        counts.append(stop - start)
        start = stop
    shard = pa.array(np.repeat(np.array(names, dtype=object), counts), pa.string())
    if "attempts" not in tracks.column_names:
        tracks = tracks.append_column(PLAN.field("attempts"), pa.array(np.zeros(tracks.num_rows, np.int32)))
    return tracks.append_column(PLAN.field("shard"), shard).cast(PLAN)


def write_plan(store: Store, name: str, plan: pa.Table) -> None:
    """Store a plan, one row group per shard."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, PLAN, compression="zstd") as writer:
        for first, count in _runs_of(plan["shard"]):
            writer.write_table(plan.slice(first, count), row_group_size=count)
    store.write(name, buffer.getbuffer())


def read_plan(store: Store, name: str) -> pa.Table:
    """The whole plan."""
    with store.open(name) as file:
        return pq.read_table(file)


def read_shard_tracks(store: Store, name: str, index: int, *, shard: str) -> list[dict[str, Any]]:
    """The tracks of one shard by its number in the plan and its name, as rows of `PLAN`.

    Raises
    ------
    StorageError
        The plan is not the one that the shard was taken from.
    """
    with store.open(name, ahead_bytes=_READ_AHEAD_BYTES) as file:
        rows: list[dict[str, Any]] = pq.ParquetFile(file).read_row_group(index).to_pylist()
    if not rows or rows[0]["shard"] != shard:
        raise StorageError(f"{store.uri_of(name)}: changed while its run goes on; start a run of another name")
    return rows


def _runs_of(shard: pa.ChunkedArray) -> list[tuple[int, int]]:
    """(first row, rows) of every stretch of equal names."""
    encoded = pc.run_end_encode(shard.combine_chunks())
    ends = encoded.run_ends.to_numpy()
    starts = np.concatenate([[0], ends[:-1]])
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True)]
