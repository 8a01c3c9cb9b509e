"""How long a catalogue takes to plan, and how much memory: a manifest of made-up tracks, each step timed.

    python tests/bench/bench_plan.py --tracks 1000000
    python tests/bench/bench_plan.py --tracks 3000000 --manifest csv

Tracks are MP3s of four minutes at 128 kb/s in object storage, with uri, etag and size. They are planned
into an empty warehouse, then against one that already holds all of them, in the shards that they would
have come in, a tenth of them changed. Each step runs in a process of its own on one core, so that the
peak of one is not hidden by another's; the figures are JSON lines. On a machine that does other things
too, the CPU seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, RunManifest, ShardSummary, commit_run, write_shard
from catalog_tagger.tables.schemas import FINGERPRINTS, SEGMENTS, TRACKS
from catalog_tagger.tagging.changes import Selection, select_changed
from catalog_tagger.tagging.plan import make_plan, read_plan, read_shard_tracks, write_plan
from catalog_tagger.tagging.sources import list_tracks

TRACK_S = 240.0
TRACK_BYTES = int(TRACK_S * 128_000 / 8)
SHARD_TRACKS = 4000
BUNDLES = ["speech_music@0123456789abcdef"]


def make_manifest(path: Path, tracks: int) -> None:
    """Ids and keys as catalogues have them: an ISRC, a label's folder, a name in hexadecimal."""
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, tracks)
    rows = [f"US{i:010d}" for i in range(tracks)]
    uris = [f"s3://catalogue/label-{i % 997:03d}/{key:016x}.mp3" for i, key in enumerate(keys)]
    etags = [f"{key:016x}{i:016x}" for i, key in enumerate(keys)]
    sizes = pa.array(np.full(tracks, TRACK_BYTES) + rng.integers(-400_000, 400_000, tracks))
    table = pa.table({"track_id": rows, "uri": uris, "title": uris, "etag": etags, "size_bytes": sizes})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def tables_of(plan: pa.Table, *, run_id: str, segments: bool) -> dict[str, pa.Table]:
    """Rows as a tagged shard has them, with scores that do not compress better than real ones."""
    rows = plan.num_rows
    rng = np.random.default_rng(rows)
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    values: dict[str, Any] = {
        "track_id": plan["track_id"],
        "uri": plan["uri"],
        "audio_etag": plan["etag"],
        "size_bytes": plan["size_bytes"],
        "duration_s": plan["size_bytes"].cast(pa.float64()).to_numpy() / 16_000,
        "speech_fraction": rng.random(rows, dtype=np.float32),
        "music_fraction": rng.random(rows, dtype=np.float32),
        "content_confidence": rng.random(rows, dtype=np.float32),
        "bundles": pa.array([BUNDLES] * rows),
        "tagged_at": pa.array([moment] * rows),
        "attempts": pa.array(np.ones(rows, np.int32)),
    }
    same = {"run_id": run_id, "status": "tagged", "codec": "mp3", "sample_rate_hz": 44100, "channels": 2}
    values |= {name: pa.repeat(value, rows) for name, value in {**same, "content_type": "music"}.items()}
    values["scanned_s"] = values["duration_s"]
    nulls = {field.name: pa.nulls(rows, field.type) for field in TRACKS if field.name not in values}
    tracks = pa.table({field.name: {**values, **nulls}[field.name] for field in TRACKS}).cast(TRACKS)
    if not segments:
        return {"tracks": tracks, "segments": SEGMENTS.empty_table(), "fingerprints": FINGERPRINTS.empty_table()}
    counts = np.ceil(values["duration_s"] / 5).astype(int)
    total = int(counts.sum())
    start = np.concatenate([np.arange(count) * 5.0 for count in counts])
    parts = {
        "track_id": plan["track_id"].take(pa.array(np.repeat(np.arange(rows), counts))),
        "run_id": pa.repeat(run_id, total),
        "start_s": start,
        "end_s": start + 5,
        "p_speech": rng.beta(0.05, 0.5, total).astype(np.float32),
        "p_music": rng.beta(0.5, 0.05, total).astype(np.float32),
    }
    parts |= {field.name: pa.nulls(total, field.type) for field in SEGMENTS if field.name not in parts}
    return {"tracks": tracks, "segments": pa.table(parts).cast(SEGMENTS), "fingerprints": FINGERPRINTS.empty_table()}


def put_shard(store: Store, plan: pa.Table, shard: str, *, segments: bool) -> list[FileEntry]:
    """The files of one shard."""
    tables = tables_of(plan, run_id="before", segments=segments)
    summary = ShardSummary(
        shard=shard,
        tracks=plan.num_rows,
        tagged=plan.num_rows,
        quarantined=0,
        segments=tables["segments"].num_rows,
        audio_s=TRACK_S * plan.num_rows,
    )
    return write_shard(store, run_id="before", summary=summary, tables=tables)


def fill_warehouse(folder: Path, source: str, *, shard_bytes: int) -> None:
    """A committed run of the whole source; one shard alone has segments, for their size."""
    store = Store(folder)
    plan = make_plan(list_tracks(source), shard_tracks=SHARD_TRACKS, shard_bytes=shard_bytes)
    ends = np.flatnonzero(np.diff(plan["shard"].dictionary_encode().combine_chunks().indices.to_numpy())) + 1
    starts = [0, *ends.tolist()]
    files: list[FileEntry] = []
    for start, stop in zip(starts, [*ends.tolist(), plan.num_rows], strict=True):
        part = plan.slice(start, stop - start)
        files += put_shard(store, part, part["shard"][0].as_py(), segments=start == 0)
    tracks = plan.num_rows
    commit_run(
        store,
        RunManifest(
            run_id="before",
            started_at="2026-01-01T00:00:00",
            committed_at="2026-01-02T00:00:00",
            source=source,
            bundles=BUNDLES,
            versions={},
            config={},
            tracks=tracks,
            tagged=tracks,
            quarantined=0,
            segments=sum(file.rows for file in files if file.table == "segments"),
            audio_s=TRACK_S * tracks,
            wall_s=1.0,
            up_to_date=0,
            quarantined_by_code={},
            workers={},
            files=files,
        ),
    )


