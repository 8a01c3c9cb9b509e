"""A report as one HTML file that needs nothing else: style, script and data are in it.

Figures and tables are markup; flags and songs are JSON that the page's script draws as they come into view. Nothing is
loaded from anywhere, but a track's audio when it is played, which the page's own policy says (`_POLICY`). Whatever
comes from the catalogue is escaped, or text that the script sets as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from catalog_tagger.report.collect import STEP_S, Report, as_json

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "media-src 'self' file: http: https:; base-uri 'none'; form-action 'none'"
)


_TALKS: Final = "; connect-src 'self'"
_KEYS: Final = (
    "<p class=soft>Decisions are kept at once: <kbd>a</kbd> accepts, <kbd>d</kbd> dismisses, <kbd>u</kbd> takes back. "
    '<output id="kept" aria-live="polite"></output></p>'
)


def render(report: Report, *, review: bool = False) -> str:
    """The document; for `review` it sends decisions to where it comes from."""
    title = f"Report on {report.warehouse}"
    assets = files("catalog_tagger.report")
    style, script = (assets.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    data = as_json(
        {"flags": report.flags, "tracks": report.tracks, "shows": report.shows, "step": STEP_S, "review": review}
    )
    parts = [_figures(report), _runs(report), _heard(report), _quarantined(report), _agreement(report)]
    parts += [_flags(report, review=review), _shows(report)]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY + _TALKS if review else _POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        '<a class="skip" href="#flags-of-editors">Go to the flags</a>\n'
        f'<div class="top"><div><h1>{escape(title)}</h1>'
        f'<p class="soft">Made {escape(_when(report.made_at))} UTC.</p></div>'
        '<button type="button" id="theme">Light or dark</button></div>\n'
        f"<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>\n{script}</script>\n</body></html>\n'
    )


def _figures(report: Report) -> str:
    counts = report.counts
    to_do = sum(states.get(state, 0) for states in report.flag_counts.values() for state in ("new", "open"))
    figures = {
        "tracks tagged": f"{counts['tagged']:,}",
        "quarantined": f"{counts['quarantined']:,}",
        "hours of audio": _hours(counts["duration_s"]),
        "hours heard": _hours(counts["scanned_s"]),
        "tracks heard in part": f"{counts['in_part']:,}",
        "flags to look at": f"{to_do:,}",
    }
    return (
        '<dl class="figures">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in figures.items())
        + "</dl>"
    )


def _runs(report: Report) -> str:
    rows = [
        (
            run.run_id, run.kind, run.state, _when(run.started_at), run.tracks, run.tagged, run.quarantined,
            _hours(run.audio_s),
            None if not run.times_real_time else f"{run.times_real_time:,.0f}",
            None if run.machine_s is None else _hours(run.machine_s),
            None if run.cost is None else f"{run.cost:,.2f}",
        )
        for run in report.runs
    ]  # fmt: skip
    head = (
        "run",
        "kind",
        "state",
        "began (UTC)",
        "tracks",
        "tagged",
        "quarantined",
        "audio h",
        "x real time",
        "machine h",
        "cost",
    )
    return _section("Runs", _table(head, rows, text=4, kind="runs"))


def _heard(report: Report) -> str:
    types = [(kind, tracks, _hours(seconds), f"{sure:.2f}") for kind, tracks, seconds, sure in report.types]
    tables = [_table(("heard as", "tracks", "hours", "mean confidence"), types)] if types else []
    if report.voices:
        tables.append(_table(("voice", "tracks"), report.voices))
    if report.tags:
        tables.append(_table(("tag, in half of the track or more", "tracks"), report.tags))
    return _section("What is heard", f'<div class="columns">{"".join(tables)}</div>') if tables else ""


def _quarantined(report: Report) -> str:
    if not report.quarantined:
        return ""
    head = ("code", "meaning", "one of them", "its message", "tracks")
    rows = [(code, meaning, track, message, count) for code, meaning, count, track, message in report.quarantined]
    return _section("Quarantined", _table(head, rows, text=4))


def _agreement(report: Report) -> str:
    parts = []
    if report.noise:
        rows = [
            (field, current, true, tracks, f"{expected:,.1f}", f"{100 * expected / max(1, tracks):.1f} %")
            for field, current, true, tracks, expected in report.noise
        ]
        parts.append("<p>What tracks that carry a label are expected to be, by confident learning.</p>")
        parts.append(_table(("field", "label", "truly", "tracks with the label", "expected", "share"), rows, text=3))
    if report.precision:
        cuts = [
            (kind.replace("_", " "), field, flags, f"{100 * share:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %")
            for kind, field, flags, share, low, high in report.precision
        ]
        parts.append("<p>How many of the listed flags are expected to be right.</p>")
        parts.append(_table(("kind", "field", "flags", "expected right", "95 % interval"), cuts, text=2))
    return _section("Labels and audio", "".join(parts)) if parts else ""


def _flags(report: Report, *, review: bool) -> str:
    if not report.flag_counts:
        return _section(
            "Flags",
            "<p>None: nothing has been compared with metadata yet (catalog-tagger reconcile).</p>",
            name="flags-of-editors",
        )
    states = list(dict.fromkeys(state for counts in report.flag_counts.values() for state in counts))
    rows = [
        (kind.replace("_", " "), *(counts.get(state, 0) for state in states))
        for kind, counts in report.flag_counts.items()
    ]
    total = sum(sum(counts.values()) for counts in report.flag_counts.values())
    listed = (
        f"<p>The page lists {len(report.flags):,} of {total:,}: those to look at first, the surest first.</p>"
        if len(report.flags) < total
        else ""
    )
    options = "".join(
        f'<option value="{escape(kind)}">{escape(kind.replace("_", " "))}</option>' for kind in report.flag_counts
    )
    of_states = "".join(f'<option value="{escape(state)}">{escape(state)}</option>' for state in states)
    return _section(
        "Flags",
        _table(("kind", *states), rows)
        + listed
        + "<p class=soft>Keys: <kbd>j</kbd> and <kbd>k</kbd> to the next and the last one, "
        "<kbd>p</kbd> plays, <kbd>/</kbd> searches. A click in a timeline plays from there.</p>"
        + (_KEYS if review else "")
        + '<form class="filter" role="search" aria-label="flags">'
        f'<label>Kind <select name="kind"><option value="">all</option>{options}</select></label>'
        f'<label>State <select name="state"><option value="">all</option>{of_states}</select></label>'
        '<input name="text" type="search" placeholder="track, label or reason" aria-label="track, label or reason">'
        '<output id="count" aria-live="polite"></output></form>\n<div id="flags"></div>'
        "<noscript><p>The list of flags is drawn by a script; catalog-tagger sql has them, too.</p></noscript>",
        name="flags-of-editors",
    )


def _shows(report: Report) -> str:
    return _section("Songs inside other tracks", '<div id="shows"></div>') if report.shows else ""


def _section(title: str, content: str, *, name: str = "") -> str:
    anchor = f' id="{name}"' if name else ""
    return f"<section><h2{anchor}>{escape(title)}</h2>{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, text: int = 1, kind: str = "") -> str:
    """The first `text` columns stand to the left."""

    def side(at: int) -> str:
        return ' class="text"' if at < text else ""

    top = "".join(f'<th scope="col"{side(at)}>{escape(name)}</th>' for at, name in enumerate(head))
    lines = ["".join(f"<td{side(at)}>{_cell(value)}</td>" for at, value in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return escape(f"{value:,}" if isinstance(value, int) else str(value))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}"


def _when(at: str) -> str:
    return at[:16].replace("T", " ")
