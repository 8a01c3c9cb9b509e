"""Tasks of a search: functions of one argument, run here, in processes of this machine, or on a Ray cluster.

A task reads its input from the warehouse and returns little, so where it runs makes no difference but in time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from catalog_tagger.errors import CatalogTaggerError, RunError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Runner(Protocol):
    """Runs tasks, in whatever order they end."""

    workers: int

    def __call__(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        """Results of the tasks as they come."""
        ...


@contextmanager
def runner(*, ray_address: str | None, processes: int | None) -> Iterator[Runner]:
    """A runner on Ray where an address is given or ``RAY_ADDRESS`` is set, else on this machine.

    Raises
    ------
    RunError
        The cluster cannot be reached.
    """
    if ray_address or os.environ.get("RAY_ADDRESS"):
        from catalog_tagger.tagging.cluster import connected

        with connected(ray_address) as cluster:
            yield _OnRay(cluster.size.cpus)
    else:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        yield _Here(processes or usable)


class _Here:
    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        if self.workers == 1 or len(tasks) == 1:
            yield from map(work, tasks)
            return
        if not tasks:
            return
        # spawned: a copy of this process would hold its threads' locks
        pool = ProcessPoolExecutor(min(self.workers, len(tasks)), mp_context=get_context("spawn"))
        try:
            for future in as_completed([pool.submit(work, task) for task in tasks]):
                yield future.result()
        except BrokenProcessPool as error:
            raise RunError("a process of the search died, perhaps for want of memory; use fewer --processes") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _OnRay:
    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(work)
        left = iter(tasks)
        running: list[Any] = [remote.remote(task) for _, task in zip(range(2 * self.workers), left, strict=False)]
        while running:
            (ended, *_), running = ray.wait(running)
            running += [remote.remote(task) for _, task in zip(range(1), left, strict=False)]
            try:
                yield ray.get(ended)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                if isinstance(cause, CatalogTaggerError):
                    raise cause from error
                reason = str(cause).strip().splitlines() or [""]
                raise RunError(f"Ray gave up on a task: {type(cause).__name__}: {reason[0]}") from error
