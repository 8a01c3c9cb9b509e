"""Segments of the index: landmarks of some songs, written once.

A segment is a folder ``index/peaks-<version>/<segment>/`` of a warehouse::

    postings.parquet   key (uint32), song (int32), place (int32: quarters of a hop), sorted by key, song and place
    songs.parquet      a row per song, in the order of their numbers: track_id, run_id, duration_s and
                       peaks, a list of ``segment << 15 | code`` in ascending order
    sketches.parquet   a row per kept landmark of any track (see `sketches`): track_id, run_id, shard, hash, place

A segment holds whole songs, so that all votes for a song are found in one place: segments are searched by
themselves, in any order and on any machine, and nothing is exchanged between them. It is the unit of memory, too.
Postings are sorted by key throughout, so that row groups are ranges of keys.

Failure rule: files without an entry in the index's newest generation (`generations`) do not exist for readers.
The same songs give the same bytes under the same name.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError
from catalog_tagger.fingerprints.index import SongIndex
from catalog_tagger.fingerprints.landmarks import Landmarks, Peaks, peaks_at
from catalog_tagger.fingerprints.version import PEAKS_VERSION
from catalog_tagger.songs.recordings import placed_codes
from catalog_tagger.storage import Store

#: ends the name of the list of the segments that a task has built (`building`)
BUILT: Final = ".built.json"
INDEX: Final = f"index/peaks-{PEAKS_VERSION}"
_QUARTERS: Final = 4
_SEGMENT_AT: Final = 15
_ROW_GROUP: Final = 1 << 20

_POSTINGS: Final = pa.schema([("key", pa.uint32()), ("song", pa.int32()), ("place", pa.int32())])
_SONGS: Final = pa.schema(
    [
        ("track_id", pa.string()),
        ("run_id", pa.string()),
        ("duration_s", pa.float64()),
        ("peaks", pa.list_(pa.field("element", pa.int32(), nullable=False))),
    ]
)
SKETCHES: Final = pa.schema(
    [
        ("track_id", pa.string()),
        ("run_id", pa.string()),
        ("shard", pa.string()),
        ("hash", pa.uint32()),
        ("place", pa.int32()),
    ]
)
_DELTA: Final = "DELTA_BINARY_PACKED"


@dataclass(frozen=True)
class IndexedSong:
    """A song of a segment."""

    track_id: str
    run_id: str
    duration_s: float
    codes: npt.NDArray[np.int32]
    """Of its peaks, ``segment << 15 | code``, ascending [shape=(peaks,)]."""

    @property
    def peaks(self) -> Peaks:
        """What it is known by."""
        codes = self.codes.astype(np.int64)
        return peaks_at(codes >> _SEGMENT_AT, codes & (1 << _SEGMENT_AT) - 1)


@dataclass(frozen=True, kw_only=True)
class SegmentInfo:
    """What the index's generation says of a segment."""

    name: str
    songs: int
    postings: int
    songs_s: float
    size_bytes: int
    sources: list[str]
    """Runs whose tracks it holds."""


@dataclass(frozen=True)
class Segment:
    """A segment in memory."""

    songs: tuple[IndexedSong, ...]
    index: SongIndex


def packed_codes(codes: npt.NDArray[np.int16], counts: npt.NDArray[np.int64], *, most: int) -> npt.NDArray[np.int32]:
    """Of each segment the first `most` peaks as `IndexedSong` has them, from lists as the table has them."""
    segment, code = placed_codes(codes, counts, most=most)
    return np.sort(segment << _SEGMENT_AT | code).astype(np.int32)


def name_of(sources: Sequence[str]) -> str:
    """A name made of what something holds."""
    return hashlib.blake2b("\n".join(sources).encode(), digest_size=8).hexdigest()