class Steps:
    """Times and peaks of steps one after the other."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}

    def run(self, name: str, step: Callable[[], Any]) -> Any:
        """Do it and note what it took."""
        started, worked = time.monotonic(), time.process_time()
        result = step()
        self.figures[f"{name}_s"] = round(time.monotonic() - started, 2)
        self.figures[f"{name}_cpu_s"] = round(time.process_time() - worked, 2)
        self.figures[f"{name}_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return result


def plan_all(source: str, warehouse: Path, *, changed: bool, shard_bytes: int) -> dict[str, Any]:
    """What a driver does before it starts anything."""
    steps = Steps()
    store = Store(warehouse)
    asked = {"bundle_ids": BUNDLES, "source": source}
    steps.figures["before_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    started, worked = time.monotonic(), time.process_time()
    tracks = steps.run("list_tracks", lambda: list_tracks(source))
    if changed:
        etags = tracks["etag"].to_numpy(zero_copy_only=False)
        etags[::10] = "changed"
        tracks = tracks.set_column(2, tracks.schema.field("etag"), pa.array(etags))
    selected: Selection = steps.run("select_changed", partial(select_changed, tracks, store, **asked))
    del tracks
    plan = steps.run("make_plan", partial(make_plan, selected.todo, shard_tracks=SHARD_TRACKS, shard_bytes=shard_bytes))
    steps.run("write_plan", partial(write_plan, store, "runs/r/plan", plan))
    steps.figures["in_all_s"] = round(time.monotonic() - started, 2)
    steps.figures["in_all_cpu_s"] = round(time.process_time() - worked, 2)
    todo, up_to_date = selected.todo.num_rows, selected.up_to_date
    shards = plan["shard"].unique().to_pylist()
    del plan, selected
    steps.run("read_plan", lambda: read_plan(store, "runs/r/plan"))
    steps.run("read_a_shard", lambda: read_shard_tracks(store, "runs/r/plan", len(shards) - 1, shard=shards[-1]))
    parts = sorted((warehouse / "runs/r/plan").iterdir())
    footer = pq.ParquetFile(parts[0]).metadata.serialized_size
    sizes = {"plan_mb": sum(part.stat().st_size for part in parts) / 2**20, "plan_files": len(parts)}
    return {"todo": todo, "up_to_date": up_to_date, "shards": len(shards), **steps.figures, **sizes, "footer_b": footer}


def file_sizes(warehouse: Path) -> dict[str, Any]:
    """Files of a shard of four-minute MP3s, from a real one."""
    sizes: dict[str, Any] = {}
    for table in ("tracks", "segments"):
        first = min((warehouse / table / "run_id=before").iterdir())
        sizes[f"{table}_file_kb"] = round(first.stat().st_size / 1024, 1)
        sizes[f"{table}_rows"] = pq.ParquetFile(first).metadata.num_rows
    files = len(list((warehouse / "tracks" / "run_id=before").iterdir()))
    return {"shards": files, **sizes}


def main() -> None:
    """Make what is needed in a folder that goes away, and print the figures of each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, default=1_000_000)
    parser.add_argument("--manifest", choices=["parquet", "csv", "both"], default="both")
    parser.add_argument("--shard-bytes", type=int, default=2**30, help="most bytes of audio of a work shard")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        keep_to_one_core()
        name, *paths = arguments.step
        if name == "make":
            make_manifest(Path(paths[0]), arguments.tracks)
        elif name == "fill":
            fill_warehouse(Path(paths[1]), paths[0], shard_bytes=arguments.shard_bytes)
            found = {"shard_bytes": arguments.shard_bytes, **file_sizes(Path(paths[1]))}
            print(json.dumps({"step": "output files", **found}))
        else:
            limits = {"changed": name == "again", "shard_bytes": arguments.shard_bytes}
            figures = plan_all(paths[0], Path(paths[1]), **limits)
            print(json.dumps({"step": name, "manifest": Path(paths[0]).suffix, **figures}))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        folder = Path(made)
        kinds = ["parquet", "csv"] if arguments.manifest == "both" else [arguments.manifest]
        for kind in kinds:
            step(arguments, "make", folder / f"catalogue.{kind}")
            step(arguments, "new", folder / f"catalogue.{kind}", folder / f"new-{kind}")
        step(arguments, "fill", folder / f"catalogue.{kinds[0]}", folder / "held")
        step(arguments, "again", folder / f"catalogue.{kinds[0]}", folder / "held")


def step(arguments: argparse.Namespace, name: str, *paths: Path) -> None:
    """One step in a process of its own, on one core."""
    given = ["--tracks", str(arguments.tracks), "--shard-bytes", str(arguments.shard_bytes)]
    subprocess.run([sys.executable, __file__, *given, "--step", name, *map(str, paths)], check=True)


def keep_to_one_core() -> None:
    """Of this process's, where the system and the container allow it; a figure is then one core's."""
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
