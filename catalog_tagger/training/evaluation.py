"""A bundle measured on labelled clips: the document behind `evaluation.json` and `evaluation.html`.

The document is plain data: `format` (2), `bundle`, `fingerprint`, `task`, `labels`, `manifest` (its
name), `split`, `clips`, `hours`, `unlabelled` (clips of which nothing is known, which count nowhere),
`warnings` (sentences), `definitions` (words), `primary`, the figures of `figures.figures` under `figures`, those of
`figures.details` per level under `details`, and, with a second bundle, `against`: its name and
fingerprint, its own `figures`, and the tests of `comparison.compare` per level under `tests`. It holds
no time and no path: the same bundle on the same clips gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from catalog_tagger.audio import SAMPLE_RATE_HZ
from catalog_tagger.errors import UsageError, named
from catalog_tagger.models.bundle import Bundle
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.comparison import compare
from catalog_tagger.training.definitions import Definitions, definitions_of
from catalog_tagger.training.evaluate import Scores, score_against
from catalog_tagger.training.figures import details, figures
from catalog_tagger.training.items import ITEMS_IN_WORDS, Items
from catalog_tagger.training.manifest import Clip, read_manifest
from catalog_tagger.training.measure import ALL, decode, scorer_of, select
from catalog_tagger.training.pages import FORMATS
from catalog_tagger.training.prepare import Progress

_NAMED: Final = 3


@dataclass(frozen=True)
class Material:
    """Clips with their samples, and where they are from."""

    manifest: str
    split: str
    clips: Sequence[Clip]
    recordings: Sequence[Recording]

    @property
    def hours(self) -> float:
        """Of all clips."""
        return sum(one.pcm.size for one in self.recordings) / SAMPLE_RATE_HZ / 3600


def read_material(manifest: Path, *, split: str | None, cache_dir: Path, progress: Progress) -> Material:
    """Read a manifest and decode the clips of a split (kept under `cache_dir`).

    Without a split, that of `test` where there are such rows; else every row.

    Raises
    ------
    UsageError
        The manifest is not usable, has no such rows, or names a clip that cannot be decoded.
    """
    split, clips = choose(manifest, split=split)
    return Material(manifest.name, split, clips, decode(clips, cache_dir, progress=progress))


def choose(manifest: Path, *, split: str | None) -> tuple[str, Sequence[Clip]]:
    """The split that is used and its rows; see `read_material`."""
    if split is None:
        splits = {clip.split for clip in read_manifest(manifest)}
        split = "test" if "test" in splits else ALL
    return split, select(manifest, split=split)


def doubts(bundle: Bundle, clips: Sequence[Clip]) -> list[str]:
    """What speaks against taking the figures of these clips for those of clips never heard."""
    others = [clip for clip in clips if clip.split != "test"]
    if not others:
        return []
    trained = {row["source"] for row in bundle.card.get("training_sources") or ()}
    seen = sorted({clip.source for clip in others} & trained)
    found = [
        f"{len(others):,} of the {len(clips):,} clips are not of the split 'test': where {bundle.name} was trained on "
        "them, the figures say nothing of other recordings"
    ]
    if seen:
        found.append(f"{bundle.name} was trained on sources of these clips, by its card: {named(seen, most=_NAMED)}")
    return found


def silent_clips(bundle: Bundle, clips: Sequence[Clip], *, manifest: str) -> list[Clip]:
    """Those that say nothing of the bundle's labels, and count nowhere.

    Raises
    ------
    UsageError
        None says anything.
    """
    definitions = definitions_of(bundle)
    found = [clip for clip in clips if np.isnan(definitions.truth(clip)).all()]
    if len(found) == len(clips):
        raise UsageError(
            f"{manifest}: none of its {len(clips)} clips says anything of {', '.join(definitions.labels)}; "
            f"give them roles, genders or labels, as bundle {bundle.name} has them"
        )
    return found


def require_comparable(bundle: Bundle, against: Bundle | None = None) -> None:
    """Refuse what cannot be measured before any audio is heard.

    Raises
    ------
    UsageError
        The bundle has no labels, or the two have no task or label in common.
    """
    definitions_of(bundle)
    if against is not None:
        _rivals(bundle, against)


def evaluate_bundle(
    bundle: Bundle, material: Material, *, against: Bundle | None = None, progress: Progress
) -> dict[str, Any]:
    """Measure a bundle; returns the document.

    Raises
    ------
    UsageError
        No clip has a label that the bundle knows, or the two bundles cannot be compared.
    """
    definitions = definitions_of(bundle)
    rivals = None if against is None else _rivals(bundle, against)
    unlabelled = len(silent_clips(bundle, material.clips, manifest=material.manifest))
    scores = _hear(bundle, definitions, material, progress)
    levels = _levels(scores)
    document = {
        "format": FORMATS["evaluation"],
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "task": bundle.task,
        "labels": list(definitions.labels),
        "manifest": material.manifest,
        "split": material.split,
        "clips": len(material.clips),
        "hours": round(material.hours, 2),
        "unlabelled": unlabelled,
        "warnings": [one for of in (bundle, against) if of for one in doubts(of, material.clips)],
        "definitions": {**ITEMS_IN_WORDS, **definitions.words},
        "primary": definitions.primary,
        "figures": figures(definitions, segments=levels["segments"], clips=levels["clips"]),
        "details": {name: details(definitions, items) for name, items in levels.items()},
    }
    if against is not None and rivals is not None:
        mine, theirs = rivals
        same = mine.labels == definitions.labels
        one = levels if same else _levels(_hear(bundle, mine, material, progress))
        other = _levels(_hear(against, theirs, material, progress))
        document["against"] = {
            "bundle": against.name,
            "fingerprint": against.fingerprint,
            "labels": list(theirs.labels),
            "figures": figures(theirs, segments=other["segments"], clips=other["clips"]),
            "tests": {name: compare(mine, one[name], other[name]) for name in one},
        }
    return document


def _hear(bundle: Bundle, definitions: Definitions, material: Material, progress: Progress) -> Scores:
    return score_against(
        definitions,
        material.clips,
        material.recordings,
        scorer_of(bundle, definitions),
        progress=lambda done, of: progress(f"listening with {bundle.name}", done, of),
    )


def _levels(scores: Scores) -> dict[str, Items]:
    return {"segments": scores.segments(), "clips": scores.clips()}


def _rivals(bundle: Bundle, other: Bundle) -> tuple[Definitions, Definitions]:
    """Definitions of both, with one truth, on the labels that both have."""
    if bundle.task != other.task:
        raise UsageError(
            f"bundle {other.name} has the task {other.task}, {bundle.name} has {bundle.task}: nothing to compare"
        )
    labels = [label for label in bundle.labels if label in other.labels]
    if not labels:
        raise UsageError(f"bundles {bundle.name} and {other.name} have no label in common")
    return definitions_of(bundle, labels=labels), definitions_of(other, clips_of=bundle, labels=labels)