def write_segment(
    store: Store,
    name: str,
    *,
    songs: Sequence[IndexedSong],
    landmarks: Sequence[Landmarks],
    sketches: pa.Table,
    sources: list[str],
) -> SegmentInfo:
    """Write a segment.

    Parameters
    ----------
    landmarks
        Of each song.
    sketches
        Rows of `SKETCHES`.
    sources
        Runs that the tracks come from.
    """
    key = np.concatenate([np.zeros(0, np.uint32), *(one.key for one in landmarks)])
    frame = np.concatenate([np.zeros(0, np.float32), *(one.frame for one in landmarks)])
    song = np.repeat(np.arange(len(songs), dtype=np.int32), [len(one) for one in landmarks])
    order = np.argsort(key, kind="stable")  # songs and places are ascending already
    place = np.rint(frame[order] * _QUARTERS).astype(np.int32)
    postings = pa.table([key[order], song[order], place], schema=_POSTINGS)
    lengths = np.concatenate([[0], np.cumsum([len(one.codes) for one in songs])]).astype(np.int32)
    codes = np.concatenate([np.zeros(0, np.int32), *(one.codes for one in songs)])
    known = pa.table(
        {
            "track_id": pa.array([one.track_id for one in songs], pa.string()),
            "run_id": pa.array([one.run_id for one in songs], pa.string()),
            "duration_s": pa.array([one.duration_s for one in songs], pa.float64()),
            "peaks": pa.ListArray.from_arrays(pa.array(lengths), pa.array(codes), type=_SONGS.field("peaks").type),
        },
        schema=_SONGS,
    )
    size = _put(store, f"{name}/postings.parquet", postings, encodings={"key": _DELTA, "place": "PLAIN"})
    size += _put(store, f"{name}/songs.parquet", known, encodings={"peaks.list.element": _DELTA})
    size += _put(
        store, f"{name}/sketches.parquet", sketches.cast(SKETCHES), encodings={"hash": _DELTA, "place": "PLAIN"}
    )
    songs_s = float(sum(one.duration_s for one in songs))
    return SegmentInfo(
        name=name, songs=len(songs), postings=len(key), songs_s=songs_s, size_bytes=size, sources=sources
    )


def _put(store: Store, name: str, rows: pa.Table, *, encodings: dict[str, str]) -> int:
    buffer = io.BytesIO()
    names = [field.name for field in rows.schema if pa.types.is_string(field.type)]
    pq.write_table(
        rows,
        buffer,
        compression="zstd",
        use_dictionary=names,
        column_encoding=encodings,
        row_group_size=_ROW_GROUP,
    )
    store.write(f"{INDEX}/{name}", buffer.getbuffer())
    return buffer.tell()


def read_segment(store: Store, name: str) -> Segment:
    """A segment, to search.

    Raises
    ------
    StorageError
        A file is missing or damaged.
    """
    postings = _get(store, f"{name}/postings.parquet", _POSTINGS)
    songs = read_songs(store, name)
    index = SongIndex(
        key=postings["key"].to_numpy(),
        frame=(postings["place"].to_numpy() / np.float32(_QUARTERS)).astype(np.float32),
        song=postings["song"].to_numpy(),
        peaks=tuple(one.peaks for one in songs),
    )
    return Segment(songs=songs, index=index)


def read_songs(store: Store, name: str) -> tuple[IndexedSong, ...]:
    """The songs of a segment, in the order of their numbers."""
    rows = _get(store, f"{name}/songs.parquet", _SONGS)
    lists = rows["peaks"].combine_chunks()
    codes, offsets = lists.flatten().to_numpy(), np.concatenate([[0], np.cumsum(_lengths(lists))])
    tracks, runs, durations = (rows[column].to_pylist() for column in ("track_id", "run_id", "duration_s"))
    return tuple(
        IndexedSong(track_id, run_id, duration_s, codes[begin:end])
        for track_id, run_id, duration_s, begin, end in zip(
            tracks, runs, durations, offsets[:-1], offsets[1:], strict=True
        )
    )


def read_sketches(store: Store, name: str) -> pa.Table:
    """The sketches of a segment."""
    return _get(store, f"{name}/sketches.parquet", SKETCHES)


def _lengths(lists: Any) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = lists.value_lengths().to_numpy().astype(np.int64)
    return lengths


def _get(store: Store, name: str, schema: pa.Schema) -> pa.Table:
    place = store.uri_of(f"{INDEX}/{name}")
    try:
        return pq.read_table(pa.BufferReader(store.read(f"{INDEX}/{name}"))).select(schema.names).cast(schema)
    except (FileNotFoundError, KeyError, pa.ArrowException) as error:
        raise StorageError(f"{place}: missing or damaged; remove {store.uri_of(INDEX)}, it is built again") from error
