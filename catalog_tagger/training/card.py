"""What a bundle says of itself: data, figures, limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from catalog_tagger.training.config import TrainingConfig
from catalog_tagger.training.definitions import SpeechMusicDefinitions
from catalog_tagger.training.items import ITEMS_IN_WORDS
from catalog_tagger.training.manifest import Clip

#: of the bundle that tells speech and music
DEFINITIONS: Final = {**ITEMS_IN_WORDS, **SpeechMusicDefinitions.words}


def make_card(
    *,
    config: TrainingConfig,
    about: Mapping[str, Any],
    figures: dict[str, Any],
    parameters: int,
    minutes: float,
    machine: str,
    started_from: str | None,
    doubts: Sequence[str] = (),
) -> dict[str, Any]:
    """The card of a bundle, ready for JSON.

    `about` is what the task says of itself and of its data: `purpose`, `definitions`,
    `training_sources`, `validation_sources`; `doubts`, what the training itself found wanting, are
    limits beside those that the configuration names.
    """
    return {
        "purpose": about["purpose"],
        "notes": config.notes,
        "limits": [*config.limits, *doubts],
        "parameters": parameters,
        "training": {
            "minutes": round(minutes, 1),
            "machine": machine,
            "started_from": started_from,
            "seed": config.seed,
            "config": config.model_dump(mode="json", exclude={"manifest", "notes", "limits"}),
        },
        "definitions": about["definitions"],
        "figures": figures,
        "training_sources": about["training_sources"],
        "validation_sources": about["validation_sources"],
    }


def sources(clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """One row per source and role: clips, minutes, licences."""
    grouped: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        grouped[clip.source, clip.role].append(clip)
    return [
        {
            "source": source,
            "role": role,
            "clips": len(found),
            "minutes": round(sum(clip.duration_s for clip in found) / 60, 1),
            "licences": sorted({clip.licence for clip in found if clip.licence}),
        }
        for (source, role), found in sorted(grouped.items())
    ]
