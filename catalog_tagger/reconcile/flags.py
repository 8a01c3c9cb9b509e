"""From claims to the table `flags`: who they are, which are kept, and what became of earlier ones.

``flag_id`` is the BLAKE2b hash, 16 hex digits, of track, kind, field and what else tells claims apart (the
other track, and which occurrence of it), so that every run that makes a claim gives it the same one.

States:

- ``new``: the run before did not have it, or had seen it resolved;
- ``open``: the run before had it;
- ``dismissed``: an editor said so, and neither the audio nor the value in the metadata is another since;
- ``resolved``: the run before had it as new or open, and it is claimed no more; the run after leaves it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.reconcile.claims import UNPLAYABLE
from catalog_tagger.reconcile.cut import Precision, describe
from catalog_tagger.reconcile.decisions import DISMISSED, Shift
from catalog_tagger.tables.schemas import FLAG_PRECISION, FLAGS

NEW: Final = "new"
OPEN: Final = "open"
RESOLVED: Final = "resolved"
_LIVE: Final = (NEW, OPEN)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Claims that are flags."""

    claims: pa.Table
    """As `claims.CLAIMS`, with `confidence` as decisions leave it, `flag_id` and `dismissed`."""
    precision: pa.Table
    """As `schemas.FLAG_PRECISION`."""


def keep(
    claims: pa.Table,
    *,
    run_id: str,
    precision: float,
    shifts: Mapping[str, Shift],
    decisions: Sequence[Mapping[str, Any]],
) -> Kept:
    """The claims that reach the cut of their kind and field, and those that an editor has dismissed."""
    claims = claims.append_column("flag_id", pa.array(_ids(claims), pa.string()))
    confidence = _shifted(claims, shifts)
    at = claims.column_names.index("confidence")
    claims = claims.set_column(at, "confidence", pa.array(confidence))
    dismissed = _dismissed(claims, decisions)
    claims = claims.append_column("dismissed", pa.array(dismissed))
    kept, told = dismissed.copy(), []
    for kind, field in _groups(claims):
        of_group = _are(claims, "kind", kind) & _are(claims, "field", field)
        listed = of_group & ~dismissed
        if kind == UNPLAYABLE:
            kept |= listed
            continue
        levels = describe(confidence[listed], precision=precision, spread=shifts.get(kind, Shift()).spread)
        told += [_precision_row(level, run_id=run_id, kind=kind, field=field) for level in levels]
        cut = next((level.confidence for level in levels if level.is_cut), None)
        if cut is not None:
            kept |= listed & (confidence >= cut)
    rows = pa.Table.from_pylist(told, schema=FLAG_PRECISION)
    return Kept(claims=claims.filter(pa.array(kept)), precision=rows)


def flag_rows(kept: pa.Table, evidence: pa.ChunkedArray, before: pa.Table, *, run_id: str) -> pa.Table:
    """Rows of `flags`, the surest first.

    Parameters
    ----------
    kept
        As `Kept.claims`.
    evidence
        Of each of them.
    before
        The flags of the run before.
    """
    earlier = dict(zip(before["flag_id"].to_pylist(), _pairs(before, "state", "first_seen_run"), strict=True))
    states, first = [], []
    for flag_id, dismissed in _pairs(kept, "flag_id", "dismissed"):
        state, seen = earlier.get(flag_id, (RESOLVED, run_id))
        states.append(DISMISSED if dismissed else NEW if state == RESOLVED else OPEN)
        first.append(run_id if state == RESOLVED and not dismissed else seen)
    columns = {
        **{name: kept[name] for name in FLAGS.names if name in kept.column_names},
        "run_id": pa.repeat(run_id, len(kept)),
        "evidence": evidence,
        "state": pa.array(states, pa.string()),
        "first_seen_run": pa.array(first, pa.string()),
    }
    return pa.table({name: columns[name] for name in FLAGS.names}).cast(FLAGS).sort_by([("confidence", "descending")])


def resolved_rows(
    kept: pa.Table,
    before: pa.Table,
    *,
    run_id: str,
    shifts: Mapping[str, Shift],
    shifts_before: Mapping[str, float],
) -> pa.Table:
    """Rows of `flags` for those of the run before that are claimed no more, confidences by this run's shifts."""
    live = pc.is_in(before["state"], value_set=pa.array(_LIVE))
    gone = before.filter(pc.and_not(live, pc.is_in(before["flag_id"], value_set=kept["flag_id"])))
    rows = gone.to_pylist()
    for row in rows:
        kind = row["kind"]
        if kind != UNPLAYABLE:
            raw = Shift(mean=shifts_before.get(kind, 0.0)).undone(row["confidence"])
            row["confidence"] = float(shifts.get(kind, Shift()).applied(np.array([raw]))[0])
        row |= {"run_id": run_id, "state": RESOLVED}
    return pa.Table.from_pylist(rows, schema=FLAGS)


def flag_id_of(track_id: str, kind: str, field: str | None, other: str | None) -> str:
    """A claim's identity; what stands between its parts is escaped where a part has it."""
    parts = (
        part.replace("\x01", "\x01\x01").replace("\x00", "\x01\x02")
        for part in (track_id, kind, field or "", other or "")
    )
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).hexdigest()


def _ids(claims: pa.Table) -> list[str]:
    return [flag_id_of(*row) for row in _pairs(claims, "track_id", "kind", "field", "other")]


def _shifted(claims: pa.Table, shifts: Mapping[str, Shift]) -> npt.NDArray[np.float64]:
    confidence: npt.NDArray[np.float64] = claims["confidence"].to_numpy().copy()
    for kind, shift in shifts.items():
        if kind != UNPLAYABLE:
            of_kind = _are(claims, "kind", kind)
            confidence[of_kind] = shift.applied(confidence[of_kind])
    return confidence


def _dismissed(claims: pa.Table, decisions: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.bool_]:
    """Which claims an editor has dismissed as they are."""
    seen = {d["flag_id"]: (d["audio_etag"], d["current_value"]) for d in decisions if d["decision"] == DISMISSED}
    dismissed = np.zeros(len(claims), bool)
    if seen:
        at = np.flatnonzero(pc.is_in(claims["flag_id"], value_set=pa.array(list(seen), pa.string())).to_numpy())
        found = claims.select(["flag_id", "audio_etag", "current_value"]).take(at)
        for n, (flag_id, *now) in zip(at, _pairs(found, *found.column_names), strict=True):
            dismissed[n] = seen[flag_id] == tuple(now)
    return dismissed


def _groups(claims: pa.Table) -> list[tuple[str, str | None]]:
    groups = claims.select(["kind", "field"]).group_by(["kind", "field"]).aggregate([]).to_pylist()
    return sorted(((row["kind"], row["field"]) for row in groups), key=lambda group: (group[0], group[1] or ""))


def _are(claims: pa.Table, column: str, value: str | None) -> npt.NDArray[np.bool_]:
    equal = pc.is_null(claims[column]) if value is None else pc.fill_null(pc.equal(claims[column], value), False)
    mask: npt.NDArray[np.bool_] = equal.to_numpy().astype(bool)
    return mask


def _precision_row(level: Precision, *, run_id: str, kind: str, field: str | None) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "kind": kind,
        "field": field,
        "confidence": level.confidence,
        "flags": level.flags,
        "expected_precision": level.expected,
        "low": level.low,
        "high": level.high,
        "is_cut": level.is_cut,
    }


def _pairs(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))
