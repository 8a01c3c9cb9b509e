"""The columns that users were promised, with their types and a comment each."""

import re

import pyarrow as pa
import pytest

from catalog_tagger.tables.schemas import TABLES, TRACKS

PROMISED = {
    "tracks": {
        "track_id": "string",
        "run_id": "string",
        "status": "string",
        "error_code": "string",
        "error_message": "string",
        "uri": "string",
        "audio_etag": "string",
        "size_bytes": "int64",
        "codec": "string",
        "sample_rate_hz": "int32",
        "channels": "int32",
        "duration_s": "double",
        "scanned_s": "double",
        "speech_fraction": "float",
        "music_fraction": "float",
        "content_type": "string",
        "content_confidence": "float",
        "bundles": "list<element: string>",
        "tagged_at": "timestamp[us, tz=UTC]",
        "attempts": "int32",
        "voice_gender": "string",
        "voice_gender_confidence": "float",
        "tags": "list<element: struct<tag: string, score: float>>",
        "embedding": "list<element: float>",
        "content_probabilities": "struct<music: float, speech: float, mixed: float, other: float, "
        "speech_led: float, music_led: float, by_turns: float>",
    },
    "fingerprints": {
        "track_id": "string",
        "run_id": "string",
        "start_s": "double",
        "peaks": "list<element: int16 not null>",
    },
    "songs": {
        "track_id": "string",
        "run_id": "string",
        "song_track_id": "string",
        "start_s": "double",
        "end_s": "double",
        "song_start_s": "double",
        "rate": "double",
        "pitch_semitones": "double",
        "score": "double",
        "expected_false_matches": "double",
    },
    "flags": {
        "flag_id": "string",
        "run_id": "string",
        "track_id": "string",
        "kind": "string",
        "field": "string",
        "current_value": "string",
        "suggested_value": "string",
        "confidence": "double",
        "evidence": "list<element: struct<start_s: double, end_s: double, "
        "scores: list<element: struct<name: string, score: float>>>>",
        "reason": "string",
        "first_seen_run": "string",
        "state": "string",
    },
    "segments": {
        "track_id": "string",
        "run_id": "string",
        "start_s": "double",
        "end_s": "double",
        "p_speech": "float",
        "p_music": "float",
        "p_female": "float",
        "tags": "list<element: struct<tag: string, score: float>>",
    },
}


@pytest.mark.parametrize("table", PROMISED)
def test_columns_names_order_and_types_are_as_promised(table: str) -> None:
    found = {field.name: re.sub(r"\bitem:", "element:", str(field.type)) for field in TABLES[table]}
    assert list(found.items())[: len(PROMISED[table])] == list(PROMISED[table].items())


@pytest.mark.parametrize("schema", TABLES.values(), ids=list(TABLES))
def test_every_column_has_a_comment(schema: pa.Schema) -> None:
    for field in schema:
        assert len(field.metadata[b"comment"]) > 10, field.name
    assert schema.metadata[b"comment"]


def test_what_identifies_a_row_cannot_be_null() -> None:
    for schema in TABLES.values():
        for name in {"track_id", "run_id", "flag_id"} & set(schema.names):
            assert not schema.field(name).nullable
    assert not TRACKS.field("status").nullable
