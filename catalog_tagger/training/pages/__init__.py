"""Pages that a browser opens by themselves: one file each, no network, no script, light and dark.

They show documents of plain data (`training.evaluation`, `training.robustness`) and compute nothing.
`write_page` puts both into one folder, `NAME.json` and `NAME.html`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from catalog_tagger.errors import UsageError

#: The `format` of the documents that are written and shown.
FORMATS: Final = {"evaluation": 2, "stress": 2}


def write_page(folder: Path, name: str, document: Mapping[str, Any], page: str) -> Path:
    """Write a document and its page, replacing earlier ones; returns the path of the page.

    Raises
    ------
    UsageError
        The folder cannot be written to.
    """
    target = folder / f"{name}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written to: {error.strerror}; give another folder by --out") from error
    return target
