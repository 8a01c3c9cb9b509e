"""A bundle's card for people, on eighty columns: what it is, how right, where it fails, out of what.

Figures are shown as they come, whatever the task: a mapping with `wilson` is a share with intervals,
one with `value` a figure, a list of mappings a table. Of sources and languages the worst are named, and
long tables are cut and counted; `--json` has all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from catalog_tagger.cli.output import counted
from catalog_tagger.models.bundle import Bundle

_MOST_ROWS = 12
_WORST = 6


def show_card(bundle: Bundle, reports: Mapping[str, tuple[Path, Mapping[str, Any]]], console: Console) -> None:
    """Print the card of a bundle and where its reports are."""
    card = bundle.card
    console.print(Text(f"{bundle.name}  {bundle.fingerprint}", style="bold"))
    for text in (card.get("purpose"), card.get("notes")):
        if text:
            console.print(Text(str(text)))
    console.print()
    console.print(_facts(bundle))
    for name, figures in (card.get("figures") or {}).items():
        _heading(console, f"Figures: {_plain(name)}")
        _figures(figures, console)
    if reports:
        _heading(console, "Reports")
        for name, (page, document) in reports.items():
            console.print(Text(f"{name}: {page}"))
            if "treatments" in document:
                for line in _breaks(document):
                    console.print(Padding(line, (0, 0, 0, 2)))
    if card.get("limits"):
        _heading(console, "Known failures")
        console.print(_listed([("-", str(text)) for text in card["limits"]]))
    if card.get("definitions"):
        _heading(console, "What the words mean")
        console.print(_listed([(_plain(word), str(text)) for word, text in card["definitions"].items()]))
    for key, title in (("training_sources", "Trained on"), ("validation_sources", "Validated on")):
        rows = card.get(key) or []
        if rows:
            minutes = sum(float(row.get("minutes", 0)) for row in rows)
            clips = sum(int(row.get("clips", 0)) for row in rows)
            _heading(console, f"{title}: {clips:,} clips, {minutes / 60:.1f} h")
            console.print(_table(rows, most=len(rows)))


def _facts(bundle: Bundle) -> Table:
    training = bundle.card.get("training") or {}
    parameters = sum(weight.numel() for weight in bundle.model.parameters())
    pairs = [
        ("task", bundle.task),
        ("labels", ", ".join(bundle.labels)),
        ("network", f"{_spec(bundle.architecture_spec)}; {parameters:,} weights"),
        ("front end", _spec(bundle.frontend_spec)),
        ("calibration", "none" if bundle.calibration.is_identity else bundle.calibration.kind),
    ]
    if bundle.decision:
        pairs.append(("thresholds", ", ".join(f"{name} {value:g}" for name, value in bundle.decision.items())))
    if training:
        told = [f"{training['minutes']} minutes" if "minutes" in training else "", str(training.get("machine", ""))]
        told += [f"seed {training['seed']}" if "seed" in training else ""]
        told += [f"from {training['started_from']}" if training.get("started_from") else ""]
        pairs.append(("training", ", ".join(one for one in told if one)))
    return _listed(pairs)


def _spec(spec: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in spec.items() if key not in {"name", "n_labels"})
    return f"{spec.get('name')}" + (f" ({rest})" if rest else "")


def _figures(figures: Any, console: Console, path: str = "") -> None:
    """A share per line, then labels with their intervals, then tables."""
    if isinstance(figures, list):
        by_f = any(isinstance(one, Mapping) and "f" in one for row in figures for one in row.values())
        if path or by_f:
            console.print(Text(_plain(path) or "F at a threshold of 0.5", style="italic"))
        console.print(_table(figures))
        return
    if not isinstance(figures, Mapping):
        console.print(Text(f"{_plain(path)} {figures}"))
        return
    shares = list(_shares(figures))
    if shares:
        table = _grid("", "right", "95 % (items)", f"95 % ({figures.get('over', 'sources')})", left=1)
        for name, one in shares:
            right = f"{100 * one['share']:.1f} % of {one['of']:,}"
            table.add_row(Text(name), right, _ends(one["wilson"]), _ends(one.get("over_sources")))
        console.print(table)
    labels = [(level, one["labels"]) for level, one in figures.items() if isinstance(one, Mapping) and "labels" in one]
    for level, found in labels[-1:]:
        console.print()
        console.print(_labels(level, found))
    for name, one in figures.items():
        if isinstance(one, list) and one:
            console.print()
            if name in {"sources", "languages"}:
                _worst(name.removesuffix("s"), one, console)
            else:
                _figures(one, console, name)


def _worst(key: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The sources or languages with the lowest share of right clips."""

    def shares(row: Mapping[str, Any]) -> dict[str, float]:
        return {_plain(name[6:]): value for name, value in row.items() if name.startswith("clips_")}

    wrong = sorted(
        (row for row in rows if min(shares(row).values(), default=1.0) < 1), key=lambda row: min(shares(row).values())
    )
    fine = len(rows) - len(wrong)
    console.print(Text(f"{key}s: of {len(rows)}, {fine} with every clip right{'; the worst are' if wrong else ''}"))
    for row in wrong[:_WORST]:
        told = ", ".join(f"{name} {100 * value:.0f} %" for name, value in shares(row).items())
        console.print(
            Padding(
                Text(f"{row.get(key, '')} ({row.get('truth', '')}, {counted(row.get('clips', 0), 'clip')}): {told}"),
                (0, 0, 0, 2),
            )
        )


