"""Ray as the job uses it: connecting, sizes, and the settings that long shards need."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

# read by Ray when it is imported or started: say nothing to the outside, leave GPUs as they are set
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.data

from catalog_tagger.errors import RunError
from catalog_tagger.tables.lease import Size
from catalog_tagger.tagging.pieces import Piece

_LOCAL_OBJECT_STORE_BYTES: Final = 10**9
#: decoders are wanted again within moments; starting one takes half a second of a core
_KEEP_WORKERS_MS: Final = 60_000
_KNOCK_S: Final = 10.0
_NEVER_S: Final = 10**9
#: actors in a row that may die while they start, such as on nodes that are taken away at once
_INIT_DEATHS: Final = 8


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    """What the cluster offers now."""

    size: Size
    is_own: bool
    """Started here for this job, so that nothing will join it."""


@contextmanager
def connected(address: str | None) -> Iterator[ClusterSize]:
    """Use the given cluster, the one of ``RAY_ADDRESS``, or a local one that ends with the block.

    Raises
    ------
    RunError
        The cluster cannot be reached.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    started = not ray.is_initialized()
    if started:
        _start(named)
    try:
        yield ClusterSize(size=size_now(), is_own=started and not named)
    finally:
        if started:
            ray.shutdown()


def _require_reachable(address: str) -> None:
    """Knock at ``host:port``: Ray itself would try for minutes, and say little."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and other names that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"Ray: no cluster at {address} ({reason}); check --ray-address and RAY_ADDRESS") from error


def _start(named: str | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if named:
        _require_reachable(named)
        options["address"] = named
    else:  # "local", since without an address Ray joins whatever cluster it finds on this machine
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": _LOCAL_OBJECT_STORE_BYTES,
            "_system_config": {"idle_worker_killing_time_threshold_ms": _KEEP_WORKERS_MS},
        }
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        raise RunError(f"Ray: cannot use {named or 'a local cluster'}: {error}") from error
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray replaces the program's own by one that ends it on the spot


def size_now() -> Size:
    """What the cluster has now."""
    resources = ray.cluster_resources()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return Size(nodes=max(1, nodes), cpus=max(1, int(resources.get("CPU", 1))), gpus=int(resources.get("GPU", 0)))


def piece_row(piece: Piece, *, give_up: str | None = None) -> dict[str, Any]:
    """A piece as an actor gets it; with `give_up` its tracks are quarantined for that reason, unheard."""
    return {"name": piece.name, **asdict(piece), "give_up": give_up is not None, "reason": give_up or ""}


def map_pieces(
    pieces: list[dict[str, Any]], worker: type, *, arguments: tuple[Any, ...], gpus: int, actors: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Run `worker` over pieces on a pool of actors; yields status rows as pieces end.

    An actor that dies is started anew and given its piece again, without end: whether a piece is to blame
    is for the worker to find out, since Ray cannot tell it from the loss of a node.

    Parameters
    ----------
    pieces
        One row per piece.
    worker
        Class whose instances map a batch of one row to a batch of status rows.
    gpus
        0, or 1: every actor owns one GPU.
    actors
        Fewest and most actors.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = _NEVER_S  # one shard of long tracks may take hours
    context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the job reports errors itself
    rows = ray.data.from_items(pieces, override_num_blocks=len(pieces))
    status = rows.map_batches(
        worker,
        fn_constructor_args=arguments,
        batch_size=1,
        batch_format="numpy",
        # one piece at a time: with more, the actor that is ready first takes them all
        compute=ray.data.ActorPoolStrategy(min_size=actors[0], max_size=actors[1], max_tasks_in_flight_per_actor=1),
        # exactly no CPU: decoders are nested tasks, and an actor that holds a CPU can starve them
        num_cpus=0,
        num_gpus=gpus or None,
    )
    yield from status.iter_rows()
