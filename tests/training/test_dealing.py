"""Batches are dealt in blocks: each once, in order, and every block by one worker."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from catalog_tagger.training.batch import Batch
from catalog_tagger.training.dealing import BLOCK, blocks_of, deal


class Marked(Dataset[Batch]):
    """Batches that tell their number and the process that made them."""

    def __getitem__(self, index: int) -> Batch:
        return Batch(torch.tensor(index), torch.tensor(os.getpid()), torch.zeros(1))


@given(st.integers(1, 60), st.integers(1, 5))
def test_processes_take_every_item_once_and_blocks_whole(steps: int, processes: int) -> None:
    dealt = [blocks_of(process, processes, steps=steps) for process in range(processes)]
    assert all(sum(map(len, blocks)) == steps for blocks in dealt)
    assert sorted(item for blocks in dealt for block in blocks for item in block) == list(range(steps * processes))
    assert all(block.start % BLOCK == 0 for blocks in dealt for block in blocks if len(block) == BLOCK)
    assert [item for block in blocks_of(0, 1, steps=steps) for item in block] == list(range(steps))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_make_whole_blocks_and_their_number_changes_nothing_else(workers: int) -> None:
    torch.manual_seed(1)
    blocks = blocks_of(0, 1, steps=4 * BLOCK + 3)
    batches = list(deal(Marked(), blocks, workers=workers, begin=lambda number: None))
    drawn = float(torch.rand(1))
    assert [int(one.features) for one in batches] == list(range(4 * BLOCK + 3))
    makers = [int(one.target) for one in batches]
    assert all(len(set(makers[start : start + BLOCK])) == 1 for start in range(0, len(makers), BLOCK))
    assert len(set(makers)) == max(1, workers)
    assert (os.getpid() in makers) == (workers == 0)
    torch.manual_seed(1)
    list(deal(Marked(), blocks[:1], workers=0, begin=lambda number: None))
    assert drawn == float(torch.rand(1))
