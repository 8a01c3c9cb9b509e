"""Published AudioSet checkpoints, which a user has, made into bundles.

Two kinds are known, by the names and shapes of their tensors:

- `panns_cnn14_16k`: PANNs' ``Cnn14_16k_mAP=0.438.pth``, a dict with the state under `model`. It also
  holds its front end, which must be the one of `panns.FRONTEND` to rounding: a file of another rate
  or another filter bank is refused, since its weights would hear something else;
- `vggish`: torchvggish's ``vggish-10086976.pth``, the state itself; beside it, if given, the principal
  components (``vggish_pca_params-970ea276.pth``, or AudioSet's ``vggish_pca_params.npz``).

Files are read as tensors and numpy arrays and nothing else: `torch.load` with `weights_only`,
safetensors, or npz without pickles. A file that holds anything else is refused before any of it
runs. Nothing is written unless all is there and fits.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from catalog_tagger.errors import UsageError, named
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import panns, vggish
from catalog_tagger.models.bundle import TAGS, broken_tensors, require_replaceable, save_bundle
from catalog_tagger.models.calibration import Calibration

Kind = Literal["panns_cnn14_16k", "vggish"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_SHOWN: Final = 3


def import_bundle(
    checkpoint: Path, out: Path, *, kind: Kind, labels: Path | None = None, pca: Path | None = None
) -> str:
    """Make a bundle of a published checkpoint; returns its fingerprint.

    Parameters
    ----------
    labels
        AudioSet's ``class_labels_indices.csv`` (columns `index` and `display_name`); without it the
        labels are ``audioset_000`` and so on. Only for `panns_cnn14_16k`.
    pca
        Principal components, only for `vggish`.

    Raises
    ------
    UsageError
        A file cannot be read, holds more than tensors, or is not what its kind says, or `out` is taken.
    """
    if kind == "vggish" and labels is not None:
        raise UsageError(f"--labels {labels}: VGGish has no classes, only an embedding; leave the option out")
    if kind != "vggish" and pca is not None:
        raise UsageError(f"--pca {pca}: only VGGish has principal components; leave the option out")
    require_replaceable(out)
    state = read_tensors(checkpoint)
    names: list[str] = []
    architecture: dict[str, Any] = {"name": kind}
    model: nn.Module
    if kind == "vggish":
        frontend = vggish.FRONTEND
        architecture["whiten"] = pca is not None
        with torch.device("meta"):  # no weights but the file's are made
            model = vggish.VGGish(whiten=pca is not None)
        if pca is not None:
            state = {**state, **_components(pca)}
    else:
        frontend = panns.FRONTEND
        state = _without_frontend(checkpoint, state)
        with torch.device("meta"):
            model = panns.Cnn14()
        names = read_labels(labels, panns.CLASSES) if labels else [f"audioset_{i:03d}" for i in range(panns.CLASSES)]
        architecture["n_labels"] = panns.CLASSES
    _fill(model, state, checkpoint, kind)
    return save_bundle(
        out,
        name=kind,
        labels=names,
        architecture=architecture,
        frontend=frontend,
        model=model,
        calibration=Calibration.identity(len(names)),
        card=_card(checkpoint, kind, model, labels=labels, pca=pca),
        task=TAGS,
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, from a PyTorch or safetensors file; numpy arrays become tensors.

    Raises
    ------
    UsageError
        The file cannot be read, or holds anything but tensors, arrays, numbers and text.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
            return dict(load_file(path))
        with torch.serialization.safe_globals(_numpy_parts()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol: what is refused is refused by the error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, AssertionError) as error:
        raise UsageError(f"{path}: is not a checkpoint: {_first_line(error)}") from error
    except Exception as error:  # an unpickler's error has no public base of its own
        if type(error).__name__ != "UnpicklingError":
            raise
        raise UsageError(
            f"{path}: is not a file of tensors alone, and anything else could run code; it was not opened further. "
            "Take the checkpoint from its publisher, or convert it to safetensors"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    return {
        str(name): torch.as_tensor(value) for name, value in content.items() if isinstance(value, (Tensor, np.ndarray))
    }


def read_labels(path: Path, count: int) -> list[str]:
    """Display names in the order of their index.

    Raises
    ------
    UsageError
        The file is no such CSV, or does not name `count` classes from 0 on, each once.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = {int(row["index"]): row["display_name"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: needs the columns index, a number, and display_name in every row") from error
    if sorted(rows) != list(range(count)) or len(set(rows.values())) != count:
        raise UsageError(f"{path}: names {len(set(rows.values()))} classes; the checkpoint has {count}, from 0 on")
    return [rows[index] for index in range(count)]


def _without_frontend(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without torchlibrosa's buffers, after a look at whether they are our front end's."""
    frontend = build_frontend(panns.FRONTEND)
    window, filters = frontend.get_buffer("window"), frontend.get_buffer("filters")
    size = len(window)
    turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)).double() * (2 * torch.pi / size)
    expected = {
        "spectrogram_extractor.stft.conv_real.weight": (turns.cos() * window)[:, None],
        "spectrogram_extractor.stft.conv_imag.weight": (-turns.sin() * window)[:, None],
        "logmel_extractor.melW": filters,
    }
    for name, ours in expected.items():
        theirs = state.get(name)
        if theirs is None:
            continue  # a converted file may have left them out: nothing is lost
        close = 1e-4 * float(ours.max())  # published in float32; another filter bank differs by a thousand times that
        if theirs.shape != ours.shape or not torch.allclose(theirs.double(), ours.double(), atol=close):
            raise UsageError(
                f"{path}: {name} {tuple(theirs.shape)} is not the front end of Cnn14_16k {tuple(ours.shape)}; "
                "the checkpoint is of another rate or another filter bank"
            )
    return {
        name: value
        for name, value in state.items()
        if not name.startswith(("spectrogram_extractor.", "logmel_extractor."))
    }


def _components(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: torch.as_tensor(arrays[name]) for name in arrays.files}
        except (OSError, ValueError, TypeError, BadZipFile) as error:
            raise UsageError(f"{path}: cannot be read as arrays: {error}") from error
    else:
        found = read_tensors(path)
    try:
        return {
            "pca_eigen_vectors": found["pca_eigen_vectors"].float().reshape(vggish.EMBEDDING, vggish.EMBEDDING),
            "pca_means": found["pca_means"].float().reshape(vggish.EMBEDDING, 1),
        }
    except (KeyError, RuntimeError) as error:
        raise UsageError(
            f"{path}: needs pca_eigen_vectors (128, 128) and pca_means (128): {_first_line(error)}"
        ) from error


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, kind: str) -> None:
    own = model.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} is not known" for name in state if name not in own]
    wrong += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    wrong += [f"{name} holds values that are no numbers" for name in broken_tensors(state)]
    if wrong:
        raise UsageError(f"{path}: is not a checkpoint of {kind}: {named(wrong, most=_SHOWN, between='; ')}")
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()}, assign=True)


def _card(checkpoint: Path, kind: Kind, model: nn.Module, *, labels: Path | None, pca: Path | None) -> dict[str, Any]:
    source = {
        "panns_cnn14_16k": "Kong et al., PANNs, 2020, trained on AudioSet at 16 kHz; weights CC-BY-4.0",
        "vggish": "Hershey et al., VGGish, 2017, trained on YouTube-8M; converted by torchvggish; Apache-2.0",
    }[kind]
    return {
        "purpose": "AudioSet classes and an embedding." if kind != "vggish" else "An embedding; no classes.",
        "notes": f"Imported from {checkpoint.name}. {source}, as published: check the terms of your copy.",
        "limits": [
            *([] if kind == "vggish" else ["Scores are the network's own sigmoids: no calibration was fitted."]),
            "Nothing was measured here; the publisher's figures are for segments of ten seconds.",
        ],
        "parameters": sum(one.numel() for one in model.parameters()),
        "imported": {
            "file": checkpoint.name,
            "sha256": _sha256(checkpoint),
            "labels": labels.name if labels else None,
            "pca": pca.name if pca else None,
        },
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _numpy_parts() -> list[Any]:
    """What an array in a file of torch's consists of; the old name is what files of numpy 1 say."""
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in ("f4", "f8")}
    return [(rebuild, "numpy.core.multiarray._reconstruct"), rebuild, np.ndarray, np.dtype, *kinds]


def _first_line(error: BaseException) -> str:
    told = str(error).splitlines()
    if told:
        return told[0].split(". ")[0]
    return "it ends too soon" if isinstance(error, EOFError) else type(error).__name__
