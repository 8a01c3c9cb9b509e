"""The page of `training.robustness`'s document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from catalog_tagger.training.pages import html, plots

#: what is asked of both outputs, in percent
_TARGET_F: Final = 95.0


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
        f"{100 * document['bound']:.0f} %, with the share right there. Of kinds that do not reach that untreated, and "
        f"of fewer than {document['least']} clips, nothing holds."
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
    if document.get("speech_over_music"):
        yield from _over_music(document["speech_over_music"])
    for one in document["treatments"]:
        yield from _treatment(one, document["bound"])
    yield html.heading("What the words mean")
    yield html.words(document["words"])


def _break(levels: list[str], line: Mapping[str, Any] | None) -> html.Html:
    if line is None:
        return html.Html("")
    at = line["breaks"]
    if at is None:
        return html.Html(line["verdict"])
    worse = f"{line['verdict']}; worse at " if line["verdict"] != "breaks" else ""
    return html.Html(f'{worse}<span class="bad">{levels[at]}</span> ({100 * line["shares"][at][0]:.0f} %)')


def _over_music(found: Mapping[str, Any]) -> Iterator[str]:
    yield html.heading("speech over music")
    yield html.paragraph(
        f"{found['pairs']} pairs out of {found['sources']['speech']} sources of speech and {found['sources']['music']} "
        "of music; the negatives of speech are the same music alone, those of music the same speech alone. Between "
        "brackets: 95 %, whole collections drawn anew."
    )
    levels = [f"{level:+d} dB".replace("-", "\u2212") for level in found["levels_db"]]
    percent = {label: [100 * value for value in one["f"]] for label, one in found["labels"].items()}
    ends = {
        label: [pair or (value, value) for value, pair in zip(one["f"], one["over_sources"], strict=True)]
        for label, one in found["labels"].items()
    }
    yield html.figure(
        plots.curves(
            [
                plots.Curve(label, values, *([100 * pair[end] for pair in ends[label]] for end in range(2)))
                for label, values in percent.items()
            ],
            places=levels,
            title="F at a threshold of 0.5, by the level of speech over music",
            figure="F, %",
            bound=_TARGET_F,
        )
    )
    yield html.table(
        ["F, %", *levels],
        [
            [
                label,
                *(
                    html.Html(f"{html.percent(value)}<small>{html.bracket(pair)}</small>")
                    for value, pair in zip(one["f"], one["over_sources"], strict=True)
                ),
            ]
            for label, one in found["labels"].items()
        ],
    )


def _treatment(one: Mapping[str, Any], bound: float) -> Iterator[str]:
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
            clean=[100 * line["clean"][0] for line in lines.values()],
            breaks=[line["breaks"] for line in lines.values()],
            bound=100 * bound,
        )
    )
    yield html.table(
        ["right, %", "untreated", *one["levels"]],
        [
            [
                name,
                html.percent(line["clean"][0]),
                *(
                    html.Html(f"{html.percent(share[0])}<small>{html.bracket(share[1:], decimals=0)}</small>")
                    for share in line["shares"]
                ),
            ]
            for name, line in lines.items()
        ],
    )
