"""Tables that users have, as CSV or Parquet, local or in object storage, read by DuckDB.

Values of a CSV are text, so that an id keeps its zeros.

Failure rule: what cannot be read is one `UsageError` that names the file.
"""

from __future__ import annotations

import re
from typing import Final

import duckdb

from catalog_tagger.errors import UsageError
from catalog_tagger.tagging.track_list import parent_of

#: what DuckDB would take for a pattern
_PATTERN: Final = re.compile(r"([*?\[])")
_CSV: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def open_rows(connection: duckdb.DuckDBPyConnection, place: str, *, view: str) -> list[str]:
    """Make a view of a file; returns its columns.

    Raises
    ------
    UsageError
        There is no such file, or it is neither CSV nor Parquet.
    StorageError
        The store refuses.
    """
    store, name = parent_of(place)
    try:
        info = store.info(name)
    except FileNotFoundError:
        raise UsageError(f"{place}: no such file") from None
    kind = name.lower()
    if not kind.endswith((*_CSV, ".parquet")):
        raise UsageError(f"{place}: expected a file whose name ends in .csv, .tsv or .parquet")
    if info.size_bytes == 0:
        raise UsageError(f"{place}: the file is empty; expected a line of column names and rows")
    if not store.is_local and "s3" not in connection.list_filesystems():
        connection.register_filesystem(store.fs)
    path = _PATTERN.sub(r"[\1]", store.uri_of(name))
    try:
        if kind.endswith(".parquet"):
            rows = connection.read_parquet(path)
        else:
            rows = connection.read_csv(path, header=True, all_varchar=True)
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(place, error) from error
    rows.create_view(view)
    return list(rows.columns)


def unreadable(place: str, error: Exception) -> UsageError:
    """What DuckDB says of a file's rows, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UsageError(f"{place}: cannot be read as a table: {lines[0] if lines else type(error).__name__}")


def quoted(name: str) -> str:
    """A column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"
