"""Folders that are there whole or not at all, whoever writes them at the same time.

A folder is written beside its final name, as `<name>.<token>.unfinished` with a token that no other
writer has, and renamed when it is whole. Of several writers the first to finish keeps the name, and
what the others wrote is removed: a name says all that its content depends on. A writer that fails
removes what it wrote. What a killed one left is removed by the next writer beside it, once nothing
in it has changed for `STALE_S`; process numbers would tell sooner, but mean nothing to other
machines and containers that share a folder.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from catalog_tagger.errors import UsageError

STALE_S: Final = 24 * 3600.0
INDEX: Final = "index.json"
_UNFINISHED: Final = ".unfinished"
Number = TypeVar("Number", bound=np.generic)


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder to write to, which is `folder` after the block unless another writer was sooner.

    Raises
    ------
    OSError
        It cannot be made or renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    unfinished = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}{_UNFINISHED}")
    unfinished.mkdir()
    try:
        yield unfinished
        try:
            unfinished.rename(folder)
        except OSError:  # which one, where a folder is there, depends on the system
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Find out before hours of work whether a folder can be made, or filled where it is there; leaves no trace.

    Raises
    ------
    UsageError
        It cannot.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written to: {error.strerror}; give another --out") from error


def read_index(folder: Path) -> Any:
    """What `index.json` of a whole folder holds.

    Raises
    ------
    UsageError
        It is missing or is not JSON.
    """
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / INDEX}: cannot be read: {error}; delete {folder}") from error


def mapped(path: Path, kind: type[Number], count: int) -> npt.NDArray[Number]:
    """The numbers of a file in a whole folder, memory-mapped [shape=(count,)].

    Raises
    ------
    UsageError
        The file is missing or does not hold so many.
    """
    wanted = count * np.dtype(kind).itemsize
    found = path.stat().st_size if path.is_file() else None
    if found != wanted:
        told = "is missing" if found is None else f"holds {found} bytes, not {wanted} as its index says"
        raise UsageError(f"{path}: {told}; delete {path.parent}")
    return np.memmap(path, kind, "r") if count else np.zeros(0, kind)


def _remove_stale(place: Path) -> None:
    for one in place.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(OSError):  # its writer, or another one that tidies up, was sooner
            if one.is_dir() and time.time() - max(part.stat().st_mtime for part in (one, *one.iterdir())) > STALE_S:
                shutil.rmtree(one, ignore_errors=True)
