"""Recordings as the tagging pass left them: their fingerprints and where music is heard in them.

A shard of a tagging run is read from its files of ``fingerprints``, ``segments`` and ``tracks``. The first two have a
row per 5 s of a track, in the same order, and are read in step, some thousand rows at a time.

A *song* is a track that is music; or a shorter one that is music nearly throughout with somebody speaking or
singing over it; or a shorter one that is neither speech nor music, since some music is not heard as such. A *show* is
any other track. Rows that a later run has replaced are left out, and so are tracks of which parts alone were heard
(`tagging.skimming`): fingerprints of a few segments find nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError
from catalog_tagger.fingerprints.landmarks import Peaks, peaks_at
from catalog_tagger.fingerprints.peaks import SONG_PEAKS
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import table_file
from catalog_tagger.tagging.skimming import heard_in_part

_ROWS: Final = 1 << 14
#: longer tracks are no songs, unless they are music
_SONG_LONGEST_S: Final = 1800.0
#: share of a track with music, and with speech, for one that is heard as both to be taken for a song
_SONG_MUSIC: Final = 0.9
_SONG_SPEECH: Final = 0.5
_TRACK_COLUMNS: Final = (
    *("track_id", "status", "duration_s", "scanned_s", "content_type", "speech_fraction", "music_fraction"),
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Shard:
    """A work shard of a committed tagging run."""

    run_id: str
    name: str

    def file(self, table: str) -> str:
        """Its file of a table."""
        return table_file(table, self.run_id, self.name)


@dataclass(frozen=True)
class Recording:
    """A tagged track.

    Attributes
    ----------
    codes
        Of its peaks, segment after segment, each list as the table has it [shape=(peaks,)].
    counts
        Peaks of each segment [shape=(segments,)].
    p_music, p_speech
        Of each segment [shape=(segments,)]; 1 and 0 where nothing tells them.
    """

    track_id: str
    shard: Shard
    duration_s: float
    is_song: bool
    codes: npt.NDArray[np.int16]
    counts: npt.NDArray[np.int64]
    p_music: npt.NDArray[np.float32]
    p_speech: npt.NDArray[np.float32]

    def peaks(self, *, strongest: bool = False) -> Peaks:
        """All peaks, or of each segment those that songs are known by."""
        return peaks_at(*placed_codes(self.codes, self.counts, most=SONG_PEAKS if strongest else None))


def placed_codes(
    codes: npt.NDArray[np.int16], counts: npt.NDArray[np.int64], *, most: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The segment of each code and the code, from lists as the table has them; of each list the first `most`."""
    segment, code = np.repeat(np.arange(len(counts)), counts), codes.astype(np.int64)
    if most is None:
        return segment, code
    kept = np.arange(len(code)) - np.repeat(np.cumsum(counts) - counts, counts) < most
    return segment[kept], code[kept]


def recordings(
    store: Store,
    shard: Shard,
    *,
    replaced: frozenset[str] = frozenset(),
    songs: bool | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Recording]:
    """The current tracks of a shard that have fingerprints.

    Parameters
    ----------
    replaced
        Tracks of the shard that a later run has tagged again.
    songs
        Only songs, or only what is no song; by default both.
    only
        Ids of the tracks that are wanted; by default all.

    Raises
    ------
    StorageError
        A file is missing or damaged.
    """
    try:
        tracks = pq.read_table(pa.BufferReader(store.read(shard.file("tracks"))), columns=list(_TRACK_COLUMNS))
        wanted = {row["track_id"]: row for row in _current(tracks, replaced, songs)}
        if only is not None:
            wanted = {track: wanted[track] for track in only if track in wanted}
        if not wanted:
            return
        with store.open(shard.file("fingerprints")) as prints, store.open(shard.file("segments")) as heard:
            yield from _tracks(prints, heard, shard, wanted)
    except (FileNotFoundError, pa.ArrowException, ValueError) as error:
        place = store.uri_of(shard.file("fingerprints"))
        raise StorageError(f"{place}: this shard cannot be read ({error}); restore its files") from error


