"""The page of `training.evaluation`'s document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from catalog_tagger.training.figures import MEANS, PER_LABEL
from catalog_tagger.training.pages import html, plots

_MOST_DIAGRAMS: Final = 12
_INTERVALS: Final = {
    "sources": "Whole sources are drawn anew; a figure whose items come from one source has none.",
    "recordings": "All clips are of one source: whole recordings and voices are drawn anew, which says how the figures "
    "would move on more of this source, not on others.",
}
_TITLES: Final = {
    "precision": "precision",
    "recall": "recall",
    "f": "F",
    "average_precision": "AP",
    "map": "mAP",
    "auc": "AUC",
    "d_prime": "d′",
    "calibration_error": "cal. error",
    "map_at_3": "MAP@3",
}


def evaluation_page(document: Mapping[str, Any]) -> str:
    """The whole page, ready to be written."""
    title = f"{document['bundle']}: how often it is right"
    subtitle = (
        f"{document['task']}, {document['fingerprint']}; {document['clips']:,} clips, {document['hours']:.1f} h "
        f"of {document['manifest']}, split {document['split']}"
    )
    return html.page(title, subtitle, _parts(document))


def _parts(document: Mapping[str, Any]) -> Iterator[str]:
    figures, words = document["figures"], document["definitions"]
    names = [
        name for name in words if isinstance(figures["clips"].get(name), dict) and "wilson" in figures["clips"][name]
    ]
    for warning in document["warnings"]:
        yield html.paragraph(f"Warning: {warning}.")
    if document["unlabelled"]:
        yield html.paragraph(
            f"{document['unlabelled']:,} clips say nothing of its labels and count nowhere.", soft=True
        )
    yield html.heading("In short")
    yield html.table(
        ["definition", "level", "of", "right, %", "95 % (items)", f"95 % ({figures['over']})"],
        [
            [
                name.replace("_", " "),
                level,
                figures[level][name]["of"],
                html.percent(figures[level][name]["right"] / figures[level][name]["of"]),
                html.bracket(figures[level][name]["wilson"]),
                html.bracket(figures[level][name]["over_sources"]),
            ]
            for name in names
            for level in ("segments", "clips")
            if figures[level][name]["of"]
        ],
        text_columns=2,
    )
    yield html.figure(plots.intervals(_lines(figures["clips"], names), title="clips, right in %, with 95 % intervals"))
    for level in ("segments", "clips"):
        yield html.heading(f"Labels, {level}")
        yield _labels(figures[level], figures["over"])
    yield html.paragraph(f"At a threshold of 0.5; small: 95 % intervals. {_INTERVALS[figures['over']]}", soft=True)
    yield html.paragraph("d′ of the mean is that of the mean AUC.", soft=True)
    yield from _calibration(document)
    yield from _confusion(document)
    if "against" in document:
        yield from _comparison(document)
    yield from _sources(figures["sources"], "source", "Sources, the worst first")
    if figures.get("languages"):
        yield from _sources(figures["languages"], "language", "Languages, the worst first")
    yield html.heading("What the words mean")
    yield html.words({name.replace("_", " "): text for name, text in words.items()})


def _lines(level: Mapping[str, Any], names: list[str]) -> list[plots.Interval]:
    """Over what is drawn anew where there are several, else over items."""
    found = []
    for name in names:
        one = level[name]
        if one["of"]:
            low, high = one["over_sources"] or one["wilson"]
            found.append(plots.Interval(name.replace("_", " "), 100 * one["share"], 100 * low, 100 * high))
    return found


def _labels(level: Mapping[str, Any], over: str) -> str:
    rows = []
    for label, one in level["labels"].items():
        rows.append([label, one["true"], one["known"], *(html.with_interval(**_ends(one[name])) for name in PER_LABEL)])
    mean = level["mean"]
    of_all = {**{name: mean.get(name) for name in PER_LABEL}, "average_precision": mean["map"]}
    rows.append(["mean", None, None, *(html.with_interval(**_ends(of_all[name])) for name in PER_LABEL)])
    table = html.table(["label", "true", "known", *(_TITLES[name] for name in PER_LABEL)], rows)
    rank = mean[MEANS[-1]]
    if rank["value"] is None:
        return table
    ends = html.bracket(rank["over_sources"], scale=1, decimals=3)
    return table + html.paragraph(f"MAP@3 {rank['value']:.3f}" + (f" ({ends} over {over})" if ends else ""))


def _ends(figure: Mapping[str, Any] | None) -> dict[str, Any]:
    figure = figure or {"value": None, "over_sources": None}
    return {"value": figure["value"], "low_high": figure["over_sources"]}


def _calibration(document: Mapping[str, Any]) -> Iterator[str]:
    bins = document["details"]["segments"]["reliability"]
    common = sorted(bins, key=lambda label: -document["figures"]["segments"]["labels"][label]["true"])
    shown = {label: bins[label] for label in bins if bins[label] and label in common[:_MOST_DIAGRAMS]}
    if shown:
        yield html.heading("Do its probabilities mean what they say?")
        yield html.paragraph(
            "Segments by probability, a larger point for more of them; on the dashed line they mean what they say."
        )
        yield html.figure(plots.reliability(shown))


def _confusion(document: Mapping[str, Any]) -> Iterator[str]:
    yield html.heading("What is taken for what")
    for level in ("segments", "clips"):
        confusion = document["details"][level]["confusion"]
        if any(map(any, confusion["counts"])):
            yield html.heading(level, level=3)
            yield html.matrix(confusion["classes"], confusion["counts"])


def _comparison(document: Mapping[str, Any]) -> Iterator[str]:
    against = document["against"]
    yield html.heading(f"Against {against['bundle']} ({against['fingerprint']})")
    rows = []
    for level, tests in against["tests"].items():
        for quantity in ("right", "squared_error"):
            for over in ("items", "sources"):
                test = tests[quantity][over]
                if test is not None:
                    rows.append(
                        [
                            f"{quantity.replace('_', ' ')}, {level}",
                            tests[quantity]["one"],
                            tests[quantity]["other"],
                            f"{test['items']:,} {level if over == 'items' else 'sources'}",
                            test["difference"],
                            html.bracket(test["interval"], scale=1, decimals=3),
                            "∞" if test["t"] is None else f"{test['t']:.2f}",
                            f"{test['p']:.2g}",
                        ]
                    )
    yield html.table(["quantity", document["bundle"], against["bundle"], "over", "difference", "95 %", "t", "p"], rows)
    yield html.paragraph(
        f"Paired t-tests of the same items; right by: {document['definitions'][document['primary']]}. Tests over "
        "segments or clips take them as independent, which those of one source are not; those over sources do not.",
        soft=True,
    )


def _sources(rows: list[dict[str, Any]], key: str, title: str) -> Iterator[str]:
    names = [
        name.removeprefix("clips_")
        for name in dict.fromkeys(name for row in rows for name in row)
        if name.startswith("clips_")
    ]
    if not rows or not names:
        return
    ordered = sorted(
        rows, key=lambda row: (min((row.get(f"clips_{name}", 1.0) for name in names), default=1.0), row[key])
    )
    yield html.heading(title)
    head = [key, "truth"]
    for level in ("segments", "clips"):
        head += [level, *(f"{name.replace('_', ' ')}, %" for name in names)]
    yield html.table(
        head,
        [
            [row[key], row["truth"], *(cell for level in ("segments", "clips") for cell in _shares(row, level, names))]
            for row in ordered
        ],
        text_columns=2,
    )


def _shares(row: Mapping[str, Any], level: str, names: list[str]) -> list[html.Cell]:
    return [row.get(level), *(html.percent(row.get(f"{level}_{name}")) for name in names)]
