"""The page of `training.robustness`'s document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from catalog_tagger.training.pages import html, plots


def stress_page(document: Mapping[str, Any]) -> str:
    """The whole page, ready to be written."""
    clips = sum(kind["items"] for kind in document["kinds"].values())
    title = f"{document['bundle']}: where it breaks"
    subtitle = (
        f"{document['task']}, {document['fingerprint']}; {clips} clips of {document['manifest']}, "
        f"split {document['split']}, seed {document['seed']}"
    )
    return html.page(title, subtitle, _parts(document))


def _parts(document: Mapping[str, Any]) -> Iterator[str]:
    kinds = document["kinds"]
    for warning in document["warnings"]:
        yield html.paragraph(f"Warning: {warning}.")
    yield html.heading("Untreated")
    yield html.table(
        ["kind", "clips", "sources", "right, %", "95 % (items)"],
        [
            [name, kind["items"], kind["sources"], html.percent(kind["clean"][0]), html.bracket(kind["clean"][1:])]
            for name, kind in kinds.items()
        ],
    )
    yield html.heading("Where it breaks")
    yield html.paragraph(
        f"The first level at which fewer are right than the interval of the untreated clips allows, or fewer than "
        f"{100 * document['bound']:.0f} % where untreated they reach that, with the share right there."
    )
    yield html.table(
        ["treatment", "from", "to", *kinds],
        [
            [
                one["name"],
                one["levels"][0],
                one["levels"][-1],
                *(_break(one["levels"], one["lines"].get(kind)) for kind in kinds),
            ]
            for one in document["treatments"]
        ],
        text_columns=3,
    )
    for skipped in document["skipped"]:
        yield html.paragraph(f"Not measured: {skipped['name']}; {skipped['why']}.", soft=True)
    for one in document["treatments"]:
        yield from _treatment(one, kinds, document["bound"])
    yield html.heading("What the words mean")
    yield html.words(document["words"])


def _break(levels: list[str], line: Mapping[str, Any] | None) -> html.Html:
    if line is None:
        return html.Html("")
    at = line["breaks"]
    if at is None:
        return html.Html("holds")
    return html.Html(f'<span class="bad">{levels[at]}</span> ({100 * line["shares"][at][0]:.0f} %)')


def _treatment(one: Mapping[str, Any], kinds: Mapping[str, Any], bound: float) -> Iterator[str]:
    yield html.heading(one["name"])
    lines = one["lines"]
    found = [
        plots.Curve(name, *([100 * share[part] for share in line["shares"]] for part in range(3)))
        for name, line in lines.items()
    ]
    yield html.figure(
        plots.curves(
            found,
            places=one["levels"],
            title=one["words"],
            clean=[100 * kinds[name]["clean"][0] for name in lines],
            breaks=[line["breaks"] for line in lines.values()],
            bound=100 * bound,
        )
    )
    yield html.table(
        ["right, %", "untreated", *one["levels"]],
        [
            [
                name,
                html.percent(kinds[name]["clean"][0]),
                *(
                    html.Html(f"{html.percent(share[0])}<small>{html.bracket(share[1:], decimals=0)}</small>")
                    for share in line["shares"]
                ),
            ]
            for name, line in lines.items()
        ],
    )
