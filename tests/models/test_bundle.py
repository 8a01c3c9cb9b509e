"""Bundles survive the disk and refuse what was tampered with."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.models import ARCHITECTURES, build_model
from catalog_tagger.models.bundle import canonical_json, load_bundle, save_bundle, shipped_bundles
from catalog_tagger.models.calibration import Calibration

ARCHITECTURE = {"name": "residual_cnn", "n_labels": 2, "channels": [4, 8], "hidden": 8}


def _save(folder: Path, *, seed: int = 0, **values: Any) -> str:
    torch.manual_seed(seed)
    bundle: dict[str, Any] = {
        "name": "small",
        "labels": ("speech", "music"),
        "architecture": ARCHITECTURE,
        "frontend": {"name": "cqt"},
        "calibration": Calibration(scale=(0.5, 2.0), offset=(0.1, -0.2)),
        "card": {"figures": {}},
        **values,
    }
    bundle.setdefault("model", build_model(bundle["architecture"]))
    return save_bundle(folder, **bundle)


def _rewrite(folder: Path, change: dict[str, Any], *, without: tuple[str, ...] = ()) -> None:
    """Change a bundle's JSON as its author could have, with a hash that holds."""
    path = folder / "bundle.json"
    content = {**json.loads(path.read_text()), **change}
    kept = {key: value for key, value in content.items() if key not in (*without, "sha256")}
    kept["sha256"] = hashlib.sha256(canonical_json(kept).encode()).hexdigest()
    path.write_text(json.dumps(kept))


def test_replaces_a_bundle_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mp3").write_bytes(b"ID3")
    monkeypatch.chdir(tmp_path / "music")
    for place in (tmp_path / "music", Path(), tmp_path / "music" / "song.mp3"):
        with pytest.raises(UsageError, match="name another"):
            _save(place)
    assert (tmp_path / "music" / "song.mp3").read_bytes() == b"ID3"
    (tmp_path / "new").mkdir()
    first, second = _save(tmp_path / "new"), _save(tmp_path / "new", seed=1)
    assert load_bundle(tmp_path / "new").fingerprint == second != first


def test_what_cannot_be_written_is_one_clear_error_and_the_old_bundle_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"file/x: the bundle cannot be written: Not a directory; name another folder"):
        _save(tmp_path / "file" / "x")
    first = _save(tmp_path / "old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "bundle.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"old: the bundle cannot be written: No space left on device; .*make room"):
        _save(tmp_path / "old", seed=1)
    monkeypatch.undo()
    rename = Path.replace

    def stuck(path: Path, target: Path) -> Path:
        if path.name == "old.unfinished":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", stuck)
    with pytest.raises(UsageError, match="old: the bundle cannot be written: Permission denied"):
        _save(tmp_path / "old", seed=1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "old"]
    assert load_bundle(tmp_path / "old").fingerprint == first


def test_round_trip(tmp_path: Path) -> None:
    fingerprint = _save(tmp_path / "small")
    bundle = load_bundle(tmp_path / "small")
    assert bundle.fingerprint == fingerprint
    assert len(fingerprint) == 16
    assert bundle.labels == ("speech", "music")
    assert not bundle.model.training
    torch.manual_seed(0)
    model = build_model(ARCHITECTURE).eval()
    features = torch.rand(3, 216, 144) * 10
    logits = model(features)
    expected = torch.sigmoid(logits * torch.tensor([0.5, 2.0]) + torch.tensor([0.1, -0.2]))
    probabilities = bundle.to("cpu").probabilities(features)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, expected.detach())


def test_fingerprint_changes_with_weights_and_with_card(tmp_path: Path) -> None:
    first = _save(tmp_path / "a")
    assert _save(tmp_path / "a") == first
    assert _save(tmp_path / "a", seed=1) != first
    assert _save(tmp_path / "a", card={"figures": {"clips": 1}}) != first


def test_task_and_thresholds_survive_and_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    plain = _save(tmp_path / "a")
    assert (load_bundle(tmp_path / "a").task, load_bundle(tmp_path / "a").decision) == ("speech_music", {})
    as_tags = _save(tmp_path / "a", task="tags")
    decided = _save(tmp_path / "a", task="tags", decision={"abstain_below": 0.8, "voiced": 1})
    bundle = load_bundle(tmp_path / "a")
    assert (bundle.task, bundle.decision) == ("tags", {"abstain_below": 0.8, "voiced": 1.0})
    assert len({plain, as_tags, decided}) == 3


