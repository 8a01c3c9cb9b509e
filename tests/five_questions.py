"""A small warehouse with everything that views must see past, and five questions of its users.

Two runs of tagging, of which the later one heard two tracks again; one in progress, whose files lie there already;
files of an older release without the later columns; searches for songs and comparisons, of which the newest counts.
"""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent / "tables"))

from warehouse import manifest_of, put_shard, track_row

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import commit_run, table_file, write_table
from catalog_tagger.tables.published import publish
from catalog_tagger.tables.schemas import TABLES_OF

QUESTIONS = {
    "counts by content type": (
        "SELECT content_type, count(*) AS tracks, sum(duration_s) AS seconds FROM tracks WHERE status = 'tagged' "
        "GROUP BY content_type ORDER BY content_type"
    ),
    "newest row per track": (
        "SELECT track_id, run_id, content_type, voice_gender FROM tracks WHERE status = 'tagged' ORDER BY track_id"
    ),
    "flags joined with metadata": (
        "SELECT f.track_id, f.kind, f.suggested_value, f.confidence, m.title FROM flags f "
        "JOIN metadata m ON f.track_id = m.track_id WHERE f.state = 'new' ORDER BY f.confidence DESC, f.track_id"
    ),
    "embedded songs per show": (
        "SELECT s.track_id, count(*) AS plays, sum(s.end_s - s.start_s) AS seconds FROM songs s "
        "JOIN tracks t ON s.track_id = t.track_id WHERE t.content_type <> 'music' "
        "GROUP BY s.track_id ORDER BY s.track_id"
    ),
    "tags in rows": "SELECT tag, count(*) AS tracks, max(score) AS most FROM track_tags GROUP BY tag ORDER BY tag",
    "segments and their tags": (
        "SELECT s.track_id, count(*) AS segments, sum(s.p_music) AS music FROM segments s "
        "GROUP BY s.track_id ORDER BY s.track_id"
    ),
}
METADATA = [{"track_id": name, "title": f"Title of {name}"} for name in ("a", "b", "show", "new")]


def make(store: Store, *, place: str = "/audio", extension: str = "") -> None:
    """Write it; audio is said to lie at a place."""

    def row(track_id: str, **columns: Any) -> dict[str, Any]:
        return track_row(track_id, uri=f"{place}/{track_id}{extension}", **{"content_confidence": 0.9, **columns})

    rain = [{"tag": "rain", "score": 0.75}, {"tag": "dog", "score": 0.25}]
    first = [
        row("a", run_id="r1", minute=50, duration_s=10.0, tags=rain),
        row("b", run_id="r1", minute=50, duration_s=20.0, tags=[]),
        row("show", run_id="r1", minute=50, duration_s=30.0, content_type="speech", voice_gender="female"),
        row("broken", run_id="r1", minute=50, status="quarantined", error_code="empty", content_type=None),
    ]
    second = [  # by a clock that was behind: the commit decides
        row("a", run_id="r2", minute=10, duration_s=10.0, content_type="mixed", tags=rain[1:]),
        row("new", run_id="r2", minute=10, duration_s=40.0, tags=rain[:1]),
    ]
    unfinished = [row("a", run_id="r3", minute=59, duration_s=99.0, content_type="other")]
    _old_tag_run(
        store,
        "20251231T000000Z-0000",
        [
            row("b", run_id="20251231T000000Z-0000", minute=1),
            row("gone", run_id="20251231T000000Z-0000", minute=1, duration_s=10.0),
        ],
    )
    for number, (run_id, rows) in enumerate((("r1", first), ("r2", second))):
        files = put_shard(store, run_id=run_id, shard="000000-x", rows=rows)
        commit_run(store, manifest_of(run_id, files, committed_at=f"2026-01-02T1{number}:00:00"))
    put_shard(store, run_id="r3", shard="000000-x", rows=unfinished)
    song = {"start_s": 1.0, "song_start_s": 0.0, "rate": 1.0, "pitch_semitones": 0.0, "score": 99.0}
    plays = [
        {**song, "track_id": "show", "song_track_id": name, "end_s": end} for name, end in (("a", 3.5), ("b", 9.0))
    ]
    _whole_run(store, "s1", "songs", {"songs": plays[:1]}, hour=14)
    _whole_run(store, "s2", "songs", {"songs": plays}, hour=15)
    flags = [_flag(f"f{number}", name, 0.5 + number / 8) for number, name in enumerate(("a", "show", "new"))]
    _whole_run(store, "c1", "reconcile", {"flags": flags[:1]}, hour=16)
    _whole_run(
        store, "c2", "reconcile", {"flags": [*flags, {**flags[0], "flag_id": "f9", "state": "dismissed"}]}, hour=17
    )
    publish(store)


def _old_tag_run(store: Store, run_id: str, rows: list[dict[str, Any]]) -> None:
    """By a release whose tables had not all columns."""
    files = put_shard(store, run_id=run_id, shard="000000-x", rows=rows)
    for file in files:
        if file.table != "fingerprints":
            table = pq.read_table(pa.BufferReader(store.read(file.name)))
            buffer = pa.BufferOutputStream()
            pq.write_table(table.select(table.column_names[: 19 if file.table == "tracks" else 6]), buffer)
            store.write(file.name, buffer.getvalue())
    commit_run(store, manifest_of(run_id, files, committed_at="2026-01-01T10:00:00"))


def _whole_run(store: Store, run_id: str, kind: str, tables: dict[str, list[dict[str, Any]]], *, hour: int) -> None:
    files = []
    for table, schema in TABLES_OF[kind].items():
        rows = [{"expected_false_matches": 0.0, **row, "run_id": run_id} for row in tables.get(table, [])]
        whole = pa.Table.from_pylist(rows, schema=schema)
        files.append(write_table(store, table_file(table, run_id, "all"), kind, table, whole))
    manifest = manifest_of(run_id, files, committed_at=f"2026-01-02T{hour}:00:00")
    commit_run(store, type(manifest)(**{**vars(manifest), "kind": kind}))


def _flag(flag_id: str, track_id: str, confidence: float) -> dict[str, Any]:
    return {
        "flag_id": flag_id,
        "track_id": track_id,
        "kind": "mislabelled",
        "field": "content_type",
        "current_value": "audiobook",
        "suggested_value": "music",
        "confidence": confidence,
        "evidence": [{"start_s": 0.0, "end_s": 5.0, "scores": [{"name": "music", "score": 0.9}]}],
        "reason": "music is heard",
        "first_seen_run": "c1",
        "state": "new",
        "uri": f"/audio/{track_id}",
    }


def plain(value: Any) -> Any:
    """Numbers as Python's, since each engine has its own."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    return value.item() if hasattr(value, "item") else value
