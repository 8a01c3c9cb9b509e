"""What a bundle can be trained for.

A *task* knows its labels, its loss, its data and its figures; the trainer knows none of these. One
class per task, in a module of its own, named in `TASKS`; a configuration chooses it by `task` and
hands it `options`, which are checked by the class's `Options` before anything is read.

The order of a training (`job`): the class is called with a `Setting` (it may read the manifest, no
audio); `labels` and `loss` are asked for; `prepare` decodes; `batches` gives the examples and
`validation` the held-out ones, again and again; then, calibrated, `decision` chooses thresholds on
validation data, `figures` measures and `about` says what the card shall say. With several processes
every one makes the same task, and each takes other items of `batches`.

A task in short::

    class Hum:
        Options = NoOptions
        labels = ("hum",)
        loss = MULTI_LABEL

        def __init__(self, setting: Setting) -> None:
            self.setting = setting

        def prepare(self) -> str:
            self.clips = ...                    # split, decode (`open_cache`), gate
            return f"training on {len(self.clips)} clips"

        def batches(self, *, seed: int, count: int) -> Dataset[Batch]:
            return HumBatches(self.clips, self.setting.frontend, seed=seed, count=count)

        def validation(self) -> Iterable[Batch]:
            yield from self.held_out            # the same every time

        def decision(self, score: Score) -> dict[str, float]:
            return {}

        def figures(self, score: Score) -> dict[str, Any]:
            return {"validation": ...}          # from score(features)

        def about(self) -> dict[str, Any]:
            return {"purpose": "...", "definitions": {}, "training_sources": [], "validation_sources": []}
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.utils.data import Dataset

from catalog_tagger.errors import UsageError
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.config import Strict, TrainingConfig
from catalog_tagger.training.losses import Loss

Progress = Callable[[str, int, int], None]
#: From features, as a front end gives them, to calibrated probabilities (n, n_labels) on the CPU.
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """What a task is made from.

    Attributes
    ----------
    frontend
        In evaluation mode, on the CPU: batches are made where the data are read.
    cache_dir
        Where decoded recordings are kept between trainings (see `cache`).
    progress
        Told what is prepared, how far it is, and how far it will go.
    """

    config: TrainingConfig
    frontend: nn.Module
    cache_dir: Path
    progress: Progress


class NoOptions(Strict):
    """The options of a task that has none."""


class Task(Protocol):
    """See the module's text."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of targets and probabilities mean; known before `prepare`."""

    @property
    def loss(self) -> Loss:
        """`losses.MULTI_LABEL` or `losses.CATEGORICAL`."""

    def prepare(self) -> str:
        """Read, split and decode; answers a sentence that says what there is.

        Raises
        ------
        UsageError
            The data cannot be trained on; the message says why.
        """

    def batches(self, *, seed: int, count: int) -> Dataset[Batch]:
        """`count` batches of `optimisation.batch_size`; item `i` depends on `seed` and `i` alone."""

    def validation(self) -> Iterable[Batch]:
        """The validation examples, the same ones each time; none where nothing is held out."""

    def decision(self, score: Score) -> dict[str, float]:
        """Thresholds the tables need, chosen on validation data; stored in the bundle."""

    def figures(self, score: Score) -> dict[str, Any]:
        """The figures of the card, ready for JSON, per set of clips (`validation`, `test`)."""

    def about(self) -> dict[str, Any]:
        """For the card: `purpose`, `definitions`, `training_sources`, `validation_sources`."""


@runtime_checkable
class TrainsOnStretches(Protocol):
    """A task whose training examples are shorter than a segment; all others train on whole ones."""

    @property
    def example_samples(self) -> int:
        """Samples of a training example, at 16 kHz; known before `prepare`."""


class TaskClass(Protocol):
    """What makes tasks."""

    Options: type[Strict]

    def __call__(self, setting: Setting) -> Task:
        """A task; nothing is decoded yet."""


#: Where each task's class is; imported when it is asked for.
TASKS: Final[dict[str, tuple[str, str]]] = {
    "speech_music": ("catalog_tagger.training.tasks.speech_music", "SpeechMusic"),
    "voice_gender": ("catalog_tagger.training.tasks.voice_gender", "VoiceGender"),
    "tags": ("catalog_tagger.training.tasks.tags", "Tags"),
}


def task_named(name: str) -> TaskClass:
    """The class of a task.

    Raises
    ------
    UsageError
        There is no such task.
    """
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}; known are {', '.join(sorted(TASKS))}")
    module, title = TASKS[name]
    return cast(TaskClass, getattr(importlib.import_module(module), title))
