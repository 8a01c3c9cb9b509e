"""One setting: trained, tested, and kept so that it need not be run again.

`<out>/settings/<name>-<seed>.json` is written whole once a training has ended, with a hash of all
that decided it (the setting, the seed, the samples, the recordings); a file whose hash is another
is run anew. It holds what was said of each test sample, from which every figure follows:
`probability` of class 0 per test sample, `seconds`, `steps`, `error` on validation, `parameters`.

`<out>/trainings/<name>-<seed>/` is the trainer's folder: initial, best and last weights and the
lines of the monitor. An interrupted training leaves no JSON and starts anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC
from torch import nn

from catalog_tagger.models.paper_cnn import PaperCNN
from catalog_tagger.models.voice_patches import VoicePatches
from catalog_tagger.training.cache import PcmCache
from catalog_tagger.training.config import OptimisationConfig
from catalog_tagger.training.experiments.features import EpochBatches, Features, Standard, one_hot, open_features
from catalog_tagger.training.experiments.network import LayeredCNN
from catalog_tagger.training.experiments.samples import Sample, Sets
from catalog_tagger.training.experiments.settings import Setting
from catalog_tagger.training.loop import Trainer
from catalog_tagger.training.losses import CATEGORICAL
from catalog_tagger.training.regularizers import Regularizer

_CHUNK: Final = 64
_PATIENCE_EPOCHS: Final = 6
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Outcome:
    """What one training came to, as its file holds it."""

    probability: tuple[float, ...]
    seconds: float
    epochs: float
    error: float
    parameters: int


@dataclass
class Runner:
    """Runs settings on sets of samples.

    Attributes
    ----------
    sets
        By the names settings use.
    cache, fingerprint
        The recordings, and what tells them from others.
    out
        Folder of the results.
    threads
        For the products of matrices.
    """

    sets: dict[str, Sets]
    cache: PcmCache
    fingerprint: str
    out: Path
    threads: int = 1
    bfloat16: bool = True

    def run(self, setting: Setting, seed: int, *, say: Callable[[str], None]) -> Outcome:
        """The outcome of a setting, from its file if that is of the same setting."""
        kept = self.kept(setting, seed)
        if kept is not None:
            return kept
        say(f"{setting.name}, seed {seed}: at most {setting.budget_minutes:g} min")
        started = time.monotonic()
        classical = setting.network["name"] in ("svm", "forest")
        found = self._fit_classifier(setting, seed) if classical else self._train(setting, seed)
        outcome = Outcome(**found, seconds=round(time.monotonic() - started, 1))
        path = self._path(setting, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"key": self._key(setting, seed), **asdict(outcome)}), encoding="utf-8")
        unfinished.replace(path)
        return outcome

    def kept(self, setting: Setting, seed: int) -> Outcome | None:
        """The outcome that the file of a setting holds; None if there is none, or of another setting."""
        path = self._path(setting, seed)
        if not path.exists():
            return None
        held = json.loads(path.read_text(encoding="utf-8"))
        if held.pop("key") != self._key(setting, seed):
            return None
        return Outcome(**{**held, "probability": tuple(held["probability"])})

    def folder(self, setting: Setting, seed: int) -> Path:
        """Where the states of a training lie."""
        return self.out / "trainings" / f"{setting.name}-{seed}"

    def features(self, setting: Setting) -> tuple[Features, Features, Features]:
        """Training, validation and test features of a setting."""
        sets = self.sets[setting.data]
        train, validation, test = (
            open_features(
                setting.frontend, samples, self.cache, fingerprint=self.fingerprint, folder=self.out / "features"
            )
            for samples in (sets.train, sets.validation, sets.test)
        )
        return train, validation, test

    def _path(self, setting: Setting, seed: int) -> Path:
        return self.out / "settings" / f"{setting.name}-{seed}.json"

    def _key(self, setting: Setting, seed: int) -> str:
        sets = self.sets[setting.data]
        samples = [[astuple(one) for one in part] for part in (sets.train, sets.validation, sets.test)]
        told = json.dumps([setting.to_json(), seed, self.fingerprint, samples], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _train(self, setting: Setting, seed: int) -> dict[str, Any]:
        sets, (train, validation, test) = self.sets[setting.data], self.features(setting)
        standard = Standard(train)
        data = EpochBatches(
            train, labels(sets.train), standard, batch_size=setting.batch_size, epochs=setting.epochs, seed=seed
        )
        torch.manual_seed(seed)
        model = make_network(setting, train.shape[1:])
        parameters = sum(one.numel() for one in model.parameters())
        config = OptimisationConfig(
            steps=len(data),
            max_minutes=setting.budget_minutes,
            batch_size=max(2, setting.batch_size),
            method="sgd",
            learning_rate=setting.learning_rate,
            weight_decay=0.0,
            warmup_steps=data.per_epoch,
            average_decay=0.0,
            validate_every_steps=data.per_epoch,
            patience=_PATIENCE_EPOCHS,
            mask_frames=0,
            mask_bins=0,
            penalty=setting.penalty,
            penalty_strength=_strength(model, setting),
            device="cpu",
            bfloat16=self.bfloat16,
            threads=self.threads,
            workers=0,
        )
        monitor: list[dict[str, Any]] = []
        trainer = Trainer(
            model=model,
            data=data,
            config=config,
            loss=CATEGORICAL,
            seed=seed,
            folder=self.folder(setting, seed),
            validate=lambda one: _validate(one, validation, sets.validation, standard),
            report=monitor.append,
        )
        best = trainer.run().eval()
        return {
            "probability": tuple(np.round(_probability(best, test, standard), 5).tolist()),
            "epochs": round(max(line["step"] for line in monitor) / data.per_epoch, 1),
            "error": _validate(best, validation, sets.validation, standard)[1],
            "parameters": parameters,
        }

    def _fit_classifier(self, setting: Setting, seed: int) -> dict[str, Any]:
        sets, parts = self.sets[setting.data], self.features(setting)
        standard = Standard(parts[0])
        train, validation, test = (standard(np.asarray(rows)).reshape(len(rows), -1) for rows in parts)
        if setting.network["name"] == "svm":
            classifier: Any = SVC(random_state=seed)
        else:
            classifier = RandomForestClassifier(n_estimators=10, random_state=seed)
        classifier.fit(train, labels(sets.train))
        said = classifier.predict(test)
        wrong = classifier.predict(validation) != labels(sets.validation)
        return {
            "probability": tuple((said == 0).astype(float).tolist()),
            "epochs": 1.0,
            "error": float(wrong.mean()),
            "parameters": 0,
        }


def labels(samples: tuple[Sample, ...]) -> npt.NDArray[np.int64]:
    """Class of each sample."""
    return np.array([sample.label for sample in samples], np.int64)


def make_network(setting: Setting, shape: tuple[int, ...]) -> nn.Module:
    """An untrained network of a setting for features of one sample of `shape`."""
    parameters = {key: value for key, value in setting.network.items() if key != "name"}
    name = setting.network["name"]
    if name == "layered":
        return LayeredCNN(shape=shape if len(shape) == 3 else (1, *shape), **parameters)
    return PaperCNN(**parameters) if name == "paper_cnn" else VoicePatches(**parameters)


def _strength(model: nn.Module, setting: Setting) -> float:
    if setting.penalty is None:
        return 0.0
    with torch.no_grad():
        size = float(Regularizer(model, penalty=setting.penalty, strength=1.0)())
    return setting.penalty_nats / size


@torch.inference_mode()
def _logits(model: nn.Module, rows: Features, standard: Standard) -> torch.Tensor:
    model.eval()
    parts = [
        model(torch.from_numpy(standard(rows[first : first + _CHUNK]))).float() for first in range(0, len(rows), _CHUNK)
    ]
    return torch.cat(parts)


def _probability(model: nn.Module, rows: Features, standard: Standard) -> FloatArray:
    probability: FloatArray = torch.softmax(_logits(model, rows, standard).double(), dim=1)[:, 0].numpy()
    return probability


def _validate(model: nn.Module, rows: Features, samples: tuple[Sample, ...], standard: Standard) -> tuple[float, float]:
    """Mean negative log-likelihood and zero-one loss."""
    target = one_hot(labels(samples))
    logits, weight = _logits(model, rows, standard), torch.ones_like(target)
    return float(CATEGORICAL.cost(logits, target, weight)), CATEGORICAL.error(logits, target, weight)
