"""The paper's tables and ours, side by side.

`tables.json` holds a list of experiments: `experiment`, `title`, `where`, `figure`, `rows`, `order`
and `notes`. A row has `paper` (recall, precision, figure; per cent) and, once it has run, `ours` (the same, means over
seeds, with `low` and `high`, the 95 % interval of the figure over collections of the test, and
`seeds`, the figure of each) and `wrong`: of each test collection its `samples` and how many of them
are wrong, the mean over seeds. `order` has one entry per pair of rows that the paper tells apart:
`paper` and `ours` are differences of the figure, with our interval, and `agrees` is `yes` or `no`
where the interval leaves 0 out, else `undecided`. `tables.md` says the same for readers.

Recall and precision are those of speech (of women's voices in Experiment 1), by their usual
formulas; the paper swaps the two in its equation 2.15.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog_tagger.training.experiments.runner import Outcome, labels
from catalog_tagger.training.experiments.samples import Sets
from catalog_tagger.training.experiments.settings import Experiment, Row
from catalog_tagger.training.metrics import bootstrap, precision_recall_f_each

FloatArray = npt.NDArray[np.floating]
_FIGURES = {"f": "F", "right": "right"}


def compare(experiment: Experiment, outcomes: Mapping[str, Sequence[Outcome]], sets: dict[str, Sets]) -> dict[str, Any]:
    """One table as JSON.

    Parameters
    ----------
    outcomes
        Of every seed, by the name of the setting; none where it has not run.
    """
    rows = [_row(row, outcomes[row.setting.name], sets[row.setting.data], experiment.figure) for row in experiment.rows]
    order = []
    ran = [row for row in experiment.rows if outcomes[row.setting.name]]
    for first, second in combinations(ran, 2):
        if first.f is not None and second.f is not None and first.f != second.f:
            order.append(_pair(first, second, outcomes, sets, experiment.figure))
    return {
        "experiment": experiment.number,
        "title": experiment.title,
        "where": experiment.where,
        "figure": experiment.figure,
        "rows": rows,
        "order": order,
        "notes": list(experiment.notes),
    }


def _row(row: Row, outcomes: Sequence[Outcome], sets: Sets, figure: str) -> dict[str, Any]:
    told = {
        "label": row.label,
        "setting": row.setting.name,
        "paper": {"recall": row.recall, "precision": row.precision, "figure": row.f},
        "ours": None,
        "samples": {"train": len(sets.train), "validation": len(sets.validation), "test": len(sets.test)},
        "budget_seconds": 60 * row.setting.budget_minutes,
    }
    if not outcomes:
        return told
    ones = np.ones((1, len(sets.test)))
    each = np.stack([_figures(outcome, sets, ones, figure)[0] for outcome in outcomes])
    precision, recall, value = np.nan_to_num(each).mean(axis=0)
    low, high = bootstrap(lambda weights: _mean(outcomes, sets, weights, figure), _sources(sets))
    return {
        **told,
        "ours": {
            "recall": _per_cent(recall),
            "precision": _per_cent(precision),
            "figure": _per_cent(value),
            "low": _per_cent(low),
            "high": _per_cent(high),
            "seeds": [_per_cent(one[2]) for one in np.nan_to_num(each)],
        },
        "wrong": _wrong_by_collection(outcomes, sets),
        "parameters": outcomes[0].parameters,
        "epochs": round(float(np.mean([outcome.epochs for outcome in outcomes])), 1),
        "seconds": round(float(np.mean([outcome.seconds for outcome in outcomes])), 1),
    }


def _pair(
    first: Row, second: Row, outcomes: Mapping[str, Sequence[Outcome]], sets: dict[str, Sets], figure: str
) -> dict[str, Any]:
    """The difference of two rows that were tested on the same samples."""
    tested = sets[first.setting.data]

    def difference(weights: FloatArray) -> FloatArray:
        one, other = (_mean(outcomes[row.setting.name], tested, weights, figure) for row in (first, second))
        return one - other

    ours = float(difference(np.ones((1, len(tested.test))))[0])
    low, high = bootstrap(difference, _sources(tested))
    paper = float(first.f or 0.0) - float(second.f or 0.0)
    sure = low > 0 or high < 0
    return {
        "rows": [first.label, second.label],
        "paper": round(paper, 2),
        "ours": _per_cent(ours),
        "low": _per_cent(low),
        "high": _per_cent(high),
        "agrees": ("yes" if (ours > 0) == (paper > 0) else "no") if sure else "undecided",
    }


def _figures(outcome: Outcome, sets: Sets, weights: FloatArray, figure: str) -> FloatArray:
    """Precision, recall and the figure, (rounds, 3)."""
    said, truth = np.array(outcome.probability) >= 0.5, labels(sets.test) == 0
    found = np.array(precision_recall_f_each(said, truth, weights))
    if figure == "right":
        found[:, 2] = (weights @ (said == truth)) / weights.sum(axis=1)
    return found


def _mean(outcomes: Sequence[Outcome], sets: Sets, weights: FloatArray, figure: str) -> FloatArray:
    of_seeds = np.stack([_figures(outcome, sets, weights, figure)[:, 2] for outcome in outcomes])
    mean: FloatArray = of_seeds.mean(axis=0)
    return mean


def _wrong_by_collection(outcomes: Sequence[Outcome], sets: Sets) -> dict[str, dict[str, float]]:
    truth, sources = labels(sets.test) == 0, np.array(_sources(sets))
    wrong = np.mean([(np.array(one.probability) >= 0.5) != truth for one in outcomes], axis=0)
    return {
        str(source): {
            "samples": int((sources == source).sum()),
            "wrong": round(float(wrong[sources == source].sum()), 2),
        }
        for source in sorted(set(sources))
    }


def _sources(sets: Sets) -> list[str]:
    return [sample.source for sample in sets.test]


def _per_cent(value: float) -> float | None:
    return round(100 * float(value), 2) if np.isfinite(value) else None


def markdown(tables: Sequence[dict[str, Any]]) -> str:
    """All tables for readers."""
    parts = [
        "# Experiments 1 to 8, the paper's figures and ours",
        "Recall, precision and F of speech in per cent (Experiment 1: the share of samples that are right). Brackets "
        "hold the 95 % interval when whole collections of the test are drawn anew; the mean over seeds stands where "
        "there are several. Time is by the clock, one core that other work may share, front ends left out; a budget "
        "bounds it.",
        "The paper trains on 8 000 samples (40 000 in the large set) of as many sources, and tests on others of the "
        "same catalogue. Ours are fewer, and all test collections are strange to the training: an order is only said "
        "to hold, or not to hold, where it would do so on other collections as well. The intervals do not hold what "
        "another seed would change: compare the seeds.",
    ]
    for table in tables:
        name = _FIGURES[table["figure"]]
        parts.append(f"## Experiment {table['experiment']}: {table['title']} ({table['where']})")
        lines = [
            f"| | paper: recall | precision | {name} | ours: recall | precision | {name} | seeds | epochs | time |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in table["rows"]]
        parts.append("\n".join(lines))
        first = table["rows"][0]["samples"]
        parts.append(f"Samples: {first['train']} to train, {first['validation']} to validate, {first['test']} to test.")
        if table["order"]:
            parts.append(_order(table["order"]))
        parts.append(_hardest(table["rows"]))
        parts += table["notes"]
    return "\n\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    paper, ours = row["paper"], row["ours"]
    told = [_shown(paper[key]) for key in ("recall", "precision", "figure")]
    if ours is None:
        return (
            f"| {row['label']} | "
            + " | ".join([*told, *[""] * 5, f"not run; at most {row['budget_seconds']:.0f} s"])
            + " |"
        )
    told += [_shown(ours["recall"]), _shown(ours["precision"])]
    told.append(f"**{_shown(ours['figure'])}** ({_shown(ours['low'])}–{_shown(ours['high'])})")
    told.append(", ".join(_shown(one) for one in ours["seeds"]))
    told += [f"{row['epochs']:g}", f"{row['seconds']:.0f} s / {row['budget_seconds']:.0f} s"]
    return f"| {row['label']} | " + " | ".join(told) + " |"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _order(order: Sequence[dict[str, Any]]) -> str:
    counts = {answer: [one for one in order if one["agrees"] == answer] for answer in ("yes", "no", "undecided")}
    lines = [
        f"Order: of {len(order)} pairs the paper tells apart, {len(counts['yes'])} come out the same beyond what other "
        f"collections would change, {len(counts['no'])} the other way round, and {len(counts['undecided'])} these test "
        "collections do not tell apart."
    ]
    for pair in (*counts["no"], *counts["undecided"]):
        how = "the other way round" if pair["agrees"] == "no" else "not told apart"
        lines.append(
            f"- {pair['rows'][0]} against {pair['rows'][1]}, {how}: {pair['paper']:+.1f} in the paper, "
            f"{pair['ours']:+.1f} here ({_signed(pair['low'])} to {_signed(pair['high'])})"
        )
    return "\n".join(lines)


def _hardest(rows: Sequence[dict[str, Any]], most: int = 4) -> str:
    """The test collections with most wrong samples, over all rows."""
    ran = [row["wrong"] for row in rows if row["ours"]]
    shares = {name: [one[name] for one in ran if name in one] for name in {name for one in ran for name in one}}
    hardest = sorted(shares, key=lambda name: (-sum(one["wrong"] for one in shares[name]), name))[:most]
    told = [
        f"{name} ({' / '.join(_shown(100 * one['wrong'] / one['samples']) for one in shares[name])})"
        for name in hardest
    ]
    return f"Where most errors are, per cent wrong by row: {', '.join(told)}."


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def write_tables(tables: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write `tables.json` and `tables.md`, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("tables.json", json.dumps(list(tables), indent=1, ensure_ascii=False) + "\n"),
        ("tables.md", markdown(tables)),
    ):
        unfinished = folder / f"{name}.unfinished"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)
