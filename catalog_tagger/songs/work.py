"""What all stages of a search have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from catalog_tagger.songs.catalogue import Catalogue
from catalog_tagger.songs.config import SongsConfig
from catalog_tagger.songs.tasks import Runner
from catalog_tagger.storage import Store

Stage = Literal["hearing songs whole", "indexing", "searching", "comparing"]
Listener = Callable[[Stage, int, int], None]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Work:
    """One search of a warehouse."""

    store: Store
    config: SongsConfig
    catalogue: Catalogue
    runner: Runner
    listener: Listener

    def results(self, stage: Stage, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        """Results of tasks as they end, of which the listener hears."""
        for done, result in enumerate(self.runner(work, tasks), start=1):
            yield result
            self.listener(stage, done, len(tasks))
