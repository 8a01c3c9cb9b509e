"""Pictures as SVG text that follows the page's colours.

Matplotlib draws with colours that stand for the page's variables; they are replaced in its SVG, so
that one picture is right on light and on dark paper. Text stays text. The same data give the same
bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: colours that matplotlib draws with -> what they are in the page
_COLOURS: Final = {
    "#000001": "var(--ink)",
    "#000002": "var(--soft)",
    "#000003": "var(--line)",
    "#000011": "var(--c1)",
    "#000012": "var(--c2)",
    "#000013": "var(--c3)",
    "#000014": "var(--c4)",
    "#000015": "var(--bad)",
}
INK, SOFT, LINE, FIRST, SECOND, THIRD, FOURTH, BAD = _COLOURS
SERIES: Final = (FIRST, SECOND, THIRD, FOURTH)
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "catalog_tagger",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


@dataclass(frozen=True)
class Interval:
    """One line of `intervals`: a figure between its ends, in percent."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One curve of `curves`: values over places, in percent, with their ends."""

    name: str
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def reliability(bins: dict[str, list[list[float]]]) -> str:
    """Reliability diagrams side by side: what was promised against what was true, per label.

    Parameters
    ----------
    bins
        Per label, rows of [low, high, items, mean probability, share true].
    """
    columns = min(4, len(bins))
    rows = -(-len(bins) // columns)
    with _drawing(2.6 * columns, 2.5 * rows, rows=rows, columns=columns) as (picture, axes):
        for axis, (label, found) in zip(axes, bins.items(), strict=False):
            axis.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle="--")
            most = max((one[2] for one in found), default=1)
            axis.plot([one[3] for one in found], [one[4] for one in found], color=FIRST, linewidth=1.0)
            axis.scatter(
                [one[3] for one in found],
                [one[4] for one in found],
                s=[6 + 60 * one[2] / most for one in found],
                color=FIRST,
            )
            axis.set_title(label)
            axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        for axis in axes[len(bins) :]:
            axis.set_visible(False)
        picture.supxlabel("probability given", color=INK, fontsize=9)
        picture.supylabel("share true", color=INK, fontsize=9)
        return _svg(picture)


def intervals(lines: Sequence[Interval], *, title: str) -> str:
    """Figures with their intervals, one line each, the first on top."""
    lowest = min((one.low for one in lines), default=0.0)
    with _drawing(7.4, 0.7 + 0.24 * len(lines)) as (picture, (axis,)):
        places = range(len(lines), 0, -1)
        for place, one in zip(places, lines, strict=True):
            axis.plot(
                [one.low, one.high], [place, place], color=FIRST, linewidth=2.2, alpha=0.45, solid_capstyle="butt"
            )
            axis.plot(one.value, place, "o", color=FIRST, markersize=5)
        axis.set_yticks(list(places), [one.name for one in lines])
        axis.set(xlim=(max(-1.0, lowest - 3), 101), ylim=(0.3, len(lines) + 0.7))
        axis.set_title(title, loc="left")
        axis.grid(axis="y", visible=False)
        return _svg(picture)


def curves(
    found: Sequence[Curve],
    *,
    places: Sequence[str],
    title: str,
    figure: str = "right, %",
    clean: Sequence[float | None] | None = None,
    breaks: Sequence[int | None] | None = None,
    bound: float,
) -> str:
    """What becomes of figures as a treatment grows, each place a level.

    Parameters
    ----------
    found
        As many as there are `SERIES` at most.
    figure
        What the values are.
    clean
        Each curve's figure without treatment.
    breaks
        The place at which each curve breaks, None where it does not.
    bound
        A line that is drawn across.
    """
    nothing: list[None] = [None] * len(found)
    with _drawing(7.4, 2.7) as (picture, (axis,)):
        at = list(range(len(places)))
        lines = zip(SERIES[: len(found)], found, clean or nothing, breaks or nothing, strict=True)
        for colour, curve, plain, broken in lines:
            axis.fill_between(at, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
            axis.plot(at, curve.values, "o-", color=colour, label=curve.name)
            if plain is not None:
                axis.axhline(plain, color=colour, linewidth=0.9, linestyle=":")
            if broken is not None:
                axis.plot(broken, curve.values[broken], "s", markersize=10, markerfacecolor="none", color=BAD)
        axis.axhline(bound, color=SOFT, linewidth=0.8, linestyle="--")
        axis.set_xticks(at, list(places), rotation=30 if sum(map(len, places)) > 70 else 0)
        axis.set_ylim(-2, 102)
        axis.set_ylabel(figure)
        axis.set_title(title, loc="left")
        axis.legend(loc="lower left", fontsize=8)
        return _svg(picture)


@contextmanager
def _drawing(width: float, height: float, *, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        picture = Figure(figsize=(width, height), layout="constrained")
        grid = picture.subplots(rows, columns, squeeze=False)
        yield picture, list(grid.flat)


def _svg(picture: Figure) -> str:
    text = io.StringIO()
    picture.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for drawn, shown in _COLOURS.items():
        svg = svg.replace(drawn, shown)
    return re.sub(r"\n\s*", "\n", svg)
