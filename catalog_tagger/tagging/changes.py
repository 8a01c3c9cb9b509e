"""What of a source a run has to do, beside what the warehouse already holds.

A track is up to date when its current row has the same uri, the same audio etag and the same bundles;
one whose etag cannot be known (a manifest of objects that cannot be listed) counts as unchanged. A track of
which parts were heard (`skimming`) is up to date for a run that would hear no more of it: for ``skim`` always,
for ``auto`` when it is music of a length that is skimmed, for ``scan`` never. A quarantined row is an answer
like any other, but for `PASSING`: codes that may say something of the moment, a lost node or a failed read, and
cost three decoders at most, since a file that kills its decoder is tried three times; their tracks are planned
again in every run. ``tagger_crashed`` and ``decoder_timeout`` are not among them: each such track costs an actor
or minutes of a core, every night, for the same end. They are planned again when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.audio import SEGMENT_S
from catalog_tagger.errors import QUARANTINE_CODES, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import NEWNESS, connect
from catalog_tagger.tagging.plan import PLAN
from catalog_tagger.tagging.skimming import IN_PART_SQL, LONGEST, Depth

PASSING: Final = ("unreadable", "decoder_crashed")
ALL_CODES: Final = "all"
#: the manifest of a run that plans quarantined rows again; it is no source that lists a catalogue
RETRY_MANIFEST: Final = "retry.parquet"

_COLUMNS: Final = (
    *("track_id", "run_id", "status", "error_code", "uri", "audio_etag", "bundles", "tagged_at", "attempts"),
    *("duration_s", "scanned_s", "content_type"),
)
_AUTO_SCANS_S: Final = (LONGEST + 1) * SEGMENT_S
#: depth of a run -> how much must have been heard for a track to be left alone
_ENOUGH_FOR: Final[dict[Depth, list[str]]] = {
    "skim": ["skim", "auto", "scan"],
    "auto": ["auto", "scan"],
    "scan": ["scan"],
}
#: once, since "current" is a sort of the whole history
_CURRENT_SQL: Final = f"""
    CREATE TEMP TABLE held AS
    SELECT track_id, run_id, uri, audio_etag, error_code,
           CASE WHEN status = 'quarantined' THEN coalesce(attempts, 1) ELSE 0 END AS attempts,
           array_to_string(bundles, chr(10)) = $bundles AS same_bundles,
           CASE WHEN ({IN_PART_SQL}) IS NOT TRUE THEN 'scan'
                WHEN content_type = 'music' AND duration_s < {_AUTO_SCANS_S} THEN 'auto' ELSE 'skim' END AS heard_for
    FROM tracks"""  # noqa: S608  a number of this package

#: a row that was planned again by hand belongs to the catalogue that the track came from before
_REMOVED_SQL: Final = f"""
    WITH catalogues AS (SELECT run_id, source, committed_at FROM runs WHERE NOT ends_with(source, $retry)),
    retried AS (SELECT track_id FROM held ANTI JOIN catalogues USING (run_id)),
    of_retried AS (
        SELECT track_id, arg_max(source, ({", ".join(NEWNESS)})) AS source
        FROM tracks_history JOIN catalogues USING (run_id) SEMI JOIN retried USING (track_id) GROUP BY track_id),
    mine AS (
        SELECT track_id FROM held JOIN catalogues USING (run_id) WHERE source = $source
        UNION ALL SELECT track_id FROM of_retried WHERE source = $source)
    SELECT track_id, uri FROM held SEMI JOIN mine USING (track_id) ANTI JOIN listed USING (track_id)
    ORDER BY track_id"""  # noqa: S608  names of columns

REMOVED: Final = pa.schema([pa.field("track_id", pa.string()), pa.field("uri", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which tracks of a source a run has to do."""

    todo: pa.Table
    """Columns of `TRACK_LIST` and ``attempts``: failed ones at the same audio by the same bundles."""
    up_to_date: int
    removed: pa.Table
    """``track_id`` and ``uri`` of current rows that come from this source, which no longer lists them."""


def select_changed(
    tracks: pa.Table,
    warehouse: Store,
    *,
    bundle_ids: Sequence[str],
    source: str | None = None,
    retry: Sequence[str] = (),
    depth: Depth = "scan",
) -> Selection:
    """Leave out tracks whose current row is still valid, and find those that are gone.

    Parameters
    ----------
    tracks
        Columns of `TRACK_LIST`.
    source
        As the runs of the warehouse name it; None for no look at what was removed.
    depth
        How much of a track the run would hear.
    retry
        Error codes whose tracks are planned again though nothing changed, beside `PASSING`; ``all`` for every one.

    Raises
    ------
    UsageError
        An unknown code.
    """
    again = [*PASSING, *codes_of(retry)]
    if not warehouse.children("runs"):
        none = pa.array(np.zeros(tracks.num_rows, np.int32))
        return Selection(
            todo=tracks.append_column(PLAN.field("attempts"), none), up_to_date=0, removed=REMOVED.empty_table()
        )
    with connect(warehouse, tables=("tracks",), columns=_COLUMNS) as connection:
        connection.execute("SET arrow_large_buffer_size = true")  # a column's text may pass 2 GB
        connection.execute(_CURRENT_SQL, {"bundles": "\n".join(bundle_ids)})
        held: pa.Table = connection.sql("SELECT * EXCLUDE (run_id) FROM held WHERE same_bundles").to_arrow_table()
        removed: pa.Table = REMOVED.empty_table()
        if source is not None:
            connection.register("listed", tracks.select(["track_id"]))
            values = {"source": source, "retry": f"/{RETRY_MANIFEST}"}
            removed = connection.sql(_REMOVED_SQL, params=values).to_arrow_table().cast(REMOVED)
    at = pc.index_in(tracks["track_id"], value_set=held["track_id"]).combine_chunks()
    same_uri = pc.equal(tracks["uri"], held["uri"].take(at))
    etag, old = pc.fill_null(tracks["etag"], ""), pc.fill_null(held["audio_etag"].take(at), "")
    same = pc.and_(pc.fill_null(same_uri, False), pc.or_(pc.equal(etag, old), pc.equal(etag, "")))
    code = held["error_code"].take(at)
    enough = pc.is_in(held["heard_for"].take(at), value_set=pa.array(_ENOUGH_FOR[depth], pa.string()))
    same = pc.and_(same, pc.fill_null(enough, False))
    todo = pc.or_(pc.invert(same), pc.is_in(code, value_set=pa.array(again, pa.string())))
    attempts = pc.if_else(same, held["attempts"].take(at), 0).cast(pa.int32())
    chosen = tracks.append_column(PLAN.field("attempts"), attempts).filter(todo)
    return Selection(todo=chosen, up_to_date=tracks.num_rows - chosen.num_rows, removed=removed)


def codes_of(wanted: Sequence[str]) -> list[str]:
    """Error codes by their names, of which one may be ``all``; `UsageError` for an unknown one."""
    unknown = [code for code in wanted if code not in (*QUARANTINE_CODES, ALL_CODES)]
    if unknown:
        raise UsageError(
            f"unknown error code {unknown[0]!r}; known codes: {', '.join(QUARANTINE_CODES)}, or {ALL_CODES!r} for each"
        )
    return list(QUARANTINE_CODES) if ALL_CODES in wanted else list(wanted)
