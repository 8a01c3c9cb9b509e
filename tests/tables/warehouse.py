"""Warehouses made by hand: rows of a track in as many runs as a test wants."""

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, RunManifest, ShardSummary, commit_run, write_shard
from catalog_tagger.tables.schemas import FINGERPRINTS, SEGMENTS, TRACKS


def track_row(track_id: str, *, run_id: str, minute: int, **columns: Any) -> dict[str, Any]:
    """A tagged row, made in that minute of a day."""
    return {
        "track_id": track_id,
        "run_id": run_id,
        "status": "tagged",
        "uri": f"/audio/{track_id}",
        "audio_etag": "1",
        "content_type": "music",
        "bundles": ["m@1"],
        "tagged_at": datetime(2026, 1, 1, 12, minute, tzinfo=timezone.utc),
        **columns,
    }


def put_shard(
    store: Store, *, run_id: str, shard: str, rows: list[dict[str, Any]], segments: int = 2
) -> list[FileEntry]:
    """Rows of `tracks`, and for each of them so many segments."""
    parts = [
        {
            "track_id": row["track_id"],
            "run_id": run_id,
            "start_s": 5.0 * i,
            "end_s": 5.0 * i + 5.0,
            "p_speech": 0.25,
            "p_music": 0.75,
        }
        for row in rows
        for i in range(segments)
    ]
    summary = ShardSummary(
        shard=shard,
        tracks=len(rows),
        tagged=len(rows),
        quarantined=0,
        segments=len(parts),
        audio_s=5.0 * len(parts),
        worker="node/1/cpu",
    )
    tables = {
        "tracks": pa.Table.from_pylist(rows, schema=TRACKS),
        "segments": pa.Table.from_pylist(parts, schema=SEGMENTS),
        "fingerprints": FINGERPRINTS.empty_table(),
    }
    return write_shard(store, run_id=run_id, summary=summary, tables=tables)


def manifest_of(run_id: str, files: list[FileEntry], *, committed_at: str = "2026-01-01T13:00:00") -> RunManifest:
    tracks = sum(file.rows for file in files if file.table == "tracks")
    return RunManifest(
        run_id=run_id,
        started_at="2026-01-01T12:00:00",
        committed_at=committed_at,
        source="/audio",
        bundles=["m@1"],
        versions={},
        config={},
        tracks=tracks,
        tagged=tracks,
        quarantined=0,
        segments=sum(file.rows for file in files if file.table == "segments"),
        audio_s=1.0,
        wall_s=2.0,
        up_to_date=3,
        quarantined_by_code={},
        workers={"node/1/cpu": 1},
        files=files,
    )


def put_run(store: Store, run_id: str, rows: list[dict[str, Any]], *, segments: int = 2) -> None:
    """A committed run of one shard."""
    files = put_shard(store, run_id=run_id, shard="000000-x", rows=rows, segments=segments)
    commit_run(store, manifest_of(run_id, files))
