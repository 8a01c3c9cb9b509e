"""The measured pages beside a bundle: `<bundle>/reports/{evaluation,stress}.{json,html}`.

A bundle's hashes do not cover its reports, which are made when it is finished; each names the
fingerprint of the bundle it measured instead, and one that names another, or has another format, is
passed over.
`python -m catalog_tagger.training.reports MANIFEST [NAME ...]` makes them anew, of all shipped
bundles where none is named: the evaluation and the stress page on the rows of the split `test`,
which the manifest must have.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from catalog_tagger.errors import CatalogTaggerError, UsageError
from catalog_tagger.models.bundle import SHIPPED, load_bundle, shipped_bundles
from catalog_tagger.training.pages import FORMATS

FOLDER: Final = "reports"
NAMES: Final = ("evaluation", "stress")


def folder_of(name_or_dir: str | Path) -> Path:
    """Where the reports of a bundle are, by its name or folder, as `load_bundle` takes them."""
    bundle = SHIPPED / str(name_or_dir) if str(name_or_dir) in shipped_bundles() else Path(name_or_dir)
    return bundle / FOLDER


def read_reports(name_or_dir: str | Path, fingerprint: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The page and the document of each report of exactly this bundle, in the format of today.

    Raises
    ------
    UsageError
        A document cannot be read.
    """
    found = {}
    for name in NAMES:
        path = folder_of(name_or_dir) / f"{name}.json"
        if not path.exists():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            matches = document["fingerprint"] == fingerprint and document["format"] == FORMATS[name]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: is not a report: {error}; delete it or make it anew") from error
        if matches:
            found[name] = (path.with_suffix(".html"), document)
    return found


def make_reports(name_or_dir: str | Path, manifest: Path, cache_dir: Path) -> None:
    """Measure a bundle on the rows of the split `test` and write both reports beside it.

    Raises
    ------
    UsageError
        The bundle or the manifest is not usable, or no row has that split.
    """
    from catalog_tagger.training.evaluation import evaluate_bundle, read_material, require_comparable
    from catalog_tagger.training.manifest import read_manifest
    from catalog_tagger.training.pages import write_page
    from catalog_tagger.training.pages.evaluation import evaluation_page
    from catalog_tagger.training.pages.stress import stress_page
    from catalog_tagger.training.robustness import stress_bundle

    def quietly(title: str, done: int, total: int) -> None:
        if done == total:
            print(f"{name_or_dir}: {title}, {done}", flush=True)

    bundle = load_bundle(name_or_dir)
    require_comparable(bundle)
    if not any(clip.split == "test" for clip in read_manifest(manifest)):
        raise UsageError(
            f"{manifest}: no row has the split 'test', and reports are made of these alone; mark the rows that the "
            "bundle was not trained on in a column split, or use catalog-tagger evaluate"
        )
    material = read_material(manifest, split="test", cache_dir=cache_dir, progress=quietly)
    document = evaluate_bundle(bundle, material, progress=quietly)
    write_page(folder_of(name_or_dir), "evaluation", document, evaluation_page(document))
    document = stress_bundle(bundle, material, clips=120, seed=0, progress=quietly)
    write_page(folder_of(name_or_dir), "stress", document, stress_page(document))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the reports of bundles anew, on the rows of MANIFEST whose split is test."""
    parser = argparse.ArgumentParser(prog="python -m catalog_tagger.training.reports", description=main.__doc__)
    parser.add_argument("manifest", type=Path, help="CSV as for training, with rows of the split test")
    parser.add_argument("bundles", nargs="*", help="names or folders; all that ship if none is given")
    parser.add_argument("--cache", type=Path, default=Path(".training-cache"), help="where decoded clips are kept")
    options = parser.parse_args(arguments)
    try:
        for name in options.bundles or shipped_bundles():
            make_reports(name, options.manifest, options.cache)
    except CatalogTaggerError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
