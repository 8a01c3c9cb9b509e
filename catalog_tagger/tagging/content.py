"""From the scores of a track's segments to what the track is.

Let ``s`` and ``m`` be the shares of scanned seconds with speech and with music. A track is

- ``other``  if neither reaches a tenth,
- ``mixed``  if the smaller is at least a quarter of the larger,
- ``speech`` or ``music`` by the larger one otherwise.

A segment has speech where its calibrated probability exceeds a level ``u``. Errors of one track's
segments are not independent: a voice that fools the model fools it throughout. So the content type
is judged under full dependence: one ``u`` for all speech scores and one for all music scores of the
track, each uniform in (0, 1). The verdict is the most probable type, and its probability over both
levels, computed on a grid, is ``content_confidence``: near 1 where scores are sure, near 1/2 where one
of the two is 0.5 in every segment and near 1/4 where both are, however many segments there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CONTENT_TYPES: Final = ("music", "speech", "mixed", "other")
_PRESENT: Final = 0.1
_MIXED: Final = 0.25
_LEVELS: Final = (np.arange(64) + 0.5) / 64.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a track is, and how sure the scores are of it."""

    speech_fraction: float
    music_fraction: float
    content_type: str
    content_confidence: float


def judge(
    p_speech: npt.NDArray[np.float32], p_music: npt.NDArray[np.float32], seconds: npt.NDArray[np.float64]
) -> Verdict:
    """Judge a track.

    Parameters
    ----------
    p_speech, p_music
        Shape (segments,): calibrated probabilities.
    seconds
        Shape (segments,): seconds of audio in each, more than 0.
    """
    weights = np.asarray(seconds, dtype=np.float64) / np.sum(seconds)
    speech = _shares(p_speech, weights)[:, None]
    music = _shares(p_music, weights)[None, :]
    smaller, larger = np.minimum(speech, music), np.maximum(speech, music)
    other = larger < _PRESENT
    mixed = ~other & (smaller >= _MIXED * larger)
    probabilities = {
        "music": np.mean(~other & ~mixed & (music > speech)),
        "speech": np.mean(~other & ~mixed & (speech > music)),
        "mixed": np.mean(mixed),
        "other": np.mean(other),
    }
    content_type = max(CONTENT_TYPES, key=lambda kind: probabilities[kind])
    return Verdict(
        speech_fraction=float(weights @ (p_speech >= 0.5)),
        music_fraction=float(weights @ (p_music >= 0.5)),
        content_type=content_type,
        content_confidence=float(probabilities[content_type]),
    )


def _shares(p: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the weight whose score exceeds each level, shape (levels,)."""
    order = np.argsort(p)
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    shares: npt.NDArray[np.float64] = 1.0 - below[np.searchsorted(p[order], _LEVELS, side="right")]
    return shares
