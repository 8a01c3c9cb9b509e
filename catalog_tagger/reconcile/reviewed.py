"""Decisions as reviewers make them, one after the other, beside each other.

Layout::

    review/<session>.csv    seq,flag_id,run_id,decision,reviewer,decided_at

A session is one `catalog-tagger review` and alone writes its file, whole, after each decision: two reviewers never
write the same file. A row is a decision on a flag as a run had it (``accepted`` or ``dismissed``), or ``withdrawn``:
the reviewer takes back what was decided. Rows are only added; of all sessions' rows on a flag the latest counts.

Comparing with the metadata takes in what it has not taken in before: its manifest says of each session how many rows
that was (`TAKEN`), so that a decision that came by another way later is not undone by an old row.

Failure rule: a file is put whole, so that a session that dies loses nothing that it has said is kept.
"""

from __future__ import annotations

import csv
import io
import secrets
import threading
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Final

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest

FOLDER: Final = "review"
#: key of a manifest's config
TAKEN: Final = "review_rows"
WITHDRAWN: Final = "withdrawn"
WORDS: Final = ("accepted", "dismissed", WITHDRAWN)


@dataclass(frozen=True)
class Reviewed:
    """One row."""

    seq: int
    flag_id: str
    run_id: str
    decision: str
    reviewer: str
    decided_at: str


class Session:
    """One reviewer's decisions, kept as they come."""

    def __init__(self, store: Store, reviewer: str) -> None:
        self.name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self._store, self._reviewer = store, reviewer
        self._rows: list[Reviewed] = []
        self._lock = threading.Lock()

    def decide(self, flag_id: str, run_id: str, decision: str, *, after: str | None = None) -> Reviewed:
        """Keep a decision; it is in the warehouse when this returns.

        Parameters
        ----------
        after
            Time of the last decision on the flag: this one gets a later one, though a clock may be behind.

        Raises
        ------
        StorageError
            It cannot be written, and is not kept.
        """
        time = datetime.now(timezone.utc)
        if after is not None:
            time = max(time, datetime.fromisoformat(after) + timedelta(milliseconds=1))
        now = time.isoformat(timespec="microseconds")
        with self._lock:
            row = Reviewed(len(self._rows) + 1, flag_id, run_id, decision, self._reviewer, now)
            self._store.write(f"{FOLDER}/{self.name}.csv", _csv([*self._rows, row]))
            self._rows.append(row)
        return row


def read_reviewed(store: Store, *, taken: Mapping[str, int] | None = None) -> tuple[list[Reviewed], dict[str, int]]:
    """Rows of all sessions in the order of their times, and how many each session has.

    Parameters
    ----------
    taken
        Session -> rows to leave out.
    """
    found: list[Reviewed] = []
    counts: dict[str, int] = {}
    for name in store.children(FOLDER):
        if not name.endswith(".csv"):
            continue
        session = name.removesuffix(".csv")
        rows = _rows(store, f"{FOLDER}/{name}")
        counts[session] = len(rows)
        found += rows[(taken or {}).get(session, 0) :]
    return sorted(found, key=lambda row: (row.decided_at, row.seq)), counts


def taken_in(last: RunManifest | None) -> dict[str, int]:
    """Session -> rows that the last comparison, where there is one, has taken in, or one before it."""
    return {} if last is None else last.config.get(TAKEN, {})


def latest(rows: list[Reviewed]) -> dict[str, Reviewed]:
    """Flag -> the row that counts."""
    return {row.flag_id: row for row in rows}


def _rows(store: Store, name: str) -> list[Reviewed]:
    text = store.read(name).decode(errors="replace")
    try:
        names = [field.name for field in fields(Reviewed)][1:]
        return [Reviewed(int(row["seq"]), *(row[name] for name in names)) for row in csv.DictReader(io.StringIO(text))]
    except (TypeError, ValueError, KeyError) as error:
        raise StorageError(f"{store.uri_of(name)}: not a file of decisions ({error}); restore or remove it") from error


def _csv(rows: list[Reviewed]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.name for field in fields(Reviewed)])
    writer.writerows(astuple(row) for row in rows)
    return out.getvalue().encode()
