"""What editors decided on flags: it silences them, and it says how far confidences can be trusted.

A file of decisions has ``flag_id`` and ``decision`` (or ``state``): ``accepted`` or ``dismissed``; rows that say
nothing, or leave a flag's own state as it is, are no decisions. Every decision is kept in the table
`decisions`, the last one per flag, so the file is needed once. It holds for what the editor saw: the flag as
the run of the optional column ``run_id`` has it, or the newest one. Without that column a decision
that is known already is not taken anew, so that a file which grows can be given again and again.

What reviewers decided (`reviewed`) comes before a file: rows that no run has taken in yet, the latest on each flag. A
withdrawn decision is as if there had been none.

By kind, the log odds of all confidences are shifted by what makes the decisions likeliest, with a prior
of mean 0 and spread 1; each run's shifts are in its manifest, so that the confidence before can be found again.

Failure rule: an unknown flag or word, or two decisions on one flag, is one `UsageError` that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog_tagger.errors import UsageError
from catalog_tagger.reconcile.reading import open_rows, quoted, unreadable
from catalog_tagger.reconcile.reviewed import WITHDRAWN, Reviewed, latest
from catalog_tagger.tables.schemas import DECISIONS

ACCEPTED: Final = "accepted"
DISMISSED: Final = "dismissed"
SHIFTS: Final = "shifts"
#: key of a manifest's config, as SHIFTS
GIVEN: Final = "given_decisions"
_UNDECIDED: Final = ("new", "open", "resolved")
_SUREST: Final = 1e-9
_STEPS: Final = 50

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """By how much the confidences of a kind are off, in log odds, and how well that is known."""

    mean: float = 0.0
    spread: float = 1.0

    def applied(self, confidences: Floats) -> Floats:
        """Confidences after it."""
        shifted: Floats = _sigmoid(_log_odds(confidences) + self.mean)
        return shifted

    def undone(self, confidence: float) -> float:
        """A confidence before it."""
        return float(_sigmoid(_log_odds(np.array([confidence])) - self.mean)[0])


def fit_shift(confidences: Floats, accepted: npt.NDArray[np.bool_]) -> Shift:
    """The likeliest shift, by Newton's method, and the spread of what it may be (Laplace)."""
    odds, mean = _log_odds(confidences), 0.0
    for _ in range(_STEPS):
        right = _sigmoid(odds + mean)
        slope = float(np.sum(accepted - right)) - mean
        step = slope / (float(np.sum(right * (1.0 - right))) + 1.0)
        mean += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-9:
            break
    right = _sigmoid(odds + mean)
    return Shift(mean=mean, spread=float(1.0 / np.sqrt(np.sum(right * (1.0 - right)) + 1.0)))


def fit_shifts(decisions: Iterable[Mapping[str, Any]]) -> dict[str, Shift]:
    """Kind -> shift, for the kinds that anything was decided on."""
    of_kind: dict[str, list[tuple[float, bool]]] = {}
    for row in decisions:
        of_kind.setdefault(row["kind"], []).append((row["confidence"], row["decision"] == ACCEPTED))
    return {
        kind: fit_shift(np.array([one for one, _ in rows]), np.array([two for _, two in rows]))
        for kind, rows in of_kind.items()
    }


def gather(
    connection: duckdb.DuckDBPyConnection,
    place: str | None,
    *,
    shifts: Mapping[str, Mapping[str, float]],
    reviewed: Iterable[Reviewed] = (),
    given_before: Mapping[str, Sequence[str | None]] | None = None,
) -> list[dict[str, Any]]:
    """All decisions so far, rows of `schemas.DECISIONS` but for the run, those of a file last.

    Parameters
    ----------
    connection
        With views `decisions`, `flags_history` and `runs`.
    shifts
        Run -> kind -> the mean shift that its confidences had.
    reviewed
        What reviewers decided since the last run, in the order of their times.
    given_before
        What the last run's file said (`given_of`): what it said then is not said again, and undoes nothing since.
    """
    kept = {row["flag_id"]: row for row in connection.sql("SELECT * FROM decisions").to_arrow_table().to_pylist()}
    by_reviewers = latest(list(reviewed))
    for flag_id in [flag_id for flag_id, row in by_reviewers.items() if row.decision == WITHDRAWN]:
        del by_reviewers[flag_id]
        kept.pop(flag_id, None)
    given = {flag_id: (row.decision, row.run_id) for flag_id, row in by_reviewers.items()}
    _take(connection, None, given, kept, shifts)
    if place is not None:
        said = {
            flag: one for flag, one in _read(connection, place).items() if list(one) != (given_before or {}).get(flag)
        }
        _take(connection, place, said, kept, shifts)
    return list(kept.values())


def given_of(connection: duckdb.DuckDBPyConnection, place: str | None) -> dict[str, list[str | None]]:
    """Flag -> [decision, run] of a file, as a manifest keeps them."""
    return {} if place is None else {flag: list(one) for flag, one in _read(connection, place).items()}


