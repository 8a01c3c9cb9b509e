"""How often a network is right, by definitions that are written down.

A clip is cut in segments as the tagging job cuts it. A segment of a speech clip in which less than
`PAUSE_S` is above the clip's gate holds no speech: it is left out of the segments' figures. A
clip's probabilities are the mean of those of all its segments, weighted by their length.

- *two-class*: of a speech or music item, the probability of its label is the larger of the two.
- *presence*: both outputs are on the right side of 0.5: speech alone, music alone; neither for
  noise and effects. Items of which the collection does not say (lone instrument notes, excluded
  labels) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import SEGMENT_SAMPLES, cut_segments, pcm_to_float
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.metrics import calibration_error, share
from catalog_tagger.training.prepare import kind_of, matches

Float32Array = npt.NDArray[np.float32]
PAUSE_S: Final = 0.2
_BATCH: Final = 32
Scorer = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Scores:
    """What a network says of clips.

    Attributes
    ----------
    values
        Per segment, (segments, 2).
    clip
        To which clip a segment belongs, [shape=(segments,)].
    seconds
        Length of each segment without its padding.
    voiced
        False for a segment of a speech clip that is a pause.
    truth
        Per clip (speech, music); NaN where the collection does not say.
    sources
        Per clip.
    """

    values: Float32Array
    clip: npt.NDArray[np.int64]
    seconds: Float32Array
    voiced: npt.NDArray[np.bool_]
    truth: Float32Array
    sources: tuple[str, ...]

    def of_clips(self) -> Float32Array:
        """Mean over the segments of each clip, weighted by their length, (clips, 2)."""
        total = np.zeros((len(self.sources), self.values.shape[1]))
        np.add.at(total, self.clip, self.values * self.seconds[:, None])
        length = np.bincount(self.clip, weights=self.seconds, minlength=len(self.sources))
        return (total / np.maximum(length, 1e-9)[:, None]).astype(np.float32)


def truth_of(clip: Clip, config: ClipConfig) -> tuple[float, float]:
    """What a clip's collection says of (speech, music); NaN where it does not."""
    if matches(clip, config.exclude):
        return float("nan"), float("nan")
    known = {"speech": (1.0, 0.0), "music": (0.0, 1.0), "singing": (0.0, 1.0), "noise": (0.0, 0.0)}
    return known.get(kind_of(clip, config), (0.0, float("nan")))


@torch.inference_mode()
def score(clips: Sequence[Clip], recordings: Sequence[Recording], scorer: Scorer, config: ClipConfig) -> Scores:
    """Run `scorer`, waveforms (batch, 80000) to (batch, 2), over all segments of the clips."""
    values: list[Float32Array] = []
    owner: list[int] = []
    seconds: list[float] = []
    voiced: list[bool] = []
    waiting: list[Float32Array] = []

    def run() -> None:
        if waiting:
            values.append(scorer(torch.from_numpy(np.stack(waiting))).numpy())
            waiting.clear()

    for index, (clip, recording) in enumerate(zip(clips, recordings, strict=True)):
        left = recording.pcm.size
        for segment in cut_segments(recording.pcm):
            waiting.append(pcm_to_float(segment))
            owner.append(index)
            seconds.append(min(left, SEGMENT_SAMPLES) / 16_000)
            left -= SEGMENT_SAMPLES
            loud = int((frame_levels_db(waiting[-1]) > recording.gate_db).sum())
            needed = min(PAUSE_S, 0.3 * seconds[-1]) * 16_000 / LEVEL_HOP_SAMPLES
            voiced.append(clip.role != "speech" or loud >= needed)
            if len(waiting) == _BATCH:
                run()
    run()
    return Scores(
        values=np.concatenate(values) if values else np.zeros((0, 2), np.float32),
        clip=np.array(owner, np.int64),
        seconds=np.array(seconds, np.float32),
        voiced=np.array(voiced, bool),
        truth=np.array([truth_of(clip, config) for clip in clips], np.float32).reshape(-1, 2),
        sources=tuple(clip.source for clip in clips),
    )


def right_two_class(values: Float32Array, truth: Float32Array) -> npt.NDArray[np.bool_]:
    """Whether the larger output is the label's; only meaningful where exactly one is true."""
    return np.asarray((values[:, 0] > values[:, 1]) == (truth[:, 0] > truth[:, 1]))


def right_presence(values: Float32Array, truth: Float32Array) -> npt.NDArray[np.bool_]:
    """Whether both outputs are on the right side of 0.5."""
    return np.asarray(((values >= 0.5) == (truth >= 0.5)).all(axis=1))


def report(scores: Scores) -> dict[str, Any]:
    """All figures of a set of clips, ready for JSON.

    `two_class` and `presence` of segments and clips with their intervals, `neither` for the items
    that hold neither, calibration error per label, and one row per source and kind of truth.
    """
    of_clips = scores.of_clips()
    levels = {
        "segments": (scores.values, scores.truth[scores.clip], scores.clip, scores.voiced),
        "clips": (of_clips, scores.truth, np.arange(len(of_clips)), np.ones(len(of_clips), bool)),
    }
    answer: dict[str, Any] = {"sources": _by_source(levels, scores.sources)}
    for name, (values, truth, clip, used) in levels.items():
        sources = np.array(scores.sources)[clip]
        known = used & ~np.isnan(truth).any(axis=1)
        single = known & (truth.sum(axis=1) == 1)
        neither = known & (truth.sum(axis=1) == 0)
        two_class, presence = right_two_class(values, truth), right_presence(values, truth)
        answer[name] = {
            "two_class": share(list(two_class[single]), list(sources[single])).to_json(),
            "presence_of_speech_and_music": share(list(presence[single]), list(sources[single])).to_json(),
            "neither": share(list(presence[neither]), list(sources[neither])).to_json(),
            "presence": share(list(presence[known]), list(sources[known])).to_json(),
            "calibration_error": {
                label: round(calibration_error(values[known, column], truth[known, column]), 4)
                for column, label in enumerate(("speech", "music"))
            },
        }
    return answer


def _by_source(
    levels: dict[str, tuple[Float32Array, Float32Array, npt.NDArray[np.int64], npt.NDArray[np.bool_]]],
    sources: tuple[str, ...],
) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, (values, truth, clip, used) in levels.items():
        of = np.array(sources)[clip]
        known = used & ~np.isnan(truth).any(axis=1)
        presence, two_class = right_presence(values, truth), right_two_class(values, truth)
        for kind, column in (("speech", (1.0, 0.0)), ("music", (0.0, 1.0)), ("neither", (0.0, 0.0))):
            is_kind = known & (truth == np.array(column)).all(axis=1)
            for source in sorted(set(of[is_kind])):
                here = is_kind & (of == source)
                row = rows.setdefault((kind, source), {"truth": kind, "source": str(source)})
                row[name] = int(here.sum())
                row[f"{name}_presence"] = round(float(presence[here].mean()), 4)
                if kind != "neither":
                    row[f"{name}_two_class"] = round(float(two_class[here].mean()), 4)
    return [rows[key] for key in sorted(rows)]
