"""Which tags a warehouse can tell: those that are in it, and those of the bundles that ship."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

_BUNDLES = Path(__file__).parents[1] / "bundles"


def known_tags(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Tags in the view ``heard``, which leaves out those that no track has, and those that shipped bundles name."""
    rows = connection.execute("SELECT DISTINCT t.tag FROM heard, unnest(tags) AS each(t)").fetchall()
    shipped = (json.loads(path.read_text(encoding="utf-8")) for path in _BUNDLES.glob("*/bundle.json"))
    return {str(row[0]) for row in rows} | {
        label for one in shipped if one["task"] == "tags" for label in one["labels"]
    }
