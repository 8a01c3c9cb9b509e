"""Arrow schemas of the warehouse's tables, with a comment per column.

A table is the Parquet files ``<warehouse>/<table>/run_id=<run>/<shard>.parquet``. Comments are stored
as field metadata ``comment`` inside each file's Arrow schema. Columns are only ever added, at the end.

What a bundle would have said is null where the run left it out (`tagging.bundle_set`): ``content_type``,
both fractions, ``p_speech`` and ``p_music`` come from a bundle of task speech_music, voices from
voice_gender, tags and the embedding from those of task tags.

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
        _field("duration_s", pa.float64(), "length of the decoded audio in seconds"),
        _field("scanned_s", pa.float64(), "seconds of it that the models heard"),
        _field("speech_fraction", pa.float32(), "share of the scanned seconds with speech (p_speech >= 0.5)"),
        _field("music_fraction", pa.float32(), "share of the scanned seconds with music (p_music >= 0.5)"),
        _field("content_type", pa.string(), "music, speech, mixed or other"),
        _field("content_confidence", pa.float32(), "probability of content_type, from the calibrated segment scores"),
        _field("bundles", pa.list_(pa.string()), "models that heard the track, as name@fingerprint", nullable=False),
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

TABLES: Final[dict[str, pa.Schema]] = {"tracks": TRACKS, "segments": SEGMENTS}
