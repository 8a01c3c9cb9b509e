"""Each front end over the samples of a set, once for all settings that use it.

`<folder>/<key>/rows.npy` holds float16 [shape=(samples, ...)], one row per sample in order; the key is
a hash of the front end and the samples. Its folder is there whole or not at all (see `folders`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from catalog_tagger.audio import pcm_to_float
from catalog_tagger.frontends import build_frontend
from catalog_tagger.training.batch import Batch
from catalog_tagger.training.cache import PcmCache
from catalog_tagger.training.experiments.samples import Sample
from catalog_tagger.training.folders import written_whole

_CHUNK: Final = 16
_ROWS: Final = "rows.npy"

Features = npt.NDArray[np.float16]


def open_features(
    spec: Mapping[str, Any], samples: Sequence[Sample], cache: PcmCache, *, fingerprint: str, folder: Path
) -> Features:
    """The features of `samples`, computed where the file does not exist.

    Parameters
    ----------
    spec
        A front end as `build_frontend` takes it; `"context"` beside its parameters is how many
        frames at either end are cut off.
    fingerprint
        What tells one cache of recordings from another.
    """
    told = json.dumps([spec, fingerprint, [astuple(sample) for sample in samples]], sort_keys=True)
    place = folder / hashlib.sha256(told.encode()).hexdigest()[:16]
    if not place.exists():
        with written_whole(place) as unfinished:
            _compute(spec, samples, cache, unfinished / _ROWS)
    rows: Features = np.load(place / _ROWS, mmap_mode="r")
    return rows


@torch.inference_mode()
def _compute(spec: Mapping[str, Any], samples: Sequence[Sample], cache: PcmCache, path: Path) -> None:
    context = spec.get("context", 0)
    frontend = build_frontend({key: value for key, value in spec.items() if key != "context"}).eval()
    rows: np.memmap[Any, np.dtype[np.float16]] | None = None
    for first in range(0, len(samples), _CHUNK):
        pcm = [
            cache.samples(sample.clip)[sample.start : sample.start + sample.length]
            for sample in samples[first : first + _CHUNK]
        ]
        values = frontend(torch.from_numpy(pcm_to_float(np.stack(pcm)))).numpy()
        values = values[..., context : values.shape[-2] - context, :]
        if rows is None:
            shape = (len(samples), *values.shape[1:])
            rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        rows[first : first + len(values)] = values
    if rows is not None:
        rows.flush()


class Standard:
    """Mean and spread of every bin of every map, over the frames of training samples."""

    def __init__(self, rows: Features, *, most: int = 400) -> None:
        some = rows[:: max(1, len(rows) // most)]
        total, squares = (np.zeros((*rows.shape[1:-2], 1, rows.shape[-1])) for _ in range(2))
        for row in some:  # one at a time: the widest are megabytes each
            values = np.asarray(row, np.float64)
            total += values.mean(axis=-2, keepdims=True)
            squares += np.square(values).mean(axis=-2, keepdims=True)
        mean = total / len(some)
        self._mean = mean.astype(np.float32)
        spread = np.sqrt(np.maximum(squares / len(some) - mean * mean, 0.0))
        self._spread = np.maximum(spread, 1e-3).astype(np.float32)

    def __call__(self, rows: Features) -> npt.NDArray[np.float32]:
        """Rows with mean 0 and spread 1 per bin, float32."""
        values: npt.NDArray[np.float32] = (np.asarray(rows, np.float32) - self._mean) / self._spread
        return values


class EpochBatches(Dataset[Batch]):
    """Mini-batches of epochs one after the other, each in an order of its own; two classes, one-hot."""

    def __init__(
        self,
        rows: Features,
        labels: npt.NDArray[np.int64],
        standard: Standard,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
    ) -> None:
        self.rows, self.labels, self.standard, self.seed = rows, labels, standard, seed
        self.batch_size = min(batch_size, len(rows))
        self.per_epoch = len(rows) // self.batch_size
        self.batches = epochs * self.per_epoch

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        epoch, number = divmod(index, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        chosen = np.sort(order[number * self.batch_size : (number + 1) * self.batch_size])
        target = one_hot(self.labels[chosen])
        return Batch(torch.from_numpy(self.standard(self.rows[chosen])), target, torch.ones_like(target))


def one_hot(labels: npt.NDArray[np.int64]) -> Tensor:
    """Targets of two classes, float32 [shape=(n, 2)]."""
    return torch.nn.functional.one_hot(torch.from_numpy(labels), 2).float()
