"""What the package promises as a whole: light imports, no pickle, documentation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "catalog_tagger"
MODULES = sorted(path for folder in (PACKAGE, ROOT / "jobs") for path in folder.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in memory after a statement, in a fresh process."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not {"torch", "ray", "pyarrow", "numpy", "av", "s3fs"} & loaded_after("import catalog_tagger")


@pytest.mark.parametrize("module", ["frontends", "models", "models.bundle", "audio"])
def test_listening_knows_neither_ray_nor_storage(module: str) -> None:
    found = loaded_after(f"import catalog_tagger.{module}")
    assert not {"ray", "s3fs", "fsspec", "pyarrow", "duckdb"} & found


def test_audio_does_not_need_torch() -> None:
    assert "torch" not in loaded_after("import catalog_tagger.audio")


def test_a_tagger_needs_no_ray() -> None:
    assert "ray" not in loaded_after("from catalog_tagger import Tagger")


def test_planning_and_refusing_need_no_ray() -> None:
    assert "ray" not in loaded_after("import catalog_tagger.tagging.job")


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_module_and_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if not tree.body:
        return  # an empty __init__
    assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_stay_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400