def _take(
    connection: duckdb.DuckDBPyConnection,
    place: str | None,
    given: Mapping[str, tuple[str, str | None]],
    kept: dict[str, dict[str, Any]],
    shifts: Mapping[str, Mapping[str, float]],
) -> None:
    """Add what was given at a place to what is kept.

    Of reviewers (no place) decisions on flags that are no longer known are left out: the run that they looked at has
    been pruned since. In a file what is kept already is not looked for again.
    """
    known = _flags(connection, [(flag_id, run_id) for flag_id, (_, run_id) in given.items()])
    unknown = [
        flag_id
        for flag_id, (decision, _) in given.items()
        if flag_id not in known and not (flag_id in kept and kept[flag_id]["decision"] == decision)
    ]
    if unknown and place is not None:
        run_id = given[unknown[0]][1]
        where = "no run has such a flag" if run_id is None else f"run {run_id} has no such flag"
        more = f" and {len(unknown) - 1:,} more are unknown" if len(unknown) > 1 else ""
        raise UsageError(
            f"{place}: flag_id {unknown[0]!r}: {where}{more}; take ids and run_id from the flags of this warehouse"
        )
    for flag_id, (decision, run_id) in given.items():
        if flag_id not in known:
            continue
        before = kept.get(flag_id)
        if before is not None and before["decision"] == decision and run_id is None:
            continue
        flag = known[flag_id]
        shift = Shift(mean=shifts.get(flag["run_id"], {}).get(flag["kind"], 0.0))
        told = {name: flag[name] for name in DECISIONS.names if name in flag}
        kept[flag_id] = {**told, "decision": decision, "confidence": shift.undone(flag["confidence"])}


def _read(connection: duckdb.DuckDBPyConnection, place: str) -> dict[str, tuple[str, str | None]]:
    """Flag -> (decision, run that it was seen in)."""
    columns = open_rows(connection, place, view="given_decisions")
    lower = {column.strip().lower(): column for column in reversed(columns)}
    said = next((lower[name] for name in ("decision", "state") if name in lower), None)
    if "flag_id" not in lower or said is None:
        raise UsageError(
            f"{place}: expected columns flag_id and decision (accepted or dismissed); it has {', '.join(columns)}"
        )
    seen = f"CAST({quoted(lower['run_id'])} AS VARCHAR)" if "run_id" in lower else "NULL"
    sql = (
        f"SELECT trim(CAST({quoted(lower['flag_id'])} AS VARCHAR)), "  # noqa: S608
        f"lower(trim(CAST({quoted(said)} AS VARCHAR))), nullif(trim({seen}), '') FROM given_decisions"
    )
    try:
        rows = connection.execute(sql).fetchall()
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(place, error) from error
    found: dict[str, tuple[str, str | None]] = {}
    for number, (flag_id, word, run_id) in enumerate(rows, start=1):
        if not word or (lower.get("state") == said and word in _UNDECIDED):
            continue
        if word not in (ACCEPTED, DISMISSED):
            raise UsageError(f"{place}: row {number}: {said} {word!r}; expected accepted or dismissed, or nothing")
        if not flag_id:
            raise UsageError(f"{place}: row {number}: a decision without flag_id")
        if found.setdefault(flag_id, (word, run_id))[0] != word:
            raise UsageError(f"{place}: row {number}: flag_id {flag_id!r} is both accepted and dismissed; decide once")
    return found


def _flags(connection: duckdb.DuckDBPyConnection, wanted: list[tuple[str, str | None]]) -> dict[str, dict[str, Any]]:
    """Flags as a run has them, or as the newest one that has them does."""
    if not wanted:
        return {}
    asked = {"flag_id": pa.array([a for a, _ in wanted]), "seen": pa.array([b for _, b in wanted], pa.string())}
    connection.register(
        "wanted_flags", pa.table(asked, schema=pa.schema([("flag_id", pa.string()), ("seen", pa.string())]))
    )
    rows = connection.sql(
        "SELECT f.* FROM flags_history f JOIN wanted_flags w USING (flag_id) JOIN runs r USING (run_id) "
        "WHERE w.seen IS NULL OR w.seen = f.run_id "
        "QUALIFY row_number() OVER (PARTITION BY f.flag_id ORDER BY r.committed_at DESC, f.run_id DESC) = 1"
    )
    found = {row["flag_id"]: row for row in rows.to_arrow_table().to_pylist()}
    connection.unregister("wanted_flags")
    return found


def _log_odds(confidences: Floats) -> Floats:
    clipped = np.clip(confidences, _SUREST, 1.0 - _SUREST)
    odds: Floats = np.log(clipped / (1.0 - clipped))
    return odds


def _sigmoid(odds: Floats) -> Floats:
    values: Floats = 1.0 / (1.0 + np.exp(-odds))
    return values
