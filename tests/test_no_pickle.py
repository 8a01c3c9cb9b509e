"""Nothing in the package can run code that lies in a file: no pickle is read, whatever it is called."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

#: modules that read pickles, or bytecode, and nothing but
_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "pickletools"}
#: functions that do so by default, or always
_CALLS = {"read_pickle", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all"}
#: owner and function -> the keyword and the one value of it that makes the call safe; None: no such value
_CONDITIONS = {
    ("torch", "load"): ("weights_only", True),
    ("jit", "load"): None,
    ("hub", "load"): None,
    ("yaml", "load"): None,
    ("yaml", "load_all"): None,
}
SOURCES = sorted([*(ROOT / "catalog_tagger").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])


def loaders(source: str) -> Iterator[str]:
    """What in a module could read a pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if set(alias.name.split(".")) & _MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            yield from names & (_MODULES | _CALLS)
        elif isinstance(node, ast.Call):
            yield from _loading_call(node)


def _loading_call(node: ast.Call) -> Iterator[str]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ""
    if isinstance(function, ast.Attribute):
        owner = getattr(function.value, "attr", None) or getattr(function.value, "id", "")
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    if name in _CALLS or given.get("allow_pickle", False) is not False or "pickle_module" in given:
        yield name
    if (owner, name) in _CONDITIONS:
        condition = _CONDITIONS[owner, name]
        if condition is None or given.get(condition[0]) is not condition[1]:
            yield f"{owner}.{name}"
    if name in ("import_module", "__import__") and node.args:
        module = getattr(node.args[0], "value", None)
        if isinstance(module, str) and module.split(".")[0] in _MODULES:
            yield module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_read_a_pickle(path: Path) -> None:
    assert list(loaders(path.read_text(encoding="utf-8"))) == []


def test_the_modules_are_there_to_be_looked_at() -> None:
    assert len(SOURCES) > 60


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import ray.cloudpickle as cp",
        "from ray import cloudpickle",
        "from pickle import loads",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "import numpy as np\nnp.load('a.npy', allow_pickle=flag)",
        "import torch\ntorch.load('a.pt')",
        "import torch\ntorch.load('a.pt', weights_only=False)",
        "import torch\ntorch.jit.load('a.pt')",
        "import pandas\npandas.read_pickle('a')",
        "from pandas import read_pickle",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import importlib\nimportlib.import_module('pickle')",
    ],
)
def test_each_way_to_read_one_is_seen(source: str) -> None:
    assert list(loaders(source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load('a.npy')\nnp.load('a.npy', allow_pickle=False)",
        "import torch\ntorch.load('a.pt', weights_only=True)",
        "import json, yaml\njson.load(file)\nyaml.safe_load(text)",
        "from safetensors.torch import load_file",
    ],
)
def test_safe_ways_are_left_alone(source: str) -> None:
    assert not list(loaders(source))
