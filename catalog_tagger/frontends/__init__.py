"""Waveform to time-frequency tensor: pure torch modules on (batch, samples), with no Ray, S3 or Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.chroma import Chroma, ChromaMFCC
from catalog_tagger.frontends.cqt import CQT
from catalog_tagger.frontends.mel import LogMel
from catalog_tagger.frontends.mfcc import MFCC
from catalog_tagger.frontends.stft import STFT

__all__ = ["CQT", "MFCC", "STFT", "Chroma", "ChromaMFCC", "LogMel", "build_frontend"]

_FRONTENDS: dict[str, type[nn.Module]] = {
    "cqt": CQT,
    "stft": STFT,
    "mel": LogMel,
    "mfcc": MFCC,
    "chroma": Chroma,
    "chroma_mfcc": ChromaMFCC,
}


def build_frontend(spec: Mapping[str, Any]) -> nn.Module:
    """Build a front end from its description, as a bundle stores it.

    Parameters
    ----------
    spec
        ``{"name": "cqt", ...}``; the other entries are the keyword arguments of the class.

    Raises
    ------
    UsageError
        Unknown name or parameter.
    """
    parameters = dict(spec)
    name = parameters.pop("name", None)
    if not isinstance(name, str) or name not in _FRONTENDS:
        raise UsageError(f"unknown front end {name!r}; known: {', '.join(sorted(_FRONTENDS))}")
    try:
        return _FRONTENDS[name](**parameters)
    except TypeError as error:
        raise UsageError(f"front end {name!r} does not take these parameters: {error}") from error
