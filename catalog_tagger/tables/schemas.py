"""Arrow schemas of the warehouse's tables, with a comment per column.

A table is the Parquet files ``<warehouse>/<table>/run_id=<run>/<shard>.parquet``. Comments are stored
as field metadata ``comment`` inside each file's Arrow schema. Columns are only ever added, at the end.

What a bundle would have said is null where the run left it out (`tagging.bundle_set`): ``content_type``,
both fractions, ``p_speech`` and ``p_music`` come from a bundle of task speech_music, voices from
voice_gender, tags and the embedding from those of task tags.

Tables belong to a kind of run (`TABLES_OF`): tagging writes a row per track, or several, and a later run replaces
the rows of the tracks that it tags again; searching for songs and reconciling write the whole answer each
time, and the newest run's is the current one.

What rows take, zstd included: a segment 9 bytes (6.3 kB per hour of audio), with voices and 4 of 28 tags
19 bytes (13 kB), where all scores would be 160 (117 kB); a track of four minutes 104 bytes, with voices and
tags 221, with an embedding of 128 values 526, which would be 940 without its rounding.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa


def _field(name: str, kind: pa.DataType, comment: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": comment})


TAG_LIST: Final = pa.list_(pa.struct([pa.field("tag", pa.string()), pa.field("score", pa.float32())]))

_CONTENT: Final = ("music", "speech", "mixed", "other", "speech_led", "music_led", "by_turns")
CONTENT_PROBABILITIES: Final = pa.struct([pa.field(name, pa.float32()) for name in _CONTENT])

TRACKS: Final = pa.schema(
    [
        _field("track_id", pa.string(), "the track's identity in the catalogue", nullable=False),
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("status", pa.string(), "tagged or quarantined", nullable=False),
        _field("error_code", pa.string(), "why the track is quarantined, as a code; null when tagged"),
        _field("error_message", pa.string(), "why the track is quarantined, for people; null when tagged"),
        _field("uri", pa.string(), "where the audio is; a member of a tar is <tar>#<member>", nullable=False),
        _field("audio_etag", pa.string(), "identity of the audio's bytes: S3 ETag, or size and time of a file"),
        _field("size_bytes", pa.int64(), "size of the encoded audio"),
        _field("codec", pa.string(), "codec of the audio stream"),
        _field("sample_rate_hz", pa.int32(), "sample rate of the audio stream"),
        _field("channels", pa.int32(), "channels of the audio stream"),
        _field("duration_s", pa.float64(), "length of the audio in seconds, decoded or by its headers"),
        _field("scanned_s", pa.float64(), "seconds of it that the models heard: all, or a few segments"),
        _field("speech_fraction", pa.float32(), "share of the scanned seconds with speech (p_speech >= 0.5)"),
        _field("music_fraction", pa.float32(), "share of the scanned seconds with music (p_music >= 0.5)"),
        _field("content_type", pa.string(), "music, speech, mixed or other"),
        _field("content_confidence", pa.float32(), "probability of content_type, from the calibrated segment scores"),
        _field(
            "bundles",
            pa.list_(pa.string()),
            "models that heard the track, as name@fingerprint, and peaks@version",
            nullable=False,
        ),
        _field("tagged_at", pa.timestamp("us", tz="UTC"), "when the row was made", nullable=False),
        _field(
            "attempts",
            pa.int32(),
            "runs in which this audio was quarantined, this one included; null when tagged; a lost node is no attempt",
        ),
        _field("voice_gender", pa.string(), "female, male, mixed, or unknown: unsure, or nobody speaks"),
        _field(
            "voice_gender_confidence",
            pa.float32(),
            "probability of voice_gender; of unknown: that nobody speaks, or that a guess would be wrong",
        ),
        _field(
            "tags",
            TAG_LIST,
            "what else is heard, the most first; score is the mean probability over the segments, the share of the "
            "track that the tag is expected in; those below 0.01 are left out",
        ),
        _field(
            "embedding",
            pa.list_(pa.float32()),
            "mean over the segments of what the first bundle of tags that has one (by name, of `bundles`) makes of "
            "the sound, to compare tracks by; rows of the same bundles alone compare; 11 significant bits",
        ),
        _field(
            "content_probabilities",
            CONTENT_PROBABILITIES,
            "probability of each content type, from all segments; content_confidence is the greatest; the last "
            "three are parts of mixed: a third of the track is speech, or music, or each of them, without the other",
        ),
    ],
    metadata={"comment": "one row per planned track"},
)

SEGMENTS: Final = pa.schema(
    [
        _field("track_id", pa.string(), "the track's identity in the catalogue", nullable=False),
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("start_s", pa.float64(), "start of the segment in the track, a multiple of 5 s", nullable=False),
        _field("end_s", pa.float64(), "end of its audio; less than start_s + 5 in a last, padded one", nullable=False),
        _field("p_speech", pa.float32(), "calibrated probability that speech is present"),
        _field("p_music", pa.float32(), "calibrated probability that music is present"),
        _field("p_female", pa.float32(), "calibrated probability that the voice is female; null where none is heard"),
        _field(
            "tags",
            TAG_LIST,
            "at most the 8 likeliest of its tags, likeliest first; score is the probability in steps of 0.01; those "
            "below 0.1 are left out, or they would take ten times as much as all the rest",
        ),
    ],
    metadata={"comment": "one row per 5 s of a tagged track"},
)

FINGERPRINTS: Final = pa.schema(
    [
        _field("track_id", pa.string(), "the track's identity in the catalogue", nullable=False),
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("start_s", pa.float64(), "start of the segment in the track, a multiple of 5 s", nullable=False),
        _field(
            "peaks",
            pa.list_(pa.field("element", pa.int16(), nullable=False)),
            "peaks of the CQT-gram, frame * 144 + bin: the 80 most prominent in order of time, then, where songs are "
            "searched for, up to 320 more in order of time",
            nullable=False,
        ),
    ],
    metadata={"comment": "one row per 5 s of a tagged track: what songs are found again by"},
)

_MATCH: Final = (
    _field("start_s", pa.float64(), "where in the track it starts", nullable=False),
    _field("end_s", pa.float64(), "where in the track it ends", nullable=False),
    _field("song_start_s", pa.float64(), "what of the other track is heard at the start", nullable=False),
    _field("rate", pa.float64(), "seconds of the other track in a second of this one", nullable=False),
    _field("pitch_semitones", pa.float64(), "how much higher than the other track it sounds", nullable=False),
    _field(
        "score", pa.float64(), "evidence in nats: log of how much likelier it is the same than chance", nullable=False
    ),
    _field(
        "expected_false_matches",
        pa.float64(),
        "so many matches with this score or a greater one chance alone would give this track, in all songs searched",
        nullable=False,
    ),
)

SONGS: Final = pa.schema(
    [
        _field("track_id", pa.string(), "the track that plays the song", nullable=False),
        _field("run_id", pa.string(), "the run that found it", nullable=False),
        _field("song_track_id", pa.string(), "the song, a track of the same catalogue", nullable=False),
        *_MATCH,
    ],
    metadata={"comment": "one row per song that is heard inside another track"},
)

DUPLICATES: Final = pa.schema(
    [
        _field("track_id", pa.string(), "a track of the catalogue", nullable=False),
        _field("run_id", pa.string(), "the run that found it", nullable=False),
        _field(
            "other_track_id", pa.string(), "a track of the same recording; the lesser of the two ids", nullable=False
        ),
        *_MATCH,
    ],
    metadata={"comment": "one row per track that is the same recording as another one"},
)

STRETCHES: Final = pa.list_(pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64())]))

SEARCHES: Final = pa.schema(
    [
        _field("track_id", pa.string(), "a track that was searched for songs", nullable=False),
        _field("run_id", pa.string(), "the run that says so", nullable=False),
        _field("track_run_id", pa.string(), "the run whose fingerprints of it were searched", nullable=False),
        _field("searched_s", pa.float64(), "seconds of it that may hold music, and were searched", nullable=False),
        _field("music_s", pa.float64(), "seconds with music (p_music >= 0.5)", nullable=False),
        _field("known_s", pa.float64(), "of the seconds with music, those of songs of the catalogue", nullable=False),
        _field(
            "unknown_s", pa.float64(), "of the seconds with music, those of no song of the catalogue", nullable=False
        ),
        _field("stretches", STRETCHES, "what of it was searched", nullable=False),
        _field("music", STRETCHES, "where music is heard in it", nullable=False),
    ],
    metadata={"comment": "one row per track that was searched for songs"},
)

EVIDENCE: Final = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("scores", pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("score", pa.float32())]))),
        ]
    )
)

FLAGS: Final = pa.schema(
    [
        _field("flag_id", pa.string(), "the claim's identity, the same in every run that makes it", nullable=False),
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("track_id", pa.string(), "the track it is about", nullable=False),
        _field(
            "kind",
            pa.string(),
            "mislabelled, mixed_content, missing_label, embedded_song, duplicate_audio or unplayable",
            nullable=False,
        ),
        _field("field", pa.string(), "what it is about, as the mapping calls it; null where no field is concerned"),
        _field("current_value", pa.string(), "what the metadata say, as they say it; null where they say nothing"),
        _field("suggested_value", pa.string(), "what was heard, or the id of the song or of the other track"),
        _field("confidence", pa.float64(), "probability that the claim is right", nullable=False),
        _field("evidence", EVIDENCE, "stretches of the track that speak for it, with their scores", nullable=False),
        _field("reason", pa.string(), "the claim in words", nullable=False),
        _field("first_seen_run", pa.string(), "the run that made it first", nullable=False),
        _field("state", pa.string(), "new, open, resolved or dismissed", nullable=False),
        _field("audio_etag", pa.string(), "identity of the audio that was heard; a dismissal holds for it alone"),
        _field("uri", pa.string(), "where the audio is", nullable=False),
    ],
    metadata={"comment": "one row per claim that metadata and audio disagree"},
)

LABEL_NOISE: Final = pa.schema(
    [
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("field", pa.string(), "as the mapping calls it", nullable=False),
        _field("current_value", pa.string(), "a value of the metadata", nullable=False),
        _field("true_value", pa.string(), "what the audio is", nullable=False),
        _field("tracks", pa.int64(), "tracks that carry current_value and could be judged", nullable=False),
        _field("expected", pa.float64(), "so many of them are expected to be true_value", nullable=False),
    ],
    metadata={"comment": "how many of each label are expected to be wrong, by confident learning"},
)

FLAG_PRECISION: Final = pa.schema(
    [
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("kind", pa.string(), "as in flags", nullable=False),
        _field("field", pa.string(), "as in flags"),
        _field("confidence", pa.float64(), "a cut: the claims that are at least so sure", nullable=False),
        _field("flags", pa.int64(), "how many there are", nullable=False),
        _field("expected_precision", pa.float64(), "share of them that is expected to be right", nullable=False),
        _field("low", pa.float64(), "lower end of its 95 % interval", nullable=False),
        _field("high", pa.float64(), "upper end of its 95 % interval", nullable=False),
        _field("is_cut", pa.bool_(), "whether flags begin here", nullable=False),
    ],
    metadata={"comment": "what to expect of the list at each confidence"},
)

DECISIONS: Final = pa.schema(
    [
        _field("flag_id", pa.string(), "as in flags", nullable=False),
        _field("run_id", pa.string(), "the run that wrote this row", nullable=False),
        _field("decision", pa.string(), "accepted or dismissed", nullable=False),
        _field("kind", pa.string(), "of the flag", nullable=False),
        _field("field", pa.string(), "of the flag"),
        _field("confidence", pa.float64(), "of the flag, before any decision counted", nullable=False),
        _field("current_value", pa.string(), "of the flag, when it was decided on"),
        _field("audio_etag", pa.string(), "of the flag, when it was decided on"),
        _field("first_seen_run", pa.string(), "of the flag", nullable=False),
    ],
    metadata={"comment": "one row per flag that an editor has decided on, the last decision"},
)

RUNS: Final = pa.schema(
    [
        _field("run_id", pa.string(), "the run, sortable by when it began", nullable=False),
        _field("started_at", pa.string(), "when it began, ISO 8601 in UTC", nullable=False),
        _field("committed_at", pa.string(), "when its rows became visible, ISO 8601 in UTC", nullable=False),
        _field("source", pa.string(), "the catalogue, or the metadata", nullable=False),
        _field("bundles", pa.list_(pa.string()), "models that it used, as name@fingerprint", nullable=False),
        _field("tracks", pa.int64(), "tracks planned, or looked at", nullable=False),
        _field("tagged", pa.int64(), "of these, tracks with an answer", nullable=False),
        _field("quarantined", pa.int64(), "of these, tracks without", nullable=False),
        _field("up_to_date", pa.int64(), "tracks of the source that were left alone", nullable=False),
        _field("segments", pa.int64(), "segments heard", nullable=False),
        _field("audio_s", pa.float64(), "seconds of audio of the tracks tagged", nullable=False),
        _field("wall_s", pa.float64(), "seconds it took", nullable=False),
        _field("removed", pa.int64(), "tracks that the source no longer lists", nullable=False),
        _field("size_bytes", pa.int64(), "encoded audio of the tracks planned", nullable=False),
        _field("kind", pa.string(), "tag, songs or reconcile", nullable=False),
    ],
    metadata={"comment": "one row per committed run"},
)

#: kind of run -> its tables, with the one whose file ends a work shard last
TABLES_OF: Final[dict[str, dict[str, pa.Schema]]] = {
    "tag": {"segments": SEGMENTS, "fingerprints": FINGERPRINTS, "tracks": TRACKS},
    "songs": {"songs": SONGS, "duplicates": DUPLICATES, "searches": SEARCHES},
    "reconcile": {
        "flags": FLAGS,
        "label_noise": LABEL_NOISE,
        "flag_precision": FLAG_PRECISION,
        "decisions": DECISIONS,
    },
}
TABLES: Final[dict[str, pa.Schema]] = {name: schema for tables in TABLES_OF.values() for name, schema in tables.items()}