def is_song(track: dict[str, Any]) -> bool:
    """Whether a row of ``tracks`` is a song; see the module's text."""
    content = track["content_type"]
    if content == "music":
        return True
    music, speech = track["music_fraction"] or 0.0, track["speech_fraction"] or 0.0
    sung = content == "mixed" and music >= _SONG_MUSIC and speech <= _SONG_SPEECH
    return bool((sung or content in ("other", None)) and track["duration_s"] <= _SONG_LONGEST_S)


#: how many tracks are no songs: `is_song` for an engine
SHOWS_SQL: Final = f"""
    SELECT count(*) FROM tracks WHERE status = 'tagged' AND NOT (
        coalesce(content_type, '') = 'music'
        OR duration_s <= {_SONG_LONGEST_S} AND (
            coalesce(content_type, 'other') = 'other'
            OR content_type = 'mixed' AND music_fraction >= {_SONG_MUSIC} AND speech_fraction <= {_SONG_SPEECH}))
"""  # noqa: S608  numbers of this module


def _current(tracks: pa.Table, replaced: frozenset[str], songs: bool | None) -> Iterator[dict[str, Any]]:
    for row in tracks.filter(pc.equal(tracks["status"], "tagged")).to_pylist():
        song = is_song(row)
        if heard_in_part(row["scanned_s"], row["duration_s"]):
            continue
        if row["track_id"] not in replaced and songs in (None, song):
            yield {**row, "is_song": song}


def _tracks(
    prints: IO[bytes], heard: IO[bytes], shard: Shard, wanted: dict[str, dict[str, Any]]
) -> Iterator[Recording]:
    """Tracks out of two files in step; one track may lie in several batches."""
    held: list[pa.Table] = []
    for batch in _in_step(prints, heard):
        ids = batch["track_id"].to_numpy(zero_copy_only=False)
        begins = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        for begin, end in zip(begins, [*begins[1:], len(ids)], strict=True):
            part = batch.slice(begin, end - begin)
            if held and held[0]["track_id"][0].as_py() != ids[begin]:
                yield from _recording(held, shard, wanted)
                held = []
            held.append(part)
    if held:
        yield from _recording(held, shard, wanted)


def _in_step(prints: IO[bytes], heard: IO[bytes]) -> Iterator[pa.Table]:
    one = pq.ParquetFile(prints).iter_batches(_ROWS, columns=["track_id", "start_s", "peaks"])
    other = pq.ParquetFile(heard).iter_batches(_ROWS, columns=["track_id", "start_s", "p_music", "p_speech"])
    for left, right in zip(one, other, strict=True):
        if not (left["track_id"].equals(right["track_id"]) and left["start_s"].equals(right["start_s"])):
            raise ValueError("its fingerprints and segments differ in their rows")
        told = {name: right[name] for name in ("p_music", "p_speech")}
        yield pa.table({"track_id": left["track_id"], "peaks": left["peaks"], **told})


def _recording(parts: list[pa.Table], shard: Shard, wanted: dict[str, dict[str, Any]]) -> Iterator[Recording]:
    rows = pa.concat_tables(parts)
    row = wanted.get(rows["track_id"][0].as_py())
    if row is None:
        return
    lists = rows["peaks"].combine_chunks()
    yield Recording(
        track_id=row["track_id"],
        shard=shard,
        duration_s=row["duration_s"],
        is_song=row["is_song"],
        codes=lists.flatten().to_numpy(),
        counts=pc.list_value_length(lists).to_numpy().astype(np.int64),
        p_music=pc.fill_null(rows["p_music"], 1.0).to_numpy(),
        p_speech=pc.fill_null(rows["p_speech"], 0.0).to_numpy(),
    )
