"""A training by several processes, on one machine or many, placed by Ray Train.

Every process runs the same `Job` on other batches, and gradients are averaged over all of them
(`DistributedDataParallel`), so that `n` processes make a step on `n * batch_size` examples. The
first one validates, measures and writes what a training by one process writes, in the same folder.

The manifest, its audio and the output folder are read and written where the processes run: on
several machines they lie in a folder that all of them see. Decoded audio is kept once per machine.
Nothing is resumed: when a process dies the others are ended, and the training with them.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from torch import nn

from catalog_tagger.errors import CatalogTaggerError, RunError, UsageError
from catalog_tagger.tagging.cluster import connected
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.job import Job
from catalog_tagger.training.tasks import task_named

_LOOK_S: Final = 0.5
#: The others wait for the first while it decodes, validates and measures.
_PATIENCE_S: Final = 24 * 3600
_RAY_FOLDER: Final = "ray"


class Listener(Protocol):
    """Who is told how far a training is; see `Job`."""

    def prepare(self, title: str, done: int, total: int) -> None:
        """So much of a preparation is done."""

    def train(self, line: dict[str, Any]) -> None:
        """A line of `metrics.jsonl`."""

    def say(self, sentence: str) -> None:
        """What comes next."""


class RayRanks:
    """This process among those that Ray Train started; see `ranks`."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.index: int = context.get_world_rank()
        self.count: int = context.get_world_size()
        self.first_on_machine: bool = context.get_local_rank() == 0
        self.device: torch.device = ray.train.torch.get_device()

    def share(self, model: nn.Module) -> nn.Module:
        """The network on the device, wrapped where there are several processes."""
        shared: nn.Module = ray.train.torch.prepare_model(model)
        return shared

    def agree(self, value: float) -> float:
        """What rank 0 said."""
        said = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(said, src=0)
        return float(said)

    def wait(self) -> None:
        """Until all are here."""
        torch.distributed.barrier()


class _Messages:
    """What the first process has to say, until the driver takes it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []

    def put(self, kind: str, *values: Any) -> None:
        self._waiting.append((kind, values))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        taken, self._waiting = self._waiting, []
        return taken


def train_distributed(
    config: TrainingConfig,
    *,
    out: Path,
    cache_dir: Path,
    listener: Listener,
    processes: int = 0,
    address: str | None = None,
) -> None:
    """Train on a Ray cluster; the result is in `out`, as `Job` leaves it.

    Parameters
    ----------
    processes
        How many train together; 0 takes one per GPU, or one where there are none.
    address
        Of the cluster; that of ``RAY_ADDRESS`` or one of this machine where it is not given.

    Raises
    ------
    UsageError
        The configuration or its data are not usable, or ask for more than the cluster has.
    RunError
        The cluster cannot be reached, or a process died.
    """
    out, cache_dir = out.resolve(), cache_dir.resolve()
    config = _absolute(config)
    _job(config, out, cache_dir, listener)  # what cannot be trained is refused before anything starts
    with connected(address) as cluster:
        gpus = 0 if config.optimisation.device == "cpu" else cluster.size.gpus
        if config.optimisation.device == "cuda" and not gpus:
            raise UsageError("'optimisation.device' is 'cuda': the cluster has no GPU; use auto or cpu")
        count, offered = processes or max(1, gpus), gpus or cluster.size.cpus // config.optimisation.threads
        if count > offered:
            raise UsageError(
                f"{count} processes were asked for: the cluster has {gpus} GPUs and {cluster.size.cpus} CPUs, enough "
                f"for {offered} with {config.optimisation.threads} thread(s) each; ask for fewer"
            )
        box = ray.remote(num_cpus=0)(_Messages).remote()
        trainer = ray.train.torch.TorchTrainer(
            _train,
            train_loop_config={"config": config, "out": out, "cache_dir": cache_dir, "box": box},
            scaling_config=ray.train.ScalingConfig(
                num_workers=count,
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": config.optimisation.threads, **({"GPU": 1} if gpus else {})},
            ),
            run_config=ray.train.RunConfig(name=_RAY_FOLDER, storage_path=str(out)),
            torch_config=ray.train.torch.TorchConfig(timeout_s=_PATIENCE_S),
        )
        with _told(box, listener):
            try:
                trainer.fit()
            except ray.train.TrainingFailedError as error:
                raise reason(error) from error
            finally:
                shutil.rmtree(out / _RAY_FOLDER, ignore_errors=True)


def _absolute(config: TrainingConfig) -> TrainingConfig:
    """With paths that hold in other working directories."""
    changed: dict[str, Any] = {"manifest": config.manifest.resolve()}
    if config.start_from is not None and Path(config.start_from).is_dir():
        changed["start_from"] = str(Path(config.start_from).resolve())
    options = task_named(config.task).Options.model_validate(config.options)
    files = {key: str(value.resolve()) for key, value in options if isinstance(value, Path)}
    changed["options"] = {**config.options, **files}
    return config.model_copy(update=changed)


def _job(config: TrainingConfig, out: Path, cache_dir: Path, listener: Listener) -> Job:
    return Job(
        config=config,
        out=out,
        cache_dir=cache_dir,
        progress=listener.prepare,
        report=listener.train,
        say=listener.say,
    )


class _Voice:
    """The listener of a training process: the first one tells the driver, the others are silent."""

    def __init__(self, box: Any, *, silent: bool) -> None:
        self._box, self._silent = box, silent

    def prepare(self, title: str, done: int, total: int) -> None:
        self._put("prepare", title, done, total)

    def train(self, line: dict[str, Any]) -> None:
        self._put("train", line)

    def say(self, sentence: str) -> None:
        self._put("say", sentence)

    def _put(self, kind: str, *values: Any) -> None:
        if not self._silent:
            self._box.put.remote(kind, *values)


def _train(settings: dict[str, Any]) -> None:
    """What every process does."""
    ranks = RayRanks()
    voice = _Voice(settings["box"], silent=ranks.index != 0)
    job = _job(settings["config"], settings["out"], settings["cache_dir"], voice)
    job.ranks = ranks
    job.run()


@contextlib.contextmanager
def _told(box: Any, listener: Listener) -> Iterator[None]:
    """Hand on what the first process says, while the block runs and once more after it."""
    ended = threading.Event()

    def hand_on() -> None:
        while True:
            last = ended.wait(_LOOK_S)
            with contextlib.suppress(ray.exceptions.RayError):
                for kind, values in ray.get(box.take.remote()):
                    getattr(listener, kind)(*values)
            if last:
                return

    thread = threading.Thread(target=hand_on, name="messages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def reason(error: ray.train.TrainingFailedError) -> CatalogTaggerError:
    """One line out of what several processes died of."""
    failures = list(getattr(error, "worker_failures", {}).values())
    for one in failures:
        if isinstance(one, CatalogTaggerError):
            return one
    first = failures[0] if failures else error
    return RunError(f"a training process failed: {type(first).__name__}: {(str(first).splitlines() or [''])[0]}")