def test_a_bundle_from_before_there_were_tasks_is_speech_and_music(tmp_path: Path) -> None:
    _save(tmp_path / "a", decision={"x": 1.0})
    _rewrite(tmp_path / "a", {}, without=("task", "decision"))
    bundle = load_bundle(tmp_path / "a")
    assert (bundle.task, bundle.decision) == ("speech_music", {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "moods"}, "unknown task 'moods'; this version knows speech_music, voice_gender, tags"),
        ({"task": "voice_gender"}, "task voice_gender needs the label female and voice; it has speech, music"),
        ({"labels": ("music", "noise")}, "task speech_music needs the label speech; it has music, noise"),
        ({"task": "tags", "labels": ("dog", "dog")}, "names the label 'dog' twice"),
        ({"task": "tags", "labels": ()}, "has no labels"),
        ({"decision": {"abstain_below": float("nan")}}, "decision abstain_below is not a finite number: nan"),
        ({"decision": {"abstain_below": "0.8"}}, "decision abstain_below is not a finite number: '0.8'"),
    ],
)
def test_what_no_task_could_use_is_not_written(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        _save(tmp_path / "a", **values)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "moods"}, "unknown task 'moods'"),
        ({"labels": ["speech", "talk"]}, "needs the label music"),
        ({"labels": ["speech", "music", "noise"]}, "3 labels, calibration of 2"),
        ({"decision": [0.8]}, "decision is not a mapping"),
        ({"decision": {"abstain_below": None}}, "not a finite number: None"),
    ],
)
def test_what_no_task_could_use_is_not_loaded(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    _save(tmp_path / "a")
    _rewrite(tmp_path / "a", change)
    with pytest.raises(UsageError, match=message):
        load_bundle(tmp_path / "a")


class _Sums(torch.nn.Module):
    """A network whose embedding is the sum of each of the first bins over time."""

    embedding_size = 4

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        self.output = torch.nn.Linear(4, n_labels)

    def embed(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = features[:, :, :4].sum(dim=1)
        return self.output(embedding / 1000), embedding

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.embed(features)[0]


def test_outputs_are_the_probabilities_and_the_embedding_of_a_network_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "sums", _Sums)
    _save(tmp_path / "a", architecture={"name": "sums", "n_labels": 2})
    _save(tmp_path / "b")
    features = torch.rand(3, 216, 144) * 10
    bundle = load_bundle(tmp_path / "a")
    probabilities, embedding = bundle.outputs(features)
    assert bundle.embedding_size == 4
    assert embedding is not None
    torch.testing.assert_close(embedding, features[:, :, :4].sum(dim=1))
    torch.testing.assert_close(probabilities, bundle.probabilities(features))
    plain = load_bundle(tmp_path / "b")
    probabilities, embedding = plain.outputs(features)
    assert (plain.embedding_size, embedding) == (None, None)
    torch.testing.assert_close(probabilities, plain.probabilities(features))


def test_same_frontend_has_same_key(tmp_path: Path) -> None:
    _save(tmp_path / "a")
    _save(tmp_path / "b", seed=1)
    assert load_bundle(tmp_path / "a").frontend_key == load_bundle(tmp_path / "b").frontend_key


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "a")
    path = tmp_path / "a" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="not the file the card speaks of"):
        load_bundle(tmp_path / "a")


def test_altered_card_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "a")
    path = tmp_path / "a" / "bundle.json"
    content = json.loads(path.read_text())
    content["card"]["figures"] = {"clips": 1.0}
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="altered"):
        load_bundle(tmp_path / "a")


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    model = build_model(ARCHITECTURE)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UsageError, match="no numbers"):
        _save(tmp_path / "broken", model=model)
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "bundle.json"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(UsageError, match=name):
        load_bundle(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "\xff"])
def test_rubbish_is_refused(tmp_path: Path, text: str) -> None:
    _save(tmp_path / "a")
    (tmp_path / "a" / "bundle.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError):
        load_bundle(tmp_path / "a")


def test_the_folder_of_a_training_leads_to_its_bundle(tmp_path: Path) -> None:
    _save(tmp_path / "mine" / "bundle")
    with pytest.raises(UsageError, match=r"mine: is no bundle: .*; the bundle of the training there is .*mine/bundle$"):
        load_bundle(tmp_path / "mine")


def test_unknown_name_lists_what_ships() -> None:
    with pytest.raises(UsageError, match="speech_music"):
        load_bundle("no-such-bundle")


def test_no_file_of_a_shipped_bundle_can_run_code() -> None:
    for name in shipped_bundles():
        bundle = load_bundle(name)
        assert bundle.name == name
        folder = Path(load_bundle.__code__.co_filename).parents[1] / "bundles" / name
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        own = [path.name for path in files if path.parent == folder]
        assert own == ["bundle.json", "model.safetensors"]
        for page in (path for path in files if path.parent != folder):
            assert page.suffix in {".html", ".json"}
            assert "<script" not in page.read_text(encoding="utf-8").lower()
        assert sum(path.stat().st_size for path in files) < 5_000_000


def test_shipped_speech_music_answers_probabilities() -> None:
    bundle = load_bundle("speech_music")
    assert bundle.labels == ("speech", "music")
    with torch.inference_mode():
        features = bundle.frontend(torch.zeros(2, 80_000))
    probabilities = bundle.probabilities(features)
    assert probabilities.shape == (2, 2)
    assert bool((probabilities < 0.5).all()), "silence is neither speech nor music"


def test_a_folder_in_the_working_directory_does_not_stand_in_for_a_shipped_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = shipped_bundles()[0]
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_bundle(name).name == name
    with pytest.raises(UsageError, match="No such file"):
        load_bundle(f"./{name}/")
