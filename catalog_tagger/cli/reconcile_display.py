"""What a reconcile run tells: what matched, how many labels are expected wrong, the cuts, the surest flags."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.cli.output import counted, program, show_json, show_lines
from catalog_tagger.reconcile.found import at

if TYPE_CHECKING:
    from catalog_tagger.reconcile.job import ReconcileResult

_SHOWN: Final = 20
_MOST_VALUES: Final = 10
#: so many wrong ones are worth a word
_MENTIONED: Final = 0.05
_STATES: Final = ("new", "open", "dismissed", "resolved")
_LIVE: Final = ("new", "open")
#: those that say most about the metadata first
_KINDS: Final = ("mislabelled", "mixed_content", "missing_label", "duplicate_audio", "embedded_song", "unplayable")


def show_reconciled(result: ReconcileResult, *, limit: int | None, as_json: bool) -> None:
    """The result for people, or as one JSON document."""
    if as_json:
        show_json(_document(result, limit=limit))
        return
    click.echo(_matched_line(result))
    for field, values in result.unmapped.items():
        if values:
            click.echo(f"{field}: {_unmapped_line(values)}")
    for field, names in result.unjudged.items():
        if names:
            click.echo(f"{field}: too little is heard surely to say how many are wrong of {', '.join(names)}")
    _show("Labels", _noise_lines(result), right={"tracks", "expected wrong"})
    _show("Flags", _kind_lines(result), right={*_STATES, "sure from", "expected right"})
    show_flags(result.flags, most=_SHOWN if limit is None else limit)
    query = "select * from flags where state in ('new', 'open') order by confidence desc"
    click.echo(f"\nrun {result.run_id} in {result.warehouse}, {result.manifest.wall_s:.1f} s")
    click.echo(f'ask it: {program()} sql {shlex.quote(result.warehouse)} "{query}"')


def show_flags(flags: pa.Table, *, most: int) -> None:
    """The surest flags that are not settled, by kind, of each kind its share of `most`."""
    live = flags.filter(pc.is_in(flags["state"], value_set=pa.array(_LIVE)))
    by_kind = {kind: live.filter(pc.equal(live["kind"], kind)) for kind in _KINDS}
    left, chosen = most, {kind: 0 for kind in _KINDS}
    while left > 0 and any(chosen[kind] < len(some) for kind, some in by_kind.items()):
        for kind, some in by_kind.items():
            if left > 0 and chosen[kind] < len(some):
                chosen[kind] += 1
                left -= 1
    shown = [row for kind, some in by_kind.items() for row in some.slice(0, chosen[kind]).to_pylist()]
    _show("The surest of each kind", _flag_lines(shown), right={"sure"})
    if len(live) > len(shown):
        click.echo(f"... {counted(len(live) - len(shown), 'more flag')}; use --limit, --json or SQL")


def _show(title: str, lines: Sequence[Mapping[str, str]], *, right: set[str]) -> None:
    click.echo(f"\n{title}" if lines else f"\n{title}: none")
    if lines:
        show_lines(lines, right=right)


def _matched_line(result: ReconcileResult) -> str:
    found = result.coverage
    told = f"{counted(found.matched, 'track')} compared"
    if found.unknown_ids:
        examples = ", ".join(found.unknown) + (", ..." if found.unknown_ids > len(found.unknown) else "")
        told += f"; {counted(found.unknown_ids, 'id')} of the metadata not in the warehouse ({examples})"
    if found.without_metadata:
        told += f"; {counted(found.without_metadata, 'track')} of the warehouse without metadata"
    if result.decisions:
        told += f"; {counted(result.decisions, 'decision')} of editors"
    return told


def _unmapped_line(values: Mapping[str, int]) -> str:
    shown = ", ".join(f"{value} ({count:,})" for value, count in list(values.items())[:_MOST_VALUES])
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return f"the mapping does not list {shown}{more}; tracks with these are not compared"


def _wrong(result: ReconcileResult) -> list[dict[str, Any]]:
    """Per value of the metadata: tracks, how many are expected wrong, and what those are."""
    fields = {field.name: field for field in result.mapping.fields}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in result.label_noise.to_pylist():
        field, value = fields[row["field"]], row["current_value"]
        told = found.setdefault(
            (field.name, value),
            {"field": field.name, "value": value, "tracks": row["tracks"], "expected_wrong": 0.0, "of_them": {}},
        )
        right = field.tolerated[field.values.index(value)]
        if field.classes.index(row["true_value"]) not in right:
            told["expected_wrong"] += row["expected"]
            told["of_them"][row["true_value"]] = row["expected"]
    return [told for told in found.values() if told["tracks"]]


def _noise_lines(result: ReconcileResult) -> list[dict[str, str]]:
    return [
        {
            "field": told["field"],
            "metadata say": told["value"],
            "tracks": f"{told['tracks']:,}",
            "expected wrong": f"{told['expected_wrong']:,.1f} ({told['expected_wrong'] / told['tracks'] * 100:.1f} %)",
            "which are": ", ".join(
                f"{count:,.1f} {kind}" for kind, count in told["of_them"].items() if count >= _MENTIONED
            ),
        }
        for told in _wrong(result)
    ]


def _cuts(result: ReconcileResult) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(row["kind"], row["field"]): row for row in result.flag_precision.to_pylist() if row["is_cut"]}


def _counts(flags: pa.Table) -> dict[tuple[str, str | None], Counter[str]]:
    counts: dict[tuple[str, str | None], Counter[str]] = {}
    for row in flags.group_by(["kind", "field", "state"]).aggregate([([], "count_all")]).to_pylist():
        counts.setdefault((row["kind"], row["field"]), Counter())[row["state"]] = row["count_all"]
    return dict(sorted(counts.items(), key=lambda item: (item[0][0], item[0][1] or "")))


def _kind_lines(result: ReconcileResult) -> list[dict[str, str]]:
    cuts, lines = _cuts(result), []
    for key, states in _counts(result.flags).items():
        cut = cuts.get(key)
        lines.append(
            {
                "kind": key[0],
                "field": key[1] or "",
                **{state: f"{states[state]:,}" for state in _STATES},
                "sure from": "" if cut is None else f"{cut['confidence']:.3f}",
                "expected right": ""
                if cut is None
                else f"{_percent(cut['expected_precision'])} ({_percent(cut['low'])} to {_percent(cut['high'])})",
            }
        )
    return lines


def _percent(share: float) -> str:
    """Rounded down, so that 100 % stands for nothing less."""
    return f"{int(share * 1000 + 1e-6) / 10:.1f} %"


def _flag_lines(flags: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "track": flag["track_id"],
            "kind": flag["kind"],
            "field": flag["field"] or "",
            "says": flag["current_value"] or "",
            "heard": flag["suggested_value"] or "",
            "sure": f"{int(flag['confidence'] * 1000) / 1000:.3f}",
            "why": flag["reason"] + _where(flag["evidence"]),
        }
        for flag in flags
    ]


def _where(evidence: Iterable[Mapping[str, Any]]) -> str:
    """Where to listen."""
    times = [f"{at(one['start_s'])}-{at(one['end_s'])}" for one in evidence]
    return f" [{', '.join(times)}]" if times else ""


def _document(result: ReconcileResult, *, limit: int | None) -> dict[str, Any]:
    flags = result.flags if limit is None else result.flags.slice(0, limit)
    found = result.coverage
    return {
        "run_id": result.run_id,
        "warehouse": result.warehouse,
        "wall_s": result.manifest.wall_s,
        "metadata": {**asdict(found), "unknown_ids": found.unknown_ids, "without_metadata": found.without_metadata},
        "decisions": result.decisions,
        "unmapped": result.unmapped,
        "not_estimated": result.unjudged,
        "labels": _wrong(result),
        "counts": [
            {"kind": kind, "field": field, **{state: states[state] for state in _STATES}}
            for (kind, field), states in _counts(result.flags).items()
        ],
        "precision": result.flag_precision.drop_columns("run_id").to_pylist(),
        "flags": flags.to_pylist(),
    }
