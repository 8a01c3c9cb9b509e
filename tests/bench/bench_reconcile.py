"""Time and memory of a reconcile run over a made-up catalogue, with how well it finds the labels made wrong.

python tests/bench/bench_reconcile.py --tracks 10000000 --folder /tmp/reconcile_bench

The folder must not exist; it is removed at the end. Metadata are one CSV; 3 % of the labels are wrong, 0.1 %
are empty, and what is heard is as sure as it says. Peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from catalog_tagger.reconcile.config import make_config
from catalog_tagger.reconcile.job import run_reconcile
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, RunManifest, commit_run, table_file, write_table
from catalog_tagger.tables.schemas import TABLES_OF
from catalog_tagger.tagging.content import MIXTURES

_KINDS: Final = np.array(["music", "speech", "mixed", "other"])
_SAID: Final = np.array(["song", "audiobook", "podcast", "sound effect"])
#: by what a track is: what metadata say of it as a rule, and now and then; and what is wrong
_OFTEN: Final = np.array([0, 1, 2, 3])
_SELDOM: Final = np.array([0, 2, 2, 3])
_WRONGLY: Final = np.array([1, 0, 3, 0])
_SHARD: Final = 500_000
_SEGMENTS: Final = 4
_WRONG: Final = 0.03


def make(folder: Path, tracks: int, *, seed: int = 0) -> np.ndarray:
    """The warehouse and ``metadata.csv``; which labels are wrong."""
    rng = np.random.default_rng(seed)
    store, files, wrong = Store(folder / "w"), [], []
    with (folder / "metadata.csv").open("wb") as csv:
        for shard, start in enumerate(range(0, tracks, _SHARD)):
            n = min(_SHARD, tracks - start)
            true = rng.choice(4, n, p=[0.6, 0.3, 0.08, 0.02])
            # as networks do that are calibrated where all kinds are alike
            sure = 1.0 - rng.exponential(0.01, n).clip(0.0, 0.7)
            heard = np.where(rng.random(n) < sure, true, (true + rng.integers(1, 4, n)) % 4)
            right = np.where(rng.random(n) < 0.7, _OFTEN[true], _SELDOM[true])
            is_wrong = rng.random(n) < _WRONG
            said = np.where(is_wrong, _WRONGLY[true], right)
            wrong.append(is_wrong)
            ids = pa.array([f"track-{i:010d}" for i in range(start, start + n)])
            files += _shard(store, shard, ids, heard, sure)
            empty = rng.random(n) < 0.001
            values = pa.array(np.where(empty, "", _SAID[said]))
            title = pa.array([f"Title {i}" for i in range(n)])
            rows = pa.table({"track_id": ids, "title": title, "content_type": values})
            pyarrow.csv.write_csv(rows, csv, pyarrow.csv.WriteOptions(include_header=shard == 0))
    counts = {table: sum(file.rows for file in files if file.table == table) for table in ("tracks", "segments")}
    now = "2026-01-01T12:00:00+00:00"
    manifest = RunManifest(
        run_id="bench",
        started_at=now,
        committed_at=now,
        source="/audio",
        bundles=["m@1"],
        versions={},
        config={},
        tracks=tracks,
        tagged=tracks,
        quarantined=0,
        segments=counts["segments"],
        audio_s=0.0,
        wall_s=0.0,
        up_to_date=0,
        quarantined_by_code={},
        workers={},
        files=files,
    )
    commit_run(store, manifest)
    return np.concatenate(wrong)


def _shard(store: Store, shard: int, ids: pa.Array, heard: np.ndarray, sure: np.ndarray) -> list[FileEntry]:
    n = len(ids)
    p = np.repeat(((1.0 - sure) / 3)[:, None], 4, axis=1)
    p[np.arange(n), heard] = sure
    speech, music = np.isin(heard, (1, 2)).astype(np.float32), np.isin(heard, (0, 2)).astype(np.float32)
    none = pa.array(np.zeros(n, np.float32))
    columns = {
        "track_id": ids,
        "run_id": pa.repeat("bench", n),
        "status": pa.repeat("tagged", n),
        "uri": ids,
        "audio_etag": pa.repeat("1", n),
        "speech_fraction": pa.array(speech),
        "music_fraction": pa.array(music),
        "content_type": pa.array(_KINDS[heard]),
        "content_confidence": pa.array(sure.astype(np.float32)),
        "content_probabilities": pa.StructArray.from_arrays(
            [*(pa.array(p[:, j].astype(np.float32)) for j in range(4)), *([none] * len(MIXTURES))],
            [*_KINDS, *MIXTURES],
        ),
        "bundles": pa.array([["m@1"]] * n),
        "tagged_at": pa.repeat(pa.scalar(0, pa.timestamp("us", tz="UTC")), n),
    }
    at = np.repeat(np.arange(n), _SEGMENTS)
    start = np.tile(np.arange(_SEGMENTS) * 5.0, n)
    segments = {
        "track_id": ids.take(pa.array(at)),
        "run_id": pa.repeat("bench", len(at)),
        "start_s": start,
        "end_s": start + 5.0,
        "p_speech": np.abs(speech[at] - 0.02),
        "p_music": np.abs(music[at] - 0.02),
    }
    made = {"tracks": columns, "segments": segments, "fingerprints": {}}
    files = []
    for table, schema in TABLES_OF["tag"].items():
        size = len(next(iter(made[table].values()), ()))
        full = [made[table].get(field.name, pa.nulls(size, field.type)) for field in schema]
        rows = pa.table(full, names=schema.names)
        files.append(write_table(store, table_file(table, "bench", f"{shard:06d}"), "tag", table, rows))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/reconcile_bench"))
    parser.add_argument("--ray", action="store_true", help="join with Ray on this machine")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    try:
        wrong = make(arguments.folder, arguments.tracks)
        made_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            began = time.monotonic()
            config = make_config(
                warehouse=str(arguments.folder / "w"),
                metadata=str(arguments.folder / "metadata.csv"),
                temporary=str(arguments.folder),
                ray=arguments.ray,
            )
            result = run_reconcile(config)
            wall_s = time.monotonic() - began
            of_kind = result.flags.filter(pa.compute.equal(result.flags["kind"], "mislabelled"))
            hits = sum(bool(wrong[int(track[6:])]) for track in of_kind["track_id"].to_pylist())
            cut = next(
                row for row in result.flag_precision.to_pylist() if row["is_cut"] and row["kind"] == "mislabelled"
            )
            peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(
                f"{arguments.tracks:,} tracks: {wall_s:.1f} s, peak {peak_kb / 2**20:.2f} GiB "
                f"({made_kb / 2**20:.2f} before); {len(of_kind):,} mislabelled, precision "
                f"{hits / max(1, len(of_kind)):.4f} of {cut['expected_precision']:.4f} expected "
                f"({cut['low']:.4f} to {cut['high']:.4f}), recall {hits / wrong.sum():.3f}",
                flush=True,
            )
    finally:
        shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
