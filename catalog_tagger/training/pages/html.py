"""A page out of headings, paragraphs, tables and pictures; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

#: What a cell can be: text, a number, or nothing.
Cell = str | float | None

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5d6778;--line:#d9dee6;--paper:#fff;--band:#f4f6f9;
--c1:#2463b4;--c2:#c2571a;--c3:#2c8a57;--c4:#7a4ea3;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b5;--line:#343c49;--paper:#14181f;
--band:#1c222b;--c1:#7db1f5;--c2:#f0a06a;--c3:#7fd0a3;--c4:#c3a1ea;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:2rem 1.2rem 4rem;color:var(--ink);background:var(--paper);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.12rem;margin:2.2rem 0 .5rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{margin:.3rem 0 .7rem;max-width:46rem}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.3rem 0 .8rem}
th,td{padding:.18rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.text{text-align:left}th:first-child,td:first-child{padding-left:.2rem}th{color:var(--soft);font-weight:600;vertical-align:bottom}
tbody tr:nth-child(even){background:var(--band)}small{color:var(--soft);display:block;line-height:1.2}
.bad{color:var(--bad);font-weight:600}figure{margin:.4rem 0 1rem}svg{max-width:100%;height:auto}
.turned th:not(:first-child){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;padding:.4rem .1rem}
.cells td{text-align:center;padding:.15rem .35rem;min-width:2rem}dt{font-weight:600}dd{margin:0 0 .4rem 1rem}
@media print{body{max-width:none}}
"""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """A whole document."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(subtitle)}</p>\n{body}\n</body></html>\n'
    )


def heading(text: str, *, level: int = 2) -> Html:
    """A heading."""
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(text: str, *, soft: bool = False) -> Html:
    """A paragraph."""
    return Html(f"<p{' class=soft' if soft else ''}>{text if isinstance(text, Html) else escape(text)}</p>")


def words(pairs: dict[str, str]) -> Html:
    """Terms and what they mean."""
    return Html(
        "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in pairs.items()) + "</dl>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: int = 1) -> Html:
    """Rows under their names; the first `text_columns` stand to the left.

    A cell is `Html`, text, a number (three decimals) or None, which stays empty.
    """
    kinds = [" class=text" if 0 < at < text_columns else "" for at in range(len(head))]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    lines = []
    for row in rows:
        cells = "".join(f"<td{kind}>{_cell(value)}</td>" for kind, value in zip(kinds, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return Html(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>')


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """Counts with rows of truth; a cell is as strong as its share of its row."""
    turned = " turned" if len(names) > 6 else ""
    top = "<th>truth \\ heard as</th>" + "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = []
    for name, row in zip(names, counts, strict=True):
        total = max(sum(row), 1)
        cells = "".join(
            f'<td style="background:color-mix(in srgb,var(--c{1 if names[at] == name else 2}) '
            f'{round(70 * count / total)}%,transparent)">{count or ""}</td>'
            for at, count in enumerate(row)
        )
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return Html(
        f'<div class="wide"><table class="cells{turned}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(svg: str) -> Html:
    """A picture."""
    return Html(f"<figure>{svg}</figure>")


def percent(share: float | None) -> Html:
    """A share in percent with one decimal."""
    return Html("" if share is None else f"{100 * share:.1f}")


def number(value: float | str, *, decimals: int = 3) -> str:
    """A figure as documents hold it, infinite ones (the texts "inf" and "-inf") among them."""
    text = f"{float(value):.{decimals}f}"
    return text.replace("inf", "\u221e").replace("-\u221e", "\u2212\u221e")


def bracket(low_high: Sequence[float | str] | None, *, scale: float = 100.0, decimals: int = 1) -> str:
    """An interval as ``low-high``; empty where there is none."""
    if low_high is None:
        return ""
    low, high = (number(scale * float(end), decimals=decimals) for end in low_high)
    return f"{low}\u2013{high}"


def with_interval(value: float | str | None, low_high: Sequence[float | str] | None, *, decimals: int = 3) -> Html:
    """A figure and, smaller below it, its interval."""
    if value is None:
        return Html("")
    ends = bracket(low_high, scale=1.0, decimals=decimals)
    return Html(number(value, decimals=decimals) + (f"<small>{ends}</small>" if ends else ""))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(f"{value:,}" if isinstance(value, int) else str(value))
