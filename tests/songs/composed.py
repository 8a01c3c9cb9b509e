"""Warehouses of composed songs and shows that play them, as a tagging run would have written them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, cut_segments, pcm_to_float, read_pcm
from catalog_tagger.demo.music import STYLES, compose
from catalog_tagger.demo.render_voices import VOICES_DIR
from catalog_tagger.fingerprints.peaks import FRONTEND, listed, pick_peaks
from catalog_tagger.frontends import build_frontend
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, ShardSummary, commit_run, write_shard
from catalog_tagger.tables.schemas import TABLES_OF

Samples = npt.NDArray[np.float32]
LENGTH_S = 30.0
SHARD = "000000-x"


@dataclass(frozen=True)
class Sound:
    """A track: its samples, what is heard, and p_music of each segment."""

    samples: Samples
    content_type: str
    music: tuple[float, ...]


@cache
def song(number: int) -> Samples:
    """A composed song of 30 s."""
    return compose(STYLES[number], seed=7, length_s=LENGTH_S, rate_hz=SAMPLE_RATE_HZ).mean(axis=0).astype(np.float32)


@cache
def voices(seconds: float = 60.0) -> Samples:
    """Somebody speaking."""
    spoken = [pcm_to_float(read_pcm(path)) for path in sorted(VOICES_DIR.iterdir()) if path.suffix == ".opus"]
    joined = np.concatenate(spoken)[: int(seconds * SAMPLE_RATE_HZ)]
    return (0.1 * joined / np.sqrt(np.mean(joined**2))).astype(np.float32)


def music(samples: Samples) -> Sound:
    """A track that is heard as music."""
    return Sound(samples, "music", (1.0,) * count(samples))


def speech(samples: Samples) -> Sound:
    """A track in which no music is heard."""
    return Sound(samples, "speech", (0.0,) * count(samples))


def show(*parts: tuple[Samples, float]) -> Sound:
    """Voices, and sounds in their place from so many seconds on."""
    mixed, heard = voices().copy(), np.zeros(count(voices()))
    for samples, at_s in parts:
        first = int(at_s * SAMPLE_RATE_HZ)
        mixed[first : first + len(samples)] = samples * (0.1 / np.sqrt(np.mean(samples**2)))
        heard[int(at_s // 5) : int((at_s + len(samples) / SAMPLE_RATE_HZ) // 5) + 1] = 1.0
    return Sound(np.clip(mixed, -1, 1), "mixed", tuple(heard.tolist()))


def excerpt(number: int, start_s: float, end_s: float) -> Samples:
    """A part of a song."""
    return song(number)[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]


def count(samples: Samples) -> int:
    """Segments of a track."""
    return len(cut_segments(np.zeros(len(samples), np.int16)))


@cache
def _codes(key: bytes) -> npt.NDArray[np.int16]:
    segments = torch.from_numpy(np.stack([pcm_to_float(one) for one in cut_segments(np.frombuffer(key, np.int16))]))
    return pick_peaks(build_frontend(FRONTEND)(segments)).numpy()


def codes_of(samples: Samples) -> npt.NDArray[np.int16]:
    """Peaks of a track, shape (segments, 400)."""
    return _codes((samples * 32767).astype(np.int16).tobytes())


def put_tagged(store: Store, run_id: str, tracks: Mapping[str, Sound], *, minute: int = 0) -> None:
    """A committed tagging run of one shard."""
    tables: dict[str, list[dict[str, Any]]] = {"tracks": [], "segments": [], "fingerprints": []}
    for track_id in sorted(tracks):
        sound = tracks[track_id]
        duration_s = len(sound.samples) / SAMPLE_RATE_HZ
        share = float(np.mean(np.array(sound.music) >= 0.5))
        tables["tracks"].append(_track(track_id, run_id, sound.content_type, duration_s, share))
        codes = codes_of(sound.samples)
        values, offsets = listed(codes, every=np.full(len(codes), sound.content_type != "music"))
        for i, p_music in enumerate(sound.music):
            place = {"track_id": track_id, "run_id": run_id, "start_s": 5.0 * i}
            end_s = min(5.0 * i + 5.0, duration_s)
            tables["segments"].append({**place, "end_s": end_s, "p_speech": 1.0 - p_music, "p_music": p_music})
            tables["fingerprints"].append({**place, "peaks": values[offsets[i] : offsets[i + 1]]})
    rows = {name: pa.Table.from_pylist(tables[name], schema=schema) for name, schema in TABLES_OF["tag"].items()}
    counts = {"tracks": len(tracks), "tagged": len(tracks), "quarantined": 0, "segments": len(tables["segments"])}
    summary = ShardSummary(shard=SHARD, audio_s=1.0, **counts)
    files = write_shard(store, run_id=run_id, summary=summary, tables=rows)
    manifest = RunManifest(
        run_id=run_id,
        started_at="2026-01-01T12:00:00",
        committed_at=f"2026-01-01T13:{minute:02d}:00",
        source="/audio",
        bundles=["m@1"],
        versions={},
        config={},
        **counts,
        audio_s=1.0,
        wall_s=1.0,
        up_to_date=0,
        quarantined_by_code={},
        workers={},
        files=files,
    )
    assert commit_run(store, manifest)


def _track(track_id: str, run_id: str, content_type: str, duration_s: float, music_share: float) -> dict[str, Any]:
    return {
        "track_id": track_id,
        "run_id": run_id,
        "status": "tagged",
        "uri": f"/audio/{track_id}",
        "audio_etag": "1",
        "duration_s": duration_s,
        "content_type": content_type,
        "speech_fraction": 1.0 - music_share,
        "music_fraction": music_share,
        "bundles": ["m@1"],
        "tagged_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
    }


def some_songs(numbers: Sequence[int] = (0, 1, 2, 3)) -> dict[str, Sound]:
    """Songs as tracks ``song0``, ``song1``, ..."""
    return {f"song{number}": music(song(number)) for number in numbers}
