"""The figures of an evaluation as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_PER_LABEL = {
    "precision": "precision",
    "recall": "recall",
    "f": "F",
    "average_precision": "AP",
    "auc": "AUC",
    "d_prime": "d\u2032",
    "calibration_error": "calibration error",
}


def show_evaluation(document: Mapping[str, Any], console: Console) -> None:
    """Shares, labels, sources and, with a second bundle, the tests between the two."""
    figures = document["figures"]
    shares = [name for name, one in figures["clips"].items() if isinstance(one, dict) and "wilson" in one and one["of"]]
    console.print(_shares(figures, shares))
    console.print()
    console.print(_labels(figures))
    ranked = figures["clips"]["mean"]["map_at_3"]
    if ranked["value"] is not None:
        ends = ranked["over_sources"]
        over = f" ({_number(ends[0])}-{_number(ends[1])} over {figures['over']})" if ends else ""
        console.print(f"MAP@3 {_number(ranked['value'])}{over}")
    if figures["over"] == "recordings":
        console.print("one source: intervals draw its recordings and voices anew and say nothing of other sources")
    rows = figures["sources"]
    columns = [name for name in shares if any(f"clips_{name}" in row for row in rows)]
    console.print()
    console.print(_sources(rows, columns))
    if "against" in document:
        console.print()
        console.print(_tests(document))


def show_stress(document: Mapping[str, Any], console: Console) -> None:
    """Where each kind of clip breaks, treatment by treatment."""
    kinds = document["kinds"]
    table = _table("treatment", "levels", *kinds, left=2)
    clean = (f"{100 * kind['clean'][0]:.1f} % of {kind['items']}" for kind in kinds.values())
    table.add_row("untreated", "", *clean, end_section=True)
    for one in document["treatments"]:
        cells = []
        for kind in kinds:
            cells.append(_verdict(one, one["lines"].get(kind)))
        table.add_row(one["name"], f"{one['levels'][0]} to {one['levels'][-1]}", *cells)
    console.print(table)
    console.print(
        "breaks at the first level whose share is under the untreated clips' interval, "
        f"or under {100 * document['bound']:.0f} %; too few: under {document['least']} clips"
    )
    if document.get("speech_over_music"):
        console.print()
        console.print(_over_music(document["speech_over_music"]))
    for skipped in document["skipped"]:
        console.print(f"not measured: {skipped['name']}; {skipped['why']}")


def _verdict(treatment: Mapping[str, Any], line: Mapping[str, Any] | None) -> str:
    if line is None:
        return ""
    at = line["breaks"]
    if at is None:
        return str(line["verdict"])
    where = f"{treatment['levels'][at]} ({100 * line['shares'][at][0]:.0f} %)"
    return where if line["verdict"] == "breaks" else f"{line['verdict']}; worse at {where}"


def _over_music(found: Mapping[str, Any]) -> Table:
    table = _table("F, speech over music", *(f"{level:+d} dB" for level in found["levels_db"]), left=1)
    for label, one in found["labels"].items():
        table.add_row(f"{label} ({found['pairs']} pairs)", *(_number(value) for value in one["f"]))
    return table


def _shares(figures: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = _table("right", "of", "share", "95 % (items)", f"95 % ({figures['over']})", left=1)
    for name in names:
        for level in ("segments", "clips"):
            one = figures[level][name]
            if one["of"]:
                table.add_row(
                    name.replace("_", " "),
                    f"{one['of']:,} {level}",
                    f"{100 * one['right'] / one['of']:.1f} %",  # a share of four digits would be rounded twice
                    _ends(one["wilson"]),
                    _ends(one["over_sources"]),
                )
    return table


def _labels(figures: Mapping[str, Any]) -> Table:
    table = _table("label", "true clips", *_PER_LABEL.values(), left=1)
    level = figures["clips"]
    for label, one in level["labels"].items():
        cells = [_number(one[name]["value"]) for name in _PER_LABEL]
        table.add_row(label, f"{one['true']:,} of {one['known']:,}", *cells)
    mean = level["mean"]
    cells = [_number(mean[name]["value"]) for name in ("f", "map", "auc", "d_prime", "calibration_error")]
    table.add_row("mean", "", "", "", *cells)
    return table


def _sources(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    head = [f"{name.replace('_', ' ')}, %" for name in names]
    table = _table("source", "truth", "segments", *head, "clips", *head, left=2)
    for row in rows:
        cells = [row["source"], row["truth"]]
        for level in ("segments", "clips"):
            cells.append(f"{row.get(level, 0):,}")
            for name in names:
                share = row.get(f"{level}_{name}")
                cells.append("" if share is None else f"{100 * share:.1f}")
        table.add_row(*cells)
    return table


def _tests(document: Mapping[str, Any]) -> Table:
    table = _table(
        "clips", document["bundle"], document["against"]["bundle"], "over", "difference", "95 %", "p", left=1
    )
    for quantity in ("right", "squared_error"):
        found = document["against"]["tests"]["clips"][quantity]
        for over in ("items", "sources"):
            test = found[over]
            if test is not None:
                low, high = test["interval"]
                table.add_row(
                    quantity.replace("_", " "),
                    _number(found["one"]),
                    _number(found["other"]),
                    f"{test['items']:,} {'clips' if over == 'items' else 'sources'}",
                    f"{test['difference']:+.4f}",
                    f"{low:+.4f} to {high:+.4f}",
                    f"{test['p']:.2g}",
                )
    return table


def _ends(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{100 * pair[0]:.1f}-{100 * pair[1]:.1f}"


def _number(value: float | str | None) -> str:
    """A figure as documents hold it: infinite ones are text."""
    return "" if value is None else f"{float(value):.3f}".replace("inf", "\u221e")


def _table(*columns: str, left: int) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        table.add_column(name, justify="left" if at < left else "right", overflow="fold")
    return table
