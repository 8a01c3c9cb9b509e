"""Rows of the table, their ratios, and how they compare with a stored run.

A ratio is our figure over the peer's, round by round: its median and its spread are over rounds, not the ratio of two
medians. Spread is the lowest and the highest. A ratio has fallen when its highest of now is under its lowest of then:
with five rounds each, noise alone does that once in 252 times. Where either run has fewer than three rounds, the
medians must lie more than a tenth apart as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

TIMES_REAL_TIME: Final = "x"
_FEW_ROUNDS: Final = 3
_FEW_ROUNDS_TOLERANCE: Final = 0.1


@dataclass(frozen=True)
class Target:
    """What a ratio, or a figure without a peer, should be at least or at most."""

    bound: float
    kind: Literal["at least", "at most"] = "at least"

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.kind == "at least" else value <= self.bound

    def said(self, value: float | None) -> str:
        """With whether it holds."""
        text = f"{'≥' if self.kind == 'at least' else '≤'} {number(self.bound)}"
        return text if value is None else f"{text} {'holds' if self.holds(value) else 'MISSED'}"


@dataclass
class Row:
    """A line of the table: a figure, or why there is none, and perhaps what a peer has in its place."""

    section: str
    what: str
    figures: list[float] = field(default_factory=list)
    """One per round."""
    unit: str = TIMES_REAL_TIME
    peer: str = ""
    peer_figures: list[float] = field(default_factory=list)
    """One per round, in the same unit; empty where the peer could not be measured."""
    target: Target | None = None
    """Of the median ratio where a peer is named, else of the median figure."""
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours over the peer's, of each round."""
        return [ours / other for ours, other in zip(self.figures, self.peer_figures, strict=False)]

    @property
    def key(self) -> str:
        """The same in every run of the suite."""
        return f"{self.section}: {self.what}" + (f", against {self.peer}" if self.peer else "")

    def to_json(self) -> dict[str, Any]:
        """All of it, for a later comparison."""
        judged = self.ratios if self.peer else self.figures
        return {
            "key": self.key,
            "section": self.section,
            "what": self.what,
            "unit": self.unit,
            "figures": self.figures,
            "peer": self.peer,
            "peer_figures": self.peer_figures,
            "ratios": self.ratios,
            "target": self.target.said(statistics.median(judged) if judged else None) if self.target else "",
            "note": self.note,
        }


def number(value: float) -> str:
    """Whole above a hundred, three digits below."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def spread(values: Sequence[float]) -> str:
    """Lowest to highest; empty where there is one value."""
    return f"{number(min(values))} – {number(max(values))}" if len(values) > 1 else ""


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | median | lowest – highest | against | ratio | lowest – highest | target |", "|---" * 7 + "|"]
    for row in rows:
        ratios = row.ratios
        unit = "" if row.unit == TIMES_REAL_TIME else f" {row.unit}"
        figure = number(statistics.median(row.figures)) + unit if row.figures else ""
        peer = f"{row.peer} ({number(statistics.median(row.peer_figures))})" if row.peer_figures else row.peer
        if row.note:
            peer = f"{peer}: {row.note}" if peer else row.note
        judged = ratios if row.peer else row.figures
        target = row.target.said(statistics.median(judged) if judged else None) if row.target else ""
        ratio = number(statistics.median(ratios)) if ratios else ""
        cells = [f"{row.section}: {row.what}", figure, spread(row.figures) if row.figures else "", peer, ratio]
        lines.append(f"| {' | '.join([*cells, spread(ratios) if ratios else '', target])} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """A ratio then and now."""

    key: str
    then: list[float]
    now: list[float]

    @property
    def fell(self) -> bool:
        """Whether it is lower by more than the spreads explain."""
        if max(self.now) >= min(self.then):
            return False
        share = statistics.median(self.now) / statistics.median(self.then)
        return min(len(self.then), len(self.now)) >= _FEW_ROUNDS or share < 1.0 - _FEW_ROUNDS_TOLERANCE


def changes(rows: Sequence[Row], stored: Mapping[str, Any]) -> list[Change]:
    """Of every ratio that both runs have.

    Parameters
    ----------
    stored
        What an earlier run wrote with ``--json``.
    """
    before = {row["key"]: row["ratios"] for row in stored["rows"] if row["ratios"]}
    return [Change(row.key, before[row.key], row.ratios) for row in rows if row.ratios and row.key in before]


def comparison(found: Sequence[Change]) -> str:
    """Then and now as Markdown."""
    lines = ["| ratio | then | now | now / then | |", "|---" * 5 + "|"]
    for change in found:
        then, now = statistics.median(change.then), statistics.median(change.now)
        cells = [
            change.key,
            f"{number(then)} ({spread(change.then) or 'one round'})",
            f"{number(now)} ({spread(change.now) or 'one round'})",
            f"{now / then:.2f}",
            "FELL" if change.fell else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    fallen = sum(change.fell for change in found)
    return "\n".join([*lines, "", f"{fallen} of {len(found)} ratios fell by more than the spreads explain"])
