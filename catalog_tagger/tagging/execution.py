"""The part of a run that Ray does: pieces of work onto actors, in rounds.

In the first round every piece is as a rule a whole work shard. Pieces that killed their actors come
back undone; in the next round they are taken apart, until the track that does it stands alone and is
quarantined as ``tagger_crashed``. So a poison track costs a few actors, and a lost node costs nothing.

Failure rule: when a round begins with three shards that kill their actors and nothing done, it is not
the tracks: the run stops with the reason, resumable.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Final

import ray
import ray.exceptions

from catalog_tagger.errors import CatalogTaggerError, RunError, StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, ShardSummary
from catalog_tagger.tables.lease import HeldLease, Size
from catalog_tagger.tagging.cluster import ClusterSize, connected, map_pieces, piece_row, size_now
from catalog_tagger.tagging.config import TagConfig
from catalog_tagger.tagging.pieces import Piece
from catalog_tagger.tagging.progress import MOST_DEATHS, Progress, make_board
from catalog_tagger.tagging.worker import ActorJob, ShardTagger

_LOOK_EVERY_S: Final = 0.5
#: a round that begins with so many whole shards, or parts of shards, that kill their actors, and nothing done,
#: has another cause than their tracks; parts are where poison was found, and may lie side by side
_HOPELESS: Final = 3
_HOPELESS_PARTS: Final = 32

#: without GPUs: while one begins or ends a piece, the other has work for all cores
_ACTORS_OF_A_NODE: Final = 2
#: cores that one interpreter can keep busy
_CPUS_OF_ONE: Final = 8

Done = list[tuple[ShardSummary, list[FileEntry]]]


def execute(
    config: TagConfig,
    plan: str,
    bundle_ids: list[str],
    pieces: list[Piece],
    lease: HeldLease,
    *,
    before: Progress,
    on_progress: Callable[[Progress], None] | None,
) -> Done:
    """Do pieces of a run on a cluster.

    Parameters
    ----------
    plan
        Name of the plan in the warehouse.
    bundle_ids
        Identities of `config.bundles` as the driver has them.
    before
        What was done before: figures of this call are added to it for `on_progress`.

    Returns
    -------
    list of (summary, files)
        Of what the pieces became; together they hold every track of the pieces once.

    Raises
    ------
    CatalogTaggerError
        As `job.run_tag_job`.
    """
    with connected(config.ray_address) as cluster:
        lease.measure(_measured)
        actors, on_gpu = _actors(config, cluster, len(pieces))
        job = ActorJob(
            run_id=config.run_id,
            warehouse=Store(config.warehouse).uri,
            plan=plan,
            bundle_ids=tuple(bundle_ids),
            bundles=config.bundles,
            device=config.device,
            batch_segments=config.batch_segments,
            precision=config.precision,
            scoring_threads=max(1, cluster.size.cpus // max(actors[1], cluster.size.nodes)),
            tracks_in_flight=config.decoders or max(2, cluster.size.cpus // actors[1] + 1),
            max_duration_s=config.max_duration_s,
            decode_timeout_s=config.decode_timeout_s,
            decode_memory_bytes=config.decode_memory_bytes,
            roots=config.roots,
            depth=config.depth,
        )
        board = make_board()
        with _watched(board, before, on_progress):
            done: Done = []
            rows = [piece_row(piece) for piece in pieces]
            while rows:
                most = min(actors[1], len(rows))
                statuses = map_pieces(
                    rows,
                    ShardTagger,
                    arguments=(job, board),
                    gpus=1 if on_gpu else 0,
                    actors=(min(actors[0], most), most),
                )
                ended, killing = _collected(statuses, lease)
                done += ended
                rows = _next_round(rows, killing)
        lease.measure(lambda: None)
    return done


def _actors(config: TagConfig, cluster: ClusterSize, pieces: int) -> tuple[tuple[int, int], bool]:
    """(fewest, most) actors, and whether each has a GPU."""
    # with an autoscaler the GPUs may not be there yet: device "gpu" asks for them all the same
    on_gpu = config.device == "gpu" or (config.device == "auto" and cluster.size.gpus > 0)
    if config.device == "gpu" and not cluster.size.gpus and cluster.is_own:
        raise UsageError("device gpu: this machine has no GPU that Ray can see; use auto or cpu")
    present = cluster.size.gpus if on_gpu else 0
    if not present:
        present = min(cluster.size.cpus, max(_ACTORS_OF_A_NODE * cluster.size.nodes, cluster.size.cpus // _CPUS_OF_ONE))
    most = min(config.max_actors or present, pieces)
    return (min(config.min_actors or present, most), most), on_gpu


def _measured() -> Size | None:
    try:
        return size_now()
    except Exception:  # noqa: BLE001 - whatever ails Ray is told elsewhere; this is bookkeeping
        return None


def _collected(statuses: Any, lease: HeldLease) -> tuple[Done, dict[str, tuple[int, str]]]:
    """What was done, and piece -> (actors it killed, reason) of those that were not."""
    done: Done = []
    killing: dict[str, tuple[int, str]] = {}
    try:
        # closed here, while Ray still runs: a data set that is still working waits for ever for a Ray that has gone
        with closing(statuses):
            for row in statuses:
                lease.check()
                status = json.loads(row["status"])
                if "error" in status:
                    raise StorageError(status["error"])
                if "deaths" in status:
                    killing[status["name"]] = (status["deaths"], status["reason"])
                    whole = sum("." not in name for name in killing)
                    if not done and (whole >= _HOPELESS or len(killing) >= _HOPELESS_PARTS):
                        raise _hopeless(killing)
                else:
                    done.append((ShardSummary(**status["summary"]), [FileEntry(**file) for file in status["files"]]))
    except (CatalogTaggerError, KeyboardInterrupt):
        raise
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, CatalogTaggerError):
            raise RunError(str(cause)) from error
        reason = str(cause).strip().splitlines() or [""]
        raise RunError(
            f"Ray gave up on a shard: {type(cause).__name__}: {reason[0]}; finished shards are kept"
        ) from error
    return done, killing


def _hopeless(killing: dict[str, tuple[int, str]]) -> RunError:
    reason = next((reason for _, reason in killing.values() if reason), "their processes die without a word")
    return RunError(
        f"{len(killing)} work shards, and no other was done, killed {MOST_DEATHS} actors each ({reason}); "
        f"look at the actors' logs and at the memory of the nodes; finished shards are kept"
    )


def _next_round(rows: list[dict[str, Any]], killing: dict[str, tuple[int, str]]) -> list[dict[str, Any]]:
    """Parts of the pieces that killed their actors; single tracks are given up."""
    following = []
    for row in rows:
        if row["name"] not in killing:
            continue
        piece = Piece(**{name: row[name] for name in ("shard", "index", "first", "count", "total")})
        if piece.count == 1:
            deaths, reason = killing[piece.name]
            said = f": {reason}" if reason else ""
            following.append(
                piece_row(piece, give_up=f"the tagging process died {deaths} times on this track alone{said}")
            )
        else:
            following += [piece_row(part) for part in piece.split()]
    return following


@contextmanager
def _watched(board: Any, before: Progress, on_progress: Callable[[Progress], None] | None) -> Iterator[None]:
    """Look at the board from a thread while the block runs."""
    if on_progress is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_look, args=(board, before, on_progress, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _look(board: Any, before: Progress, on_progress: Callable[[Progress], None], stop: threading.Event) -> None:
    started = time.monotonic()
    last = False
    while not last:
        last = stop.wait(_LOOK_EVERY_S)
        try:
            total = ray.get(board.total.remote(), timeout=5)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
            continue  # a board that died is started anew
        except ray.exceptions.RayError:
            return
        on_progress(
            replace(
                before,
                tracks=before.tracks + total.tracks,
                quarantined=before.quarantined + total.quarantined,
                audio_s=total.audio_s,
                size_bytes=before.size_bytes + total.size_bytes,
                elapsed_s=time.monotonic() - started,
            )
        )
