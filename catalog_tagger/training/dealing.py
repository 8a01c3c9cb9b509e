"""Which process and which worker makes which batch of a training.

Item `i` of a dataset is the same batch whoever makes it. Datasets may share what is costly among the
batches of a block, `BLOCK` in a row from a multiple of it on (`scenes.SceneSeries` makes one pool of
layers for them), so a block is made by one worker of one process; dealt one by one, each worker would
make every pool. Batches arrive in the order of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch.utils.data import DataLoader, Dataset

from catalog_tagger.training.batch import Batch

BLOCK: Final = 8
#: Batches that a lone worker makes ahead; several make a block each while that of another is used.
_AHEAD: Final = 6


def blocks_of(process: int, processes: int, *, steps: int) -> list[range]:
    """The items of one of `processes`, one per step, in blocks of which the last may be shorter.

    Together the processes take each of `steps * processes` items once; one alone takes them in order.
    """
    whole, rest = divmod(steps, BLOCK)
    starts = [(number * processes + process) * BLOCK for number in range(whole)]
    last = whole * processes * BLOCK + process * rest
    return [*(range(start, start + BLOCK) for start in starts), *([range(last, last + rest)] if rest else [])]


def deal(
    data: Dataset[Batch], blocks: Sequence[range], *, workers: int, begin: Callable[[int], None]
) -> Iterator[Batch]:
    """The batches of `blocks`, in order, each block made by one of the workers (here where there are none).

    Parameters
    ----------
    begin
        Called with a number in every worker before it makes anything.
    """
    hands = max(1, min(workers, len(blocks)))
    loaders = [
        iter(
            DataLoader(
                data,
                batch_size=None,
                sampler=[item for block in blocks[hand::hands] for item in block],
                num_workers=min(workers, 1),
                prefetch_factor=(_AHEAD if hands == 1 else BLOCK) if workers else None,
                worker_init_fn=begin,
                # A loader draws a seed: from torch's own generator once, however many workers there are,
                # so that what a network drops does not depend on their number.
                generator=torch.Generator() if hand else None,
            )
        )
        for hand in range(hands)
    ]
    for number, block in enumerate(blocks):
        for _ in block:
            yield next(loaders[number % hands])
