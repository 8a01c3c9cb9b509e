"""From the scores of a track's segments to whose voice is heard in it.

Let `voiced` be the segments whose p_voice reaches `voice_at`. A track of which they are less than
`voiced_share` is voiceless, and the gender of its voice `unknown`. Otherwise it is

- ``mixed``   if women and men each speak in `mixed_share` of the voiced seconds, and for
              `mixed_seconds` at least: less can be one wrong segment;
- ``female`` or ``male`` otherwise.

How sure: whether there is a voice, and whether there are two, is judged as `content.judge` judges,
under full dependence: a segment counts where its score exceeds one level `u` for the whole track,
uniform in (0, 1), and a probability is the share of levels. The rest is divided between female and
male by the mean log odds of the voiced segments, times ``n / (1 + (n - 1) * correlation)``: what
`n` equally correlated witnesses are worth (n by Kish's effective size, where segments differ in
length and in p_voice). One segment gives its own probability; more that agree make it surer, up to
``1 / correlation`` times the log odds, since errors of one voice's segments are not independent.

Where the most probable answer stays below `abstain_below` the verdict is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

VOICE_GENDERS: Final = ("female", "male", "mixed", "unknown")
_LEVELS: Final = (np.arange(64) + 0.5) / 64.0
_SUREST: Final = 1e-3

#: What a bundle's `decision` may say, and what holds where it says nothing.
DECISION: Final[dict[str, float]] = {
    "abstain_below": 0.7,
    "voice_at": 0.5,
    "voiced_share": 0.1,
    "mixed_share": 0.2,
    "mixed_seconds": 6.0,
    "correlation": 0.5,
}


@dataclass(frozen=True, kw_only=True)
class VoiceVerdict:
    """Whose voice a track has, and how probable that is.

    The confidence of ``unknown`` is the probability that nobody speaks or, where somebody does,
    that the best answer would have been wrong.
    """

    voice_gender: str
    confidence: float


def judge_voice(
    p_female: npt.NDArray[np.float32],
    p_voice: npt.NDArray[np.float32],
    seconds: npt.NDArray[np.float64],
    decision: Mapping[str, float],
) -> VoiceVerdict:
    """Judge a track.

    Parameters
    ----------
    p_female, p_voice
        Shape (segments,): calibrated probabilities; p_female means nothing where nobody speaks.
    seconds
        Shape (segments,): seconds of audio in each, more than 0.
    decision
        Thresholds, as in `DECISION`, which stands in for those that are absent.
    """
    rule = {**DECISION, **decision}
    lengths = np.asarray(seconds, dtype=np.float64)
    female, voice = np.asarray(p_female, np.float64), np.asarray(p_voice, np.float64)
    voiceless = float(np.mean(_share_above(voice, lengths) < rule["voiced_share"]))
    voiced = voice >= rule["voice_at"]
    if lengths @ voiced < rule["voiced_share"] * lengths.sum() or not voiced.any():
        return VoiceVerdict(voice_gender="unknown", confidence=max(voiceless, 1.0 - float(voice.max())))
    female, weights = female[voiced], lengths[voiced] * voice[voiced]
    mixed = _mixed(female, lengths[voiced], rule)
    one = _one_voice(female, weights, rule["correlation"])
    probabilities = {"female": (1 - mixed) * one, "male": (1 - mixed) * (1 - one), "mixed": mixed}
    answer = max(probabilities, key=lambda key: probabilities[key])
    if probabilities[answer] < rule["abstain_below"]:
        return VoiceVerdict(voice_gender="unknown", confidence=1.0 - probabilities[answer])
    return VoiceVerdict(voice_gender=answer, confidence=probabilities[answer])


def _mixed(female: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64], rule: Mapping[str, float]) -> float:
    total = float(seconds.sum())
    share = _share_above(female, seconds)
    fewer = np.minimum(share, 1.0 - share)
    return float(np.mean((fewer >= rule["mixed_share"]) & (fewer * total >= rule["mixed_seconds"])))


def _one_voice(female: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], correlation: float) -> float:
    """Probability that the one voice is a woman's."""
    clipped = np.clip(female, _SUREST, 1 - _SUREST)
    log_odds = float(weights @ np.log(clipped / (1 - clipped)) / weights.sum())
    n = float(weights.sum() ** 2 / np.square(weights).sum())
    return float(1 / (1 + np.exp(-log_odds * n / (1 + (n - 1) * correlation))))


def _share_above(p: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the seconds whose score exceeds each level, shape (levels,)."""
    order = np.argsort(p)
    below = np.concatenate([[0.0], np.cumsum(seconds[order])])
    shares: npt.NDArray[np.float64] = 1.0 - below[np.searchsorted(p[order], _LEVELS, side="right")] / below[-1]
    return shares
