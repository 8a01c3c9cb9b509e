"""Bundles: a trained network with everything needed to use it and to judge it.

A bundle is a folder of two files, neither of which can run code:

- `model.safetensors`: the weights;
- `bundle.json`: `format` (1), `name`, `task` (which columns of the tables it fills, a key of `TASKS`),
  `labels`, `architecture` and `frontend` (a name and its parameters), `calibration`, `decision` (the
  thresholds that its task's rules need, by name), `card` (what it was trained on, its figures, its
  limits), `weights_sha256`, and `sha256`, the hash of all the rest of the file as canonical JSON.

Bundles from before there were tasks have neither `task` nor `decision`: they are `speech_music` with
no thresholds.

`load_bundle` refuses a folder whose hashes do not hold, so that figures and weights stay together.
The fingerprint is a hash over the bytes of both files: it changes when anything does, and every
score the product writes carries it. `save_bundle` writes beside the folder and renames.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from catalog_tagger.bundle_files import (
    FORMAT,
    JSON_FILE,
    SHIPPED,
    SPEECH_MUSIC,
    TAGS,
    TASKS,
    VOICE_GENDER,
    WEIGHTS_FILE,
    canonical_json,
    check_task,
    content_hash,
    fingerprint_of,
    read_bundle,
    shipped_bundles,
)
from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.calibration import Calibration

__all__ = [
    "JSON_FILE",
    "SHIPPED",
    "SPEECH_MUSIC",
    "TAGS",
    "TASKS",
    "VOICE_GENDER",
    "WEIGHTS_FILE",
    "Bundle",
    "broken_tensors",
    "canonical_json",
    "load_bundle",
    "require_replaceable",
    "save_bundle",
    "shipped_bundles",
]


@dataclass(frozen=True)
class Bundle:
    """A trained network, ready to use.

    Attributes
    ----------
    task
        What the product uses it for, a key of `TASKS`.
    labels
        What the columns of `probabilities` mean; those of its task are among them.
    fingerprint
        16 hexadecimal digits that change when the weights or the card do.
    frontend_key
        Equal for bundles that take the same features, whose front end can then run once.
    model
        The network in evaluation mode, features to logits. One that has an `embedding_size` also has
        ``embed(features) -> (logits, embedding)``.
    decision
        Thresholds by name, as the rules of its task call them.
    card
        Training data, figures with their intervals, limits.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    fingerprint: str
    architecture_spec: dict[str, Any]
    frontend_spec: dict[str, Any]
    frontend_key: str
    frontend: nn.Module
    model: nn.Module
    calibration: Calibration
    decision: dict[str, float]
    card: dict[str, Any]

    @property
    def identity(self) -> str:
        """``name@fingerprint``, as tables and manifests carry it."""
        return f"{self.name}@{self.fingerprint}"

    @property
    def embedding_size(self) -> int | None:
        """Values of the embedding that `outputs` gives; None where the network has none."""
        size = getattr(self.model, "embedding_size", None)
        return None if size is None else int(size)

    def to(self, device: torch.device | str) -> Bundle:
        """Move the network and its front end; returns the bundle itself."""
        self.frontend.to(device)
        self.model.to(device)
        return self

    @torch.inference_mode()
    def probabilities(self, features: Tensor) -> Tensor:
        """Calibrated probabilities.

        Parameters
        ----------
        features
            What `frontend` answers, (batch, frames, bins).

        Returns
        -------
        float32 [shape=(batch, n_labels)].
        """
        return self.calibration.probabilities(self.model(features))

    @torch.inference_mode()
    def outputs(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Calibrated probabilities, and what the network made of the sound before its last layer.

        Parameters
        ----------
        features
            What `frontend` answers, with the batch first.

        Returns
        -------
        probabilities
            float32 [shape=(batch, n_labels)].
        embedding
            float32 [shape=(batch, embedding_size)]; None where the network has none.
        """
        if self.embedding_size is None:
            return self.probabilities(features), None
        logits, embedding = self.model.embed(features)  # type: ignore[operator]
        return self.calibration.probabilities(logits), embedding.float()


def save_bundle(
    folder: Path,
    *,
    name: str,
    labels: Sequence[str],
    architecture: Mapping[str, Any],
    frontend: Mapping[str, Any],
    model: nn.Module,
    calibration: Calibration,
    card: Mapping[str, Any],
    task: str = SPEECH_MUSIC,
    decision: Mapping[str, float] | None = None,
) -> str:
    """Write a bundle, replacing the one that is there; returns its fingerprint.

    Raises
    ------
    UsageError
        The task is unknown, its labels are not among `labels`, a weight or a threshold is not a finite
        number, or the folder holds something else than a bundle or cannot be written.
    """
    folder = folder.resolve()  # `.` and `..` have no name to write beside
    require_replaceable(folder)
    _check_task(folder, task, labels, embeds=hasattr(model, "embedding_size"))
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    broken = broken_tensors(state)
    if broken:
        raise UsageError(f"{folder}: {broken[0]} and {len(broken) - 1} more tensors hold values that are no numbers")
    weights = save_safetensors(state)
    content = {
        "format": FORMAT,
        "name": name,
        "task": task,
        "labels": list(labels),
        "architecture": dict(architecture),
        "frontend": dict(frontend),
        "calibration": calibration.to_json(),
        "decision": _thresholds(folder, decision or {}),
        "card": dict(card),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    content["sha256"] = content_hash(content)
    text = (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        (unfinished / WEIGHTS_FILE).write_bytes(weights)
        (unfinished / JSON_FILE).write_bytes(text)
        _put_in_place(unfinished, folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UsageError(
            f"{folder}: the bundle cannot be written: {error.strerror}; name another folder, or make room"
        ) from error
    return fingerprint_of(weights, text)


def broken_tensors(state: Mapping[str, Tensor]) -> list[str]:
    """Names of those that hold values which are no numbers."""
    return [key for key, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Rename; what was there is removed last, so that it stays where something fails."""
    replaced = folder.with_name(folder.name + ".replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.replace(replaced)
    try:
        unfinished.replace(folder)
    except OSError:
        if replaced.exists():
            replaced.replace(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def require_replaceable(folder: Path) -> None:
    """Refuse a place where a bundle would replace anything but another bundle.

    Raises
    ------
    UsageError
        It is a file, or a folder that holds something and no bundle.
    """
    if folder.is_dir() and not ((folder / JSON_FILE).is_file() or next(folder.iterdir(), None) is None):
        raise UsageError(f"{folder}: holds something else than a bundle, which would be lost; name another folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; name another one")


def load_bundle(name_or_dir: str | Path) -> Bundle:
    """Load a bundle that ships with the package (by name) or from a folder.

    Raises
    ------
    UsageError
        There is no such bundle, or its files are missing, altered or of an unknown format.
    """
    files = read_bundle(name_or_dir)
    folder, content, labels, task = files.folder, files.content, files.labels, files.task
    decision = _thresholds(folder, content.get("decision", {}))
    try:
        model = build_model(content["architecture"])
        model.load_state_dict(load_safetensors(files.weights))
        calibration = Calibration.from_json(content["calibration"])
        frontend_spec = dict(content["frontend"])
        card = dict(content["card"])
        architecture = dict(content["architecture"])
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"bundle {folder}: its parts do not fit together: {error}") from error
    _check_task(folder, task, labels, embeds=hasattr(model, "embedding_size"))
    if len(labels) != len(calibration.offset):
        raise UsageError(f"bundle {folder}: {len(labels)} labels, calibration of {len(calibration.offset)}")
    return Bundle(
        name=files.name,
        task=task,
        labels=labels,
        fingerprint=files.fingerprint,
        architecture_spec=architecture,
        frontend_spec=frontend_spec,
        frontend_key=canonical_json(frontend_spec),
        frontend=build_frontend(frontend_spec).eval(),
        model=model.eval(),
        calibration=calibration,
        decision=decision,
        card=card,
    )


def _check_task(folder: Path, task: str, labels: Sequence[str], *, embeds: bool) -> None:
    check_task(folder, task, tuple(labels))
    twice = next((label for label in labels if list(labels).count(label) > 1), None)
    if twice is not None or not (labels or embeds):
        problem = "has no labels" if twice is None else f"names the label {twice!r} twice"
        raise UsageError(f"bundle {folder}: {problem}")


def _thresholds(folder: Path, decision: Any) -> dict[str, float]:
    if not isinstance(decision, Mapping):
        raise UsageError(f"bundle {folder}: decision is not a mapping of names to numbers: {decision!r}")
    for name, value in decision.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UsageError(f"bundle {folder}: decision {name} is not a finite number: {value!r}")
    return {str(name): float(value) for name, value in decision.items()}