def _shares(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, one in figures.items():
        here = f"{path}, {_plain(name)}" if path else _plain(name)
        if isinstance(one, Mapping) and "wilson" in one and "share" in one:
            if one["of"]:
                yield here, one
        elif isinstance(one, Mapping) and name != "labels":
            yield from _shares(one, here)


def _labels(level: str, labels: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = {"precision": "precision", "recall": "recall", "f": "F", "average_precision": "AP", "auc": "AUC"}
    table = _grid(f"label, {level}", "true", *columns.values(), "cal. error", left=1)
    for label, one in labels.items():
        cells = [_with_ends(one.get(name)) for name in (*columns, "calibration_error")]
        table.add_row(Text(label), f"{one.get('true', 0):,}", *cells)
    return table


def _breaks(document: Mapping[str, Any]) -> Iterator[Text]:
    """Per kind of clip, under which treatments it breaks and which it stands; nothing of what is not right anyway."""
    for kind, known in document["kinds"].items():
        broken, holds = [], []
        for one in document["treatments"]:
            line = one["lines"].get(kind)
            if line is not None and line["breaks"] is not None:
                broken.append(f"{one['name']} {one['levels'][line['breaks']]}")
            elif line is not None and line["verdict"] == "holds":
                holds.append(one["name"])
        named = f"{kind} ({100 * known['clean'][0]:.0f} % of {known['items']} untreated)"
        if known["items"] < document["least"]:
            yield Text(f"{named}: too few")
            continue
        right = known["clean"][0] >= document["bound"]
        told = f"{named} {'breaks' if right else 'is not right untreated; worse'} at {', '.join(broken) or 'nothing'}"
        yield Text(told + (f"; stands {', '.join(holds)}" if holds else ""))
    found = document.get("speech_over_music") or {"labels": {}}
    for label, one in found["labels"].items():
        levels = zip(found["levels_db"], one["f"], strict=True)
        yield Text(f"speech over music, F of {label}: " + ", ".join(f"{level:+d} dB {f:.2f}" for level, f in levels))


def _table(rows: Sequence[Mapping[str, Any]], *, most: int = _MOST_ROWS) -> Table:
    """Mappings as rows; an interval or a list becomes one cell, a mapping the value it is known by."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts = [name for name in names if any(isinstance(row.get(name), str | list) for row in rows)]
    table = _grid(*(_plain(name) for name in names), left=0)
    for column, name in zip(table.columns, names, strict=True):
        column.justify = "left" if name in texts else "right"
    for row in rows[:most]:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    if len(rows) > most:
        table.caption = f"and {len(rows) - most} more rows: --json"
        table.caption_justify = "left"
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        numbers = all(isinstance(one, int | float) for one in value)
        return "-".join(f"{one:.3g}" for one in value) if numbers else "; ".join(map(str, value))
    if isinstance(value, Mapping):
        known = value.get("f", value.get("share", value.get("value")))
        return _cell(known) if known is not None else ", ".join(f"{key} {_cell(one)}" for key, one in value.items())
    return str(value)


def _with_ends(figure: Any) -> str:
    """A figure and below it its interval, as short as eighty columns need it: `.91-.98`."""
    value, ends = (figure.get("value"), figure.get("over_sources")) if isinstance(figure, Mapping) else (figure, None)
    if value is None:
        return ""
    below = "-".join(f"{end:.2f}".removeprefix("0") for end in ends) if ends else ""
    return f"{value:.3f}" + (f"\n{below}" if below else "")


def _ends(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{100 * pair[0]:.1f}-{100 * pair[1]:.1f}"


def _plain(name: str) -> str:
    return str(name).replace("_", " ")


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _listed(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim" if any(len(name) > 1 for name, _ in pairs) else "", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in pairs:
        table.add_row(Text(name), Text(text))
    return table


def _grid(*columns: str, left: int) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="dim", padding=(0, 1))
    for at, name in enumerate(columns):
        table.add_column(name, justify="left" if at < left else "right", overflow="fold")
    return table
