"""The rows of a piece of work while it is being tagged, one per planned track whatever happens to it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

import numpy as np
import pyarrow as pa

from catalog_tagger.errors import AudioError
from catalog_tagger.fingerprints.peaks import listed
from catalog_tagger.fingerprints.where import KEPT_BESIDE, may_hold_music
from catalog_tagger.tables.commit import ShardSummary
from catalog_tagger.tables.schemas import TABLES, TAG_LIST
from catalog_tagger.tagging.bundle_set import BundleSet
from catalog_tagger.tagging.decoder_pool import Track
from catalog_tagger.tagging.heard import TrackResult
from catalog_tagger.tagging.tags import segment_tags

#: share of a track in which a tag is expected for the track to count as one of it
_MUCH: Final = 0.5


@dataclass(kw_only=True)
class PieceRows:
    """Rows of every table, by track in the order they ended."""

    run_id: str
    bundles: BundleSet
    tracks: list[dict[str, Any]] = field(default_factory=list)
    segments: list[pa.Table] = field(default_factory=list)
    fingerprints: list[pa.Table] = field(default_factory=list)
    begun_at: float = field(default_factory=time.monotonic)

    def add(self, track: Track) -> None:
        """Add a track that has ended and whose segments all have scores."""
        row = self._row(track.row)
        if track.info is not None:
            row |= {"codec": track.info.codec, "channels": track.info.channels}
            row["sample_rate_hz"] = track.info.sample_rate_hz
        if track.error is not None or track.info is None:
            error = track.error or AudioError("no_samples", "the decoder gave nothing")
            row |= _quarantined(track.row, error)
        else:
            result = track.heard.result(track.info, track.n_samples, self.bundles, places=track.places)
            row |= self._heard(result)
            self.segments.append(self._segment_rows(track.row["track_id"], result))
            self.fingerprints.append(self._fingerprint_rows(track.row["track_id"], result))
        self.tracks.append(row)

    def quarantine(self, planned: dict[str, Any], error: AudioError) -> None:
        """Add a track that was not listened to."""
        self.tracks.append(self._row(planned) | _quarantined(planned, error))

    def _row(self, planned: dict[str, Any]) -> dict[str, Any]:
        return {
            "track_id": planned["track_id"],
            "run_id": self.run_id,
            "status": "tagged",
            "uri": planned["uri"],
            "audio_etag": planned["etag"],
            "size_bytes": planned["size_bytes"],
            "bundles": self.bundles.ids,
            "tagged_at": datetime.now(timezone.utc),
        }

    def _heard(self, result: TrackResult) -> dict[str, Any]:
        tags = [{"tag": tag, "score": score} for tag, score in result.tags.items()] if self.bundles.taggers else None
        return {
            "duration_s": result.duration_s,
            "scanned_s": result.scanned_s,
            **({} if result.verdict is None else asdict(result.verdict)),
            "voice_gender": result.voice_gender,
            "voice_gender_confidence": result.voice_gender_confidence,
            "tags": tags,
            "embedding": result.embedding,
        }

    def _segment_rows(self, track_id: str, result: TrackResult) -> pa.Table:
        count = len(result.start_s)
        columns = {
            "track_id": pa.repeat(track_id, count),
            "run_id": pa.repeat(self.run_id, count),
            "start_s": pa.array(result.start_s),
            "end_s": pa.array(result.end_s),
        }
        for name in ("p_speech", "p_music", "p_female"):
            p = getattr(result, name)
            columns[name] = pa.nulls(count, pa.float32()) if p is None else pa.array(p, from_pandas=True)
        tags = result.scores.tags
        columns["tags"] = pa.nulls(count, TAG_LIST) if tags is None else segment_tags(tags, self.bundles.tags)
        return pa.table(columns, schema=TABLES["segments"])

    def _fingerprint_rows(self, track_id: str, result: TrackResult) -> pa.Table:
        """Where no songs are looked for, in music and where somebody speaks, what songs are known by is enough."""
        codes = result.scores.peaks
        if codes is None:
            return TABLES["fingerprints"].empty_table()
        every = np.full(len(codes), result.content_type != "music")
        if result.content_type is not None and result.p_speech is not None and result.p_music is not None:
            every &= may_hold_music(result.p_speech, result.p_music, beside=KEPT_BESIDE)
        values, offsets = listed(codes, every=every)
        columns = {
            "track_id": pa.repeat(track_id, len(codes)),
            "run_id": pa.repeat(self.run_id, len(codes)),
            "start_s": pa.array(result.start_s),
            "peaks": pa.ListArray.from_arrays(
                pa.array(offsets), pa.array(values), type=TABLES["fingerprints"].field("peaks").type
            ),
        }
        return pa.table(columns, schema=TABLES["fingerprints"])

    def tables(self) -> dict[str, pa.Table]:
        """Rows sorted by track, so that a retry writes the same file whatever order tracks ended in."""
        tracks = pa.Table.from_pylist(self.tracks, schema=TABLES["tracks"])
        by_track_and_time = [("track_id", "ascending"), ("start_s", "ascending")]
        parts = {"segments": self.segments, "fingerprints": self.fingerprints}
        return {
            "tracks": tracks.sort_by("track_id"),
            **{
                name: pa.concat_tables([TABLES[name].empty_table(), *rows]).sort_by(by_track_and_time)
                for name, rows in parts.items()
            },
        }

    def summary(self, piece: str, *, worker: str) -> ShardSummary:
        """What the piece came to."""
        codes = Counter(row["error_code"] for row in self.tracks if row["status"] == "quarantined")
        return ShardSummary(
            shard=piece,
            tracks=len(self.tracks),
            tagged=len(self.tracks) - codes.total(),
            quarantined=codes.total(),
            segments=sum(table.num_rows for table in self.segments),
            audio_s=sum(row.get("duration_s") or 0.0 for row in self.tracks),
            quarantined_by_code=dict(codes),
            worker=worker,
            size_bytes=sum(row["size_bytes"] or 0 for row in self.tracks),
            wall_s=round(time.monotonic() - self.begun_at, 3),
            heard=self._counts(),
        )

    def _counts(self) -> dict[str, dict[str, int]]:
        """What was heard, in how many tracks."""
        told = {"content_type": self.bundles.presence, "voice_gender": self.bundles.voices}
        tagged = [row for row in self.tracks if row["status"] == "tagged"]
        counts = {name: Counter(row[name] for row in tagged) for name, bundle in told.items() if bundle is not None}
        if self.bundles.taggers:
            tags = (entry["tag"] for row in tagged for entry in row["tags"] if entry["score"] >= _MUCH)
            counts["tags"] = Counter(tags)
        return {name: dict(counter.most_common()) for name, counter in counts.items()}


def _quarantined(planned: dict[str, Any], error: AudioError) -> dict[str, Any]:
    return {
        "status": "quarantined",
        "error_code": error.code,
        "error_message": str(error),
        "attempts": (planned["attempts"] or 0) + 1,
    }
