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
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.exceptions

from catalog_tagger.audio import SAMPLE_RATE_HZ, cut_segments, segment_count
from catalog_tagger.errors import AudioError, CatalogTaggerError, RunError
from catalog_tagger.logs import actor_log
from catalog_tagger.resampling import Pcm
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import ShardSummary, write_shard
from catalog_tagger.tagging.decoder_pool import DecoderPool, Track, heard_s
from catalog_tagger.tagging.decoding import Windows
from catalog_tagger.tagging.fetching import StoreHealth, fetch_all
from catalog_tagger.tagging.heard import Scores
from catalog_tagger.tagging.metrics import observed
from catalog_tagger.tagging.plan import read_shard_tracks
from catalog_tagger.tagging.progress import MOST_DEATHS, Reporter
from catalog_tagger.tagging.rows import PieceRows
from catalog_tagger.tagging.scoring import ScoringThreads
from catalog_tagger.tagging.skimming import decide
from catalog_tagger.tagging.tagger import Scorer
from catalog_tagger.tagging.worker import ActorJob
from catalog_tagger.tracing import span


class PieceTagger:
    """What `worker.ShardTagger` does, one piece per call."""

    def __init__(self, job: ActorJob, board: Any) -> None:
        self.job = job
        device = {"auto": None, "cpu": "cpu", "gpu": "cuda"}[job.device]
        self.scorer = Scorer(job.bundles, device=device, batch_segments=job.batch_segments, precision=job.precision)
        self.scoring: ScoringThreads[list[tuple[Track, int]]] = ScoringThreads(self.scorer, threads=job.scoring_threads)
        self.warehouse = Store(job.warehouse)
        if tuple(self.scorer.bundles.ids) != job.bundle_ids:
            mine, drivers = ", ".join(self.scorer.bundles.ids), ", ".join(job.bundle_ids)
            raise RunError(f"a node has {mine}, the driver {drivers}; install the same version on all nodes")
        self.reporter = Reporter(board=board)
        self.health = StoreHealth()
        self.metrics = observed(job.run_id)
        self.log = actor_log(run_id=job.run_id)
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
        self.log.event("shard_begun", shard=name, deaths=deaths.count or None)
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
                    error = AudioError("tagger_crashed", str(given["reason"]))
                    built.quarantine(track, error)
                    self._tell(Track(row=track, ended=True, error=error))
            else:
                self._tag(tracks, built)
            summary, tables = built.summary(name, worker=self.worker), built.tables()
            status |= self._written(summary, tables)
            self.metrics.shard("given_up" if given["give_up"] else "written")
            told = {"tracks": summary.tracks, "quarantined": summary.quarantined, "seconds": summary.wall_s}
            self.log.event("shard_written", shard=name, **told)
        except CatalogTaggerError as error:
            status["error"] = str(error)
            self.metrics.shard("failed")
            self.log.event("shard_failed", shard=name, message=str(error))
        except ray.exceptions.RayError:
            raise
        except Exception as error:  # noqa: BLE001 - see the module's failure rule
            traceback.print_exc()
            self.log.event("actor_failed", shard=name, message=f"{type(error).__name__}: {error}")
            self.reporter.blame(f"{type(error).__name__}: {error}")
            os._exit(1)
        self.reporter.end()
        return _answer(status)

    def _written(self, summary: ShardSummary, tables: dict[str, pa.Table]) -> dict[str, Any]:
        with span("write", shard=summary.shard):
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
            depth=self.job.depth if self.scorer.bundles.presence is not None else "scan",
            on_decoded=lambda seconds: self.metrics.stage("decode", seconds),
        )
        self.scoring.clear()  # of a piece that failed
        for item in pool.run(fetch_all(rows, roots=self.job.roots, health=self.health)):
            if item is None:  # every open track waits for its scores
                self._score_all(queue, built, pool)
                queued = 0
                continue
            track, samples = item
            if samples is not None:
                segments = self._segments(track, samples)
                if len(segments):
                    queue.append((track, segments))
                    queued += len(segments)
                    track.unscored += len(segments)
                self.metrics.waiting(decoding=pool.running, scoring=queued)
                while queued >= self.scorer.batch_segments:
                    queued -= self.scorer.batch_segments
                    self._score(queue, built, pool)
            self._advance(track, built, pool)
        self._score_all(queue, built, pool)
        self.metrics.waiting(decoding=0, scoring=0)

    def _segments(self, track: Track, samples: Pcm | Windows) -> Pcm:
        """What is to be scored of samples that came."""
        if isinstance(samples, Windows):
            return samples.samples
        self.reporter.heard(heard_s(samples))
        segments = cut_segments(samples, continued=track.n_samples > 0)
        track.n_samples += len(samples)
        return segments

    def _score_all(self, queue: deque[tuple[Track, Pcm]], built: PieceRows, pool: DecoderPool) -> None:
        """Score what waits, and take all scores."""
        while queue:
            self._score(queue, built, pool)
        for shares, scores in self.scoring.rest():
            self._take(shares, scores, built, pool)

    def _score(self, queue: deque[tuple[Track, Pcm]], built: PieceRows, pool: DecoderPool) -> None:
        """Begin one batch from the front of the queue, and take those that have ended."""
        shares: list[tuple[Track, int]] = []
        parts: list[Pcm] = []
        room = self.scorer.batch_segments
        while queue and room:
            track, segments = queue.popleft()
            if len(segments) > room:
                queue.appendleft((track, segments[room:]))
                segments = segments[:room]
            shares.append((track, len(segments)))
            parts.append(segments)
            room -= len(segments)
        for ended, scores in self.scoring.add(np.concatenate(parts), shares):
            self._take(ended, scores, built, pool)

    def _take(self, shares: list[tuple[Track, int]], scores: Scores, built: PieceRows, pool: DecoderPool) -> None:
        """Give the scores of a batch to its tracks."""
        at = 0
        for track, count in shares:
            track.heard.add(scores.part(at, at + count))
            at += count
            track.unscored -= count
            self._advance(track, built, pool)

    def _advance(self, track: Track, built: PieceRows, pool: DecoderPool) -> None:
        """Whatever comes next for a track once all that came of it is scored."""
        if track.unscored:
            return
        if pool.is_open(track):
            self._decide(track, pool)
        if track.ended:
            self._finish(track, built)

    def _decide(self, track: Track, pool: DecoderPool) -> None:
        """What is to come of a track that was looked at."""
        n_segments = segment_count(track.n_samples)
        decision = decide(n_segments, track.look, track.heard.presence(track.places), depth=self.job.depth)
        if decision == "enough":
            pool.settle(track)
            self.reporter.heard(track.n_samples / SAMPLE_RATE_HZ)
        elif decision == "more":
            pool.more(track)
        else:
            pool.scan(track)

    def _finish(self, track: Track, built: PieceRows) -> None:
        built.add(track)
        self.reporter.add(quarantined=track.error is not None, size_bytes=track.row["size_bytes"] or 0)
        self._tell(track, heard_s=built.tracks[-1].get("scanned_s") or 0.0)

    def _tell(self, track: Track, *, heard_s: float = 0.0) -> None:
        """Metrics and log of a track that has ended."""
        error = track.error
        size_bytes = track.row["size_bytes"] or 0
        self.metrics.track(code=None if error is None else error.code, heard_s=heard_s, size_bytes=size_bytes)
        if error is not None:
            about = {"track_id": track.row["track_id"], "uri": track.row["uri"], "code": error.code}
            self.log.event("track_quarantined", shard=self.reporter.piece, **about, message=str(error))


def _answer(status: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    return {"status": np.array([json.dumps(status)], dtype=object)}
