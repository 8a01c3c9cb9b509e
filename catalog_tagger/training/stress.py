"""Speech over music, level by level: the product's hardest everyday case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from catalog_tagger.training.layers import Banks
from catalog_tagger.training.metrics import f_measure
from catalog_tagger.training.scenes import Scene, compose

RATIOS_DB: Final = (-15, -10, -5, 0, 5, 10, 15)


@torch.inference_mode()
def speech_over_music(
    banks: Banks, probabilities: Callable[[Tensor], Tensor], *, seed: int, examples: int
) -> list[dict[str, Any]]:
    """Precision, recall and F of both labels against the level of speech over music.

    At each ratio, `examples` scenes of both are the positives of both labels; as many scenes of
    music alone are the negatives of speech, and of speech alone those of music. Scenes are treated
    as in training: rooms, equalisers, effects, noise, any length.
    """
    rng = np.random.default_rng([seed, 77])
    alone = {kind: _decide(_draw(banks, kind, None, examples, rng), probabilities) for kind in ("speech", "music")}
    rows = []
    for ratio_db in RATIOS_DB:
        both = _decide(_draw(banks, "speech+music", float(ratio_db), examples, rng), probabilities)
        row: dict[str, Any] = {"speech_over_music_db": ratio_db, "examples": len(both)}
        for column, (label, negative) in enumerate((("speech", "music"), ("music", "speech"))):
            predicted = np.concatenate([both[:, column], alone[negative][:, column]])
            truth = np.arange(len(predicted)) < len(both)
            row[label] = {key: round(value, 4) for key, value in f_measure(predicted, truth).items()}
        rows.append(row)
    return rows


def _draw(banks: Banks, recipe: str, ratio_db: float | None, count: int, rng: np.random.Generator) -> list[Scene]:
    """Scenes whose labels are all certain and as the recipe says."""
    wanted = (float("speech" in recipe), float("music" in recipe))
    found: list[Scene] = []
    for _ in range(4 * count):
        scene = compose(banks, rng, recipe=recipe, ratio_db=ratio_db)
        if scene.target == wanted and scene.weight == (1.0, 1.0):
            found.append(scene)
        if len(found) == count:
            break
    return found


def _decide(scenes: list[Scene], probabilities: Callable[[Tensor], Tensor]) -> np.ndarray[Any, Any]:
    decided = []
    for start in range(0, len(scenes), 50):
        samples = np.stack([scene.samples for scene in scenes[start : start + 50]])
        decided.append(probabilities(torch.from_numpy(samples)).numpy() >= 0.5)
    return np.concatenate(decided) if decided else np.zeros((0, 2), bool)
