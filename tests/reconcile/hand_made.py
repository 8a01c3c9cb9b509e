"""Warehouses of a tagging run and a search for songs, made by hand, and metadata to reconcile with them."""

import csv
from collections.abc import Sequence
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, RunManifest, commit_run, table_file, write_table
from catalog_tagger.tables.schemas import TABLES_OF

#: what a clear track of each type sounds like: (p_speech, p_music) of a segment
SOUND = {"music": (0.02, 0.98), "speech": (0.98, 0.02), "mixed": (0.9, 0.9), "other": (0.01, 0.01)}
SURE = 0.998


def track(track_id: str, heard: str = "music", *, sure: float = SURE, **columns: Any) -> dict[str, Any]:
    """A tagged row of a track that clearly is of a type."""
    p_speech, p_music = SOUND[heard]
    rest = (1.0 - sure) / 3
    return {
        "track_id": track_id,
        "status": "tagged",
        "uri": f"/audio/{track_id}",
        "audio_etag": "1",
        "speech_fraction": float(p_speech >= 0.5),
        "music_fraction": float(p_music >= 0.5),
        "content_type": heard,
        "content_confidence": sure,
        "content_probabilities": {kind: sure if kind == heard else rest for kind in SOUND},
        "bundles": ["m@1"],
        "tagged_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        **columns,
    }


def put_run(
    store: Store, run_id: str, kind: str, tables: dict[str, Sequence[dict[str, Any]]], *, minute: int = 0
) -> None:
    """A committed run of a kind, its tables a file each; those that are not given are empty."""
    files: list[FileEntry] = []
    for table, schema in TABLES_OF[kind].items():
        rows = pa.Table.from_pylist([{**row, "run_id": run_id} for row in tables.get(table, [])], schema=schema)
        files.append(write_table(store, table_file(table, run_id, "all"), kind, table, rows))
    tracks = len(tables.get("tracks", []))
    manifest = RunManifest(
        run_id=run_id,
        started_at="2026-01-01T12:00:00",
        committed_at=f"2026-01-01T13:{minute:02d}:00",
        source="/audio",
        bundles=["m@1"],
        versions={},
        config={},
        tracks=tracks,
        tagged=tracks,
        quarantined=0,
        segments=0,
        audio_s=1.0,
        wall_s=2.0,
        up_to_date=0,
        quarantined_by_code={},
        workers={},
        files=files,
        kind=kind,
    )
    assert commit_run(store, manifest)


def put_tracks(store: Store, rows: list[dict[str, Any]], *, run_id: str = "t1", minute: int = 0, n: int = 4) -> None:
    """A run of tagging; every tagged track has `n` segments that sound like what it is."""
    segments = []
    for row in rows:
        if row["status"] == "tagged":
            p_speech, p_music = SOUND[row["content_type"]]
            female = {"female": 0.95, "male": 0.05}.get(row.get("voice_gender", ""))
            segments += [
                {
                    "track_id": row["track_id"],
                    "start_s": 5.0 * i,
                    "end_s": 5.0 * i + 5.0,
                    "p_speech": p_speech,
                    "p_music": p_music,
                    "p_female": female,
                    "tags": row.get("tags"),
                }
                for i in range(n)
            ]
    put_run(store, run_id, "tag", {"tracks": rows, "segments": segments}, minute=minute)


def quarantined(track_id: str) -> dict[str, Any]:
    return {
        "track_id": track_id,
        "status": "quarantined",
        "error_code": "not_audio",
        "error_message": "no container",
        "uri": f"/audio/{track_id}",
        "audio_etag": "1",
        "bundles": [],
        "tagged_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "attempts": 1,
    }


def match(track_id: str, other: dict[str, str], *, start_s: float = 60.0, e: float = 1e-6) -> dict[str, Any]:
    """A row of `songs` or `duplicates`."""
    return {
        "track_id": track_id,
        **other,
        "start_s": start_s,
        "end_s": start_s + 20.0,
        "song_start_s": 5.0,
        "rate": 1.0,
        "pitch_semitones": 0.0,
        "score": 40.0,
        "expected_false_matches": e,
    }


def some_tracks() -> list[dict[str, Any]]:
    """30 songs, 20 audiobooks and 10 podcasts, all clear."""
    music = [track(f"m{i:02d}") for i in range(30)]
    books = [track(f"b{i:02d}", "speech", voice_gender="female", voice_gender_confidence=0.99) for i in range(20)]
    shows = [
        track(f"p{i:02d}", "mixed" if i % 2 else "speech", voice_gender="male", voice_gender_confidence=0.99)
        for i in range(10)
    ]
    return music + books + shows


def some_metadata(**changes: str) -> list[dict[str, str]]:
    """What the metadata say of them: all true but for the `changes` in the type of tracks."""
    kinds = {"m": ("song", ""), "b": ("audiobook", "f"), "p": ("podcast", "m")}
    ids = [row["track_id"] for row in some_tracks()]
    return [
        {
            "track_id": track_id,
            "title": f"Title {track_id}",
            "content_type": changes.get(track_id, kinds[track_id[0]][0]),
            "voice_gender": kinds[track_id[0]][1],
        }
        for track_id in ids
    ]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text(as_csv(rows), encoding="utf-8")
    return str(path)
