"""Ray as the job uses it: connecting, sizes, and the settings that long shards need."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

# read by Ray when it is imported or started: say nothing to the outside, leave GPUs as they are set
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from catalog_tagger.errors import RunError

_LOCAL_OBJECT_STORE_BYTES: Final = 10**9
_KNOCK_S: Final = 10.0
_NEVER_S: Final = 10**9
#: times that a shard is done again after its actor died
_SHARD_RETRIES: Final = 3


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    """What the cluster offers now."""

    cpus: int
    gpus: int
    nodes: int
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
        resources = ray.cluster_resources()
        alive = [node for node in ray.nodes() if node["Alive"]]
        yield ClusterSize(
            cpus=max(1, int(resources.get("CPU", 1))),
            gpus=int(resources.get("GPU", 0)),
            nodes=max(1, len(alive)),
            is_own=started and not named,
        )
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
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        raise RunError(f"Ray: cannot use {named or 'a local cluster'}: {error}") from error
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray replaces the program's own by one that ends it on the spot


def map_shards(
    shards: list[dict[str, Any]], worker: type, *, arguments: tuple[Any, ...], gpus: int, actors: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Run `worker` over shards on a pool of actors; yields status rows as shards end.

    Parameters
    ----------
    shards
        One row per work shard.
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
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the job reports errors itself
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    with warnings.catch_warnings():
        # the bound has no other spelling yet: by default a shard that kills its actor is tried for ever
        warnings.simplefilter("ignore", RayDeprecationWarning)
        status = rows.map_batches(
            worker,
            fn_constructor_args=arguments,
            batch_size=1,
            batch_format="numpy",
            # one shard at a time: with more, the actor that is ready first takes them all
            compute=ray.data.ActorPoolStrategy(min_size=actors[0], max_size=actors[1], max_tasks_in_flight_per_actor=1),
            # exactly no CPU: decoders are nested tasks, and an actor that holds a CPU can starve them
            num_cpus=0,
            num_gpus=gpus or None,
            max_restarts=-1,
            max_task_retries=_SHARD_RETRIES,
        )
    yield from status.iter_rows()
