"""Scores of batches while others are being filled: some threads that listen, behind one that hands out and takes back.

On a CPU a batch is scored by one thread of torch from its first step to its last, and several batches are scored at a
time: so every core has work of its own, where one batch shared between cores would wait at each of its steps for the
slowest. torch gives up the interpreter while it computes. On a GPU there is one thread, so that batches follow each
other while the next is decoded.

The process keeps the memory that a batch has used for the next one, where malloc can be told so (glibc): as it is, maps
of some megabytes go back to the system each time, and a twentieth of all time goes into having them again.

Failure rule: what a batch raises is raised where its scores are taken.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

import torch

from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.heard import Scores
from catalog_tagger.tagging.tagger import Scorer
from catalog_tagger.tagging.turns import ask_for_long_turns
from catalog_tagger.tracing import span

Owner = TypeVar("Owner")
#: batches that wait for a thread, so that none waits for a batch
_WAITING: Final = 1
#: options of glibc's mallopt, and more than any map has
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_NEVER_BYTES: Final = 1 << 30


def _keep_memory() -> None:
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _NEVER_BYTES)
        set_option(_TRIM_THRESHOLD, _NEVER_BYTES)


class ScoringThreads(Generic[Owner]):
    """Batches in, scores out in the same order, each with whatever it was given with.

    Parameters
    ----------
    scorer
        What scores them.
    threads
        Batches that are scored at a time on a CPU.
    """

    def __init__(self, scorer: Scorer, *, threads: int) -> None:
        on_cpu = scorer.device.type == "cpu"
        if on_cpu:
            torch.set_num_threads(1)
            _keep_memory()
        self._most = (threads if on_cpu else 1) + _WAITING
        self._scorer = scorer
        self._pool = ThreadPoolExecutor(
            self._most - _WAITING, thread_name_prefix="scoring", initializer=ask_for_long_turns if on_cpu else None
        )
        self._begun: deque[tuple[Owner, Future[Scores]]] = deque()

    def add(self, segments: Pcm, owner: Owner) -> Iterator[tuple[Owner, Scores]]:
        """Begin a batch; yields batches that have ended, and waits for one where too many have not."""
        self._begun.append((owner, self._pool.submit(self._score, segments)))
        while self._begun and (len(self._begun) > self._most or self._begun[0][1].done()):
            yield self._first()

    def rest(self) -> Iterator[tuple[Owner, Scores]]:
        """All that have been begun, as they end."""
        while self._begun:
            yield self._first()

    def clear(self) -> None:
        """Forget what has been begun."""
        for _, future in self._begun:
            future.cancel()
        self._begun.clear()

    def _score(self, segments: Pcm) -> Scores:
        with span("score", segments=len(segments)):
            return self._scorer.score(segments)

    def _first(self) -> tuple[Owner, Scores]:
        owner, future = self._begun.popleft()
        return owner, future.result()
