"""What a network says of clips, segment by segment, and what their collections say.

A clip is cut in segments as the tagging job cuts it. A segment of a speech clip in which less than
`PAUSE_S` is above the clip's gate holds no speech: it is left out of the segments' figures. What
counts as right is said in `definitions`; `report` answers the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, cut_segments, pcm_to_float
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.definitions import Definitions, SpeechMusicDefinitions
from catalog_tagger.training.figures import figures
from catalog_tagger.training.items import Items
from catalog_tagger.training.manifest import Clip, groups

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
        Per segment, (segments, labels).
    clip
        To which clip a segment belongs, [shape=(segments,)].
    seconds
        Length of each segment without its padding.
    voiced
        False for a segment of a speech clip that is a pause.
    truth
        Per clip, (clips, labels); NaN where the collection does not say.
    sources, languages
        Per clip.
    groups
        Per clip the recording or voice it shares with others, where all clips are of one source; else empty.
    """

    values: Float32Array
    clip: npt.NDArray[np.int64]
    seconds: Float32Array
    voiced: npt.NDArray[np.bool_]
    truth: Float32Array
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    groups: tuple[str, ...]

    def segments(self) -> Items:
        """Each segment that is not a pause, by itself."""
        used = np.flatnonzero(self.voiced)
        clip = self.clip[used]
        return Items(
            heard=self.values[used],
            owner=np.arange(used.size),
            seconds=self.seconds[used],
            truth=self.truth[clip],
            sources=tuple(self.sources[one] for one in clip),
            languages=tuple(self.languages[one] for one in clip),
            groups=tuple(self.groups[one] for one in clip) if self.groups else (),
        )

    def clips(self) -> Items:
        """Each clip with all its segments, pauses too."""
        return Items(
            heard=self.values,
            owner=self.clip,
            seconds=self.seconds,
            truth=self.truth,
            sources=self.sources,
            languages=self.languages,
            groups=self.groups,
        )


def score(clips: Sequence[Clip], recordings: Sequence[Recording], scorer: Scorer, config: ClipConfig) -> Scores:
    """`score_against` the presence of speech and of music."""
    return score_against(SpeechMusicDefinitions(config), clips, recordings, scorer)


@torch.inference_mode()
def score_against(
    definitions: Definitions,
    clips: Sequence[Clip],
    recordings: Sequence[Recording],
    scorer: Scorer,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Run `scorer`, waveforms (batch, 80000) to (batch, labels), over all segments of the clips.

    Parameters
    ----------
    definitions
        What the collections say of a clip.
    progress
        Called with (clips heard, clips in all).
    """
    labels = len(definitions.labels)
    values: list[Float32Array] = [np.zeros((0, labels), np.float32)]
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
            seconds.append(min(left, SEGMENT_SAMPLES) / SAMPLE_RATE_HZ)
            left -= SEGMENT_SAMPLES
            voiced.append(clip.role != "speech" or is_voiced(waiting[-1], recording.gate_db, seconds[-1]))
            if len(waiting) == _BATCH:
                run()
        if progress is not None:
            progress(index + 1, len(clips))
    run()
    return Scores(
        values=np.concatenate(values),
        clip=np.array(owner, np.int64),
        seconds=np.array(seconds, np.float32),
        voiced=np.array(voiced, bool),
        truth=np.array([definitions.truth(clip) for clip in clips], np.float32).reshape(-1, labels),
        sources=tuple(clip.source for clip in clips),
        languages=tuple(clip.language for clip in clips),
        groups=tuple(groups(clips)) if len({clip.source for clip in clips}) == 1 else (),
    )


def is_voiced(samples: Float32Array, gate_db: float, seconds: float) -> bool:
    """Whether enough of a segment of speech is above the gate of its recording."""
    loud = int((frame_levels_db(samples) > gate_db).sum())
    return loud >= min(PAUSE_S, 0.3 * seconds) * SAMPLE_RATE_HZ / LEVEL_HOP_SAMPLES


def report(scores: Scores, definitions: Definitions | None = None) -> dict[str, Any]:
    """All figures of a set of clips as a card holds them, ready for JSON: `figures.figures`.

    Without `definitions` those of speech and music.
    """
    definitions = SpeechMusicDefinitions() if definitions is None else definitions
    return figures(definitions, segments=scores.segments(), clips=scores.clips())
