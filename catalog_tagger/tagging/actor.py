"""The tagging actor: one piece of a work shard in, one Parquet file per table out.

An actor owns one GPU where there are any, else a share of the CPUs. For a piece it fetches ahead,
keeps a bounded number of tracks being decoded in other processes, fills batches across tracks, and
at the end writes the piece's rows; only a small status row goes back to Ray Data.

Failure rule: whatever happens to a track, the piece has one row for it. A store that refuses access
or cannot be written ends the piece with an error in its status row, which stops the job; the piece then
has no file and is done again when the run is resumed. An error that nobody foresaw ends the process,
since what it left of a GPU's context may be no good: Ray starts the actor anew and gives it the piece
again. A piece that has killed its actors twice is not begun a third time: its status row says so, and
the driver takes it apart.
"""

from __future__ import annotations

import json
import os
import traceback
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.exceptions
import torch

from catalog_tagger.audio import SEGMENT_SAMPLES, cut_segments
from catalog_tagger.errors import AudioError, CatalogTaggerError, RunError
from catalog_tagger.resampling import Pcm
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import ShardSummary, write_shard
from catalog_tagger.tagging.decoder_pool import DecoderPool, Track, heard_s
from catalog_tagger.tagging.fetching import StoreHealth, fetch_all
from catalog_tagger.tagging.plan import read_shard_tracks
from catalog_tagger.tagging.progress import MOST_DEATHS, Reporter
from catalog_tagger.tagging.rows import PieceRows
from catalog_tagger.tagging.tagger import Scorer


@dataclass(frozen=True, kw_only=True)
class ActorJob:
    """What an actor needs to know of the job."""

    run_id: str
    warehouse: str
    plan: str
    bundle_ids: tuple[str, ...]
    """What the driver planned with; an actor that loads anything else must not write."""
    bundles: tuple[str, ...]
    device: Literal["auto", "cpu", "gpu"]
    batch_segments: int | None
    tracks_in_flight: int
    max_duration_s: float
    decode_timeout_s: float
    """Most seconds for a minute of audio."""
    decode_memory_bytes: int
    roots: tuple[str, ...]


class ShardTagger:
    """Callable of `ray.data.Dataset.map_batches`, one piece per call."""

    def __init__(self, job: ActorJob, board: Any) -> None:
        self.job = job
        # a core decodes and a core listens at about 1 000x real time each: share the cores between the two
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        device = {"auto": None, "cpu": "cpu", "gpu": "cuda"}[job.device]
        self.scorer = Scorer(job.bundles, device=device, batch_segments=job.batch_segments)
        self.warehouse = Store(job.warehouse)
        if tuple(self.scorer.bundles.ids) != job.bundle_ids:
            mine, drivers = ", ".join(self.scorer.bundles.ids), ", ".join(job.bundle_ids)
            raise RunError(f"a node has {mine}, the driver {drivers}; install the same version on all nodes")
        self.reporter = Reporter(board=board)
        self.health = StoreHealth()
        context = ray.get_runtime_context()
        self.node_id = context.get_node_id()
        gpus = ",".join(context.get_accelerator_ids().get("GPU", []))
        self.worker = f"{self.node_id[:12]}/{os.getpid()}/{self.scorer.device.type}" + (f"/gpu{gpus}" if gpus else "")

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Tag the piece in a batch of one row (`cluster.piece_row`); the status row says what came of it."""
        given = {key: value[0] for key, value in batch.items()}
        name = str(given["name"])
        status: dict[str, Any] = {"name": name}
        deaths = self.reporter.begin(name, node_id=self.node_id)
        if deaths.count >= MOST_DEATHS and not given["give_up"]:
            return _answer(status | {"deaths": deaths.count, "reason": deaths.reason})
        if deaths.count >= 2 * MOST_DEATHS:  # unheard tracks cannot do that
            return _answer(status | {"error": f"writing {name} kills the tagging processes: {deaths.reason}"})
        try:
            tracks = read_shard_tracks(
                self.warehouse,
                self.job.plan,
                int(given["index"]),
                shard=str(given["shard"]),
                first=int(given["first"]),
                count=int(given["count"]),
            )
            built = PieceRows(run_id=self.job.run_id, bundles=self.scorer.bundles)
            if given["give_up"]:
                for track in tracks:
                    built.quarantine(track, AudioError("tagger_crashed", str(given["reason"])))
            else:
                self._tag(tracks, built)
            summary, tables = built.summary(name, worker=self.worker), built.tables()
            status |= self._written(summary, tables)
        except CatalogTaggerError as error:
            status["error"] = str(error)
        except ray.exceptions.RayError:
            raise
        except Exception as error:  # noqa: BLE001 - see the module's failure rule
            traceback.print_exc()
            self.reporter.blame(f"{type(error).__name__}: {error}")
            os._exit(1)
        self.reporter.end()
        return _answer(status)

    def _written(self, summary: ShardSummary, tables: dict[str, pa.Table]) -> dict[str, Any]:
        files = write_shard(self.warehouse, run_id=self.job.run_id, summary=summary, tables=tables)
        return {"summary": asdict(summary), "files": [asdict(file) for file in files]}

    def _tag(self, rows: list[dict[str, Any]], built: PieceRows) -> None:
        queue: deque[tuple[Track, Pcm]] = deque()
        queued = 0
        pool = DecoderPool(
            most=self.job.tracks_in_flight,
            max_duration_s=self.job.max_duration_s,
            memory_bytes=self.job.decode_memory_bytes,
            timeout_s=self.job.decode_timeout_s,
            health=self.health,
        )
        for track, block in pool.run(fetch_all(rows, roots=self.job.roots, health=self.health)):
            if block is not None:
                self.reporter.heard(heard_s(block))
                segments = cut_segments(block, continued=track.n_samples > 0)
                track.n_samples += len(block)
                if len(segments):
                    queue.append((track, segments))
                    queued += len(segments)
                    track.unscored += len(segments)
                while queued >= self.scorer.batch_segments:
                    queued -= self._score(queue, built)
            if track.ended and track.unscored == 0:
                self._finish(track, built)
        while queue:
            self._score(queue, built)

    def _score(self, queue: deque[tuple[Track, Pcm]], built: PieceRows) -> int:
        """Score one batch from the front of the queue; returns its segments."""
        taken: list[tuple[Track, Pcm]] = []
        room = self.scorer.batch_segments
        while queue and room:
            track, segments = queue.popleft()
            if len(segments) > room:
                queue.appendleft((track, segments[room:]))
                segments = segments[:room]
            taken.append((track, segments))
            room -= len(segments)
        # a last batch is filled up: torch keeps buffers for every size of batch that it has met
        silence = np.zeros((room, SEGMENT_SAMPLES), np.int16)
        scores = self.scorer.score(np.concatenate([*(segments for _, segments in taken), silence]))
        at = 0
        for track, segments in taken:
            track.heard.add(scores.part(at, at + len(segments)))
            at += len(segments)
            track.unscored -= len(segments)
            if track.ended and track.unscored == 0:
                self._finish(track, built)
        return at

    def _finish(self, track: Track, built: PieceRows) -> None:
        built.add(track)
        size = track.row["size_bytes"] or 0
        self.reporter.add(quarantined=track.error is not None, size_bytes=size)


def _answer(status: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    return {"status": np.array([json.dumps(status)], dtype=object)}
