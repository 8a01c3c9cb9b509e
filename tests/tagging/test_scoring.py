"""Threads that score: in the order of the batches, whatever ends first."""

import platform
import subprocess
import sys
import threading
import time
from typing import cast

import numpy as np
import pytest
import torch

from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging import scoring
from catalog_tagger.tagging.heard import Scores
from catalog_tagger.tagging.scoring import ScoringThreads
from catalog_tagger.tagging.tagger import Scorer


@pytest.fixture(autouse=True)
def memory_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What malloc is told holds for the whole process, in which tests of limits on memory come later."""
    monkeypatch.setattr(scoring, "_keep_memory", lambda: None)


_FAULTS = """
import resource, sys
import torch
from catalog_tagger.tagging import scoring
if sys.argv[1] == "kept":
    scoring._keep_memory()
def use():
    for _ in range(20):
        torch.ones(12_000_000).mul(2.0)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's malloc what to keep")
def test_memory_of_a_batch_is_kept_for_the_next() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") * 10 < faults("as it is")


class Slow:
    """Hears the number that a batch holds; the first takes longest."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def score(self, segments: Pcm) -> Scores:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.threads.add(threading.get_ident())
        number = int(segments[0, 0])
        time.sleep(0.1 / (1 + number))
        with self.lock:
            self.at_once -= 1
        if number == 13:
            raise RuntimeError("heard too much")
        return Scores(presence=np.full((1, 2), number, np.float32), voices=None, tags=None, embedding=None)


def batch(number: int) -> Pcm:
    return np.full((1, 4), number, np.int16)


def numbers(taken: list[tuple[int, Scores]]) -> list[tuple[int, int]]:
    return [(owner, int(scores.presence[0, 0])) for owner, scores in taken if scores.presence is not None]


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_come_in_the_order_of_their_batches(threads: int) -> None:
    slow = Slow()
    pool: ScoringThreads[int] = ScoringThreads(cast(Scorer, slow), threads=threads)
    taken = [one for number in range(8) for one in pool.add(batch(number), number)]
    assert len(taken) >= 8 - threads - 1
    taken += pool.rest()
    assert numbers(taken) == [(number, number) for number in range(8)]
    assert slow.most_at_once == len(slow.threads) == threads
    assert list(pool.rest()) == []


def test_what_a_batch_raises_is_raised_where_it_is_taken_and_others_can_be_forgotten() -> None:
    pool: ScoringThreads[int] = ScoringThreads(cast(Scorer, Slow()), threads=2)
    assert list(pool.add(batch(13), 13)) == []
    with pytest.raises(RuntimeError, match="heard too much"):
        list(pool.rest())
    list(pool.add(batch(1), 1))
    pool.clear()
    assert numbers(list(pool.add(batch(5), 5)) + list(pool.rest())) == [(5, 5)]
