"""Kills its own process at a write of the product; found by every process through PYTHONPATH.

``SOAK_KILL`` names a folder of files with one line each, ``before|after <regular expression>``. The first
process that is about to store a name that matches, or has just stored it, removes the file and dies of
SIGKILL.
"""

import importlib.abc
import importlib.machinery
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def _die_if_due(name: str, when: str) -> None:
    for token in sorted(Path(os.environ["SOAK_KILL"]).glob("*")):
        try:
            wanted, pattern = token.read_text().split(maxsplit=1)
            if wanted == when and re.search(pattern.strip(), name):
                token.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            continue  # another process was first


def _deadly(method: Any) -> Any:
    def store(self: Any, name: str, data: Any) -> Any:
        _die_if_due(name, "before")
        answer = method(self, name, data)
        _die_if_due(name, "after")
        return answer

    return store


class _Loader(importlib.abc.Loader):
    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        for method in ("write", "create"):
            setattr(module.Store, method, _deadly(getattr(module.Store, method)))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "catalog_tagger.storage":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
