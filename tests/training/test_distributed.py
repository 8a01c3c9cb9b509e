"""Training by two processes: gradients are shared, one of them writes, and errors come as one line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_collection import write_collection

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.job import Job

pytestmark = pytest.mark.xdist_group("ray")
RATE = 0.05


class Notes:
    """What a training said."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.said: list[str] = []

    def prepare(self, title: str, done: int, total: int) -> None:
        self.said.append(title)

    def train(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def _config(manifest: Path, **optimisation: Any) -> TrainingConfig:
    plain = {"steps": 1, "batch_size": 4, "workers": 0, "warmup_steps": 0, "mask_frames": 0, "mask_bins": 0}
    return TrainingConfig.model_validate(
        {
            "name": "toy",
            "seed": 5,
            "manifest": manifest,
            "architecture": {"name": "residual_cnn", "channels": [4, 8], "hidden": 8, "dropout": 0.0},
            "validation": {"hold_out": ["*/*/2.wav"], "fraction": 0.0, "scenes": 2, "mixtures": 1},
            "optimisation": {
                **plain,
                "method": "sgd",
                "momentum": 0.0,
                "weight_decay": 0.0,
                "learning_rate": RATE,
                "average_decay": 0.0,
                "device": "cpu",
                **optimisation,
            },
        }
    )


def _one_step_by_hand(config: TrainingConfig, folder: Path, start: Path) -> nn.Module:
    """Plain descent along the mean of the gradients of the first two batches."""
    job = Job(
        config=config,
        out=folder / "none",
        cache_dir=folder / "cache",
        progress=lambda title, done, of: None,
        report=lambda line: None,
        say=lambda sentence: None,
    )
    job.task.prepare()
    model = build_model(job.architecture).train()
    model.load_state_dict(load_file(start))
    batches = job.task.batches(seed=config.seed, count=2)
    costs = []
    for index in range(2):
        batch = batches[index]
        costs.append(job.task.loss.cost(model(batch.features), batch.target, batch.weight))
    (sum(costs) / 2).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    torch.optim.SGD(model.parameters(), lr=RATE).step()
    return model


@pytest.mark.usefixtures("local_ray")
def test_two_processes_step_along_the_mean_of_their_gradients(tmp_path: Path) -> None:
    from catalog_tagger.training.distributed import train_distributed

    config = _config(write_collection(tmp_path / "toy", per_kind=3, seconds=5.0))
    notes = Notes()
    train_distributed(config, out=tmp_path / "out", cache_dir=tmp_path / "cache", listener=notes, processes=2)
    expected = dict(_one_step_by_hand(config, tmp_path, tmp_path / "out" / "initial.safetensors").named_parameters())
    trained = load_file(tmp_path / "out" / "last.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value.detach(), rtol=1e-4, atol=1e-6)
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert "2 processes" in bundle.card["training"]["machine"]
    # One of them wrote and spoke.
    logged = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert logged == notes.lines
    assert [line["step"] for line in logged] == [1]
    assert [one for one in notes.said if not one.startswith("warning")][-1] == "calibrating and measuring"
    assert not (tmp_path / "out" / "ray").exists()

    with pytest.raises(UsageError, match="99 processes were asked for: the cluster has 0 GPUs and 2 CPUs"):
        train_distributed(config, out=tmp_path / "b", cache_dir=tmp_path / "cache", listener=Notes(), processes=99)
    cuda = _config(config.manifest, device="cuda")
    with pytest.raises(UsageError, match="the cluster has no GPU; use auto or cpu"):
        train_distributed(cuda, out=tmp_path / "b", cache_dir=tmp_path / "cache", listener=Notes())


def test_the_job_refuses_a_bad_configuration_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).parents[2] / "jobs" / "train.py"
    spec = importlib.util.spec_from_file_location("train_job", path)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    monkeypatch.setattr("catalog_tagger.cli.interruption.signal.signal", lambda *of: None)
    config = tmp_path / "mine.yaml"
    config.write_text("name: mine\nmanifest: nowhere.csv\ntask: tags\noptimisation: {steps: 1}\n")
    arguments = ["train.py", "--config", str(config), "--out", str(tmp_path / "out")]
    for more, words in (
        (["--set", "optimisation.epochs=3"], "unknown key 'optimisation.epochs'; remove it"),
        ([], "nowhere.csv: cannot be read as a manifest"),
    ):
        monkeypatch.setattr("sys.argv", [*arguments, *more])
        assert job.main() == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert words in said.err
        assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_files_are_found_from_the_working_directory_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalog_tagger.training.distributed import _absolute

    monkeypatch.chdir(tmp_path)
    (tmp_path / "earlier").mkdir()
    config = _config(Path("clips.csv")).model_copy(
        update={"task": "voice_gender", "start_from": "earlier", "options": {"heard": "heard.csv", "acted": 3}}
    )
    found = _absolute(config)
    assert found.manifest == tmp_path.resolve() / "clips.csv"
    assert found.start_from == str(tmp_path.resolve() / "earlier")
    assert found.options == {"heard": str(tmp_path.resolve() / "heard.csv"), "acted": 3}
    assert _absolute(_config(Path("clips.csv"))).options == {}


def test_what_a_process_died_of_is_one_line() -> None:
    from ray.train import WorkerGroupError

    from catalog_tagger.training.distributed import reason

    refused = UsageError("clips/3.wav: cannot be decoded")
    assert reason(WorkerGroupError("2 workers failed", {0: RuntimeError("ended by the group"), 1: refused})) is refused
    died = reason(WorkerGroupError("1 worker failed", {1: MemoryError("no room\nTraceback")}))
    assert isinstance(died, RunError)
    assert str(died) == "a training process failed: MemoryError: no room"
