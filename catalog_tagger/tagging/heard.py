"""From the scores of a track's segments, as they come, to what was heard in the track.

`Scores` is what the bundles of a set say of some segments, `Heard` gathers them for one track in memory
that hardly grows with it (of the embeddings only a sum is kept), `TrackResult` is the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_S, StreamInfo
from catalog_tagger.tagging.bundle_set import BundleSet
from catalog_tagger.tagging.content import Verdict, judge
from catalog_tagger.tagging.tags import segment_tags, track_tags
from catalog_tagger.tagging.voices import DECISION, VoiceVerdict, judge_voice

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of some segments; None where no bundle of the set says such a thing."""

    presence: Floats | None
    """Shape (segments, 2): probabilities of speech and of music."""
    voices: Floats | None
    """Shape (segments, 2): probabilities that a voice is female, and that there is one."""
    tags: Floats | None
    """Shape (segments, tags): of the set's tags."""
    embedding: Floats | None
    """Shape (segments, size)."""
    peaks: npt.NDArray[np.int16] | None = None
    """Shape (segments, `SHOW_PEAKS`): of the CQT-gram, as `fingerprints.peaks` has them."""

    def part(self, start: int, stop: int) -> Scores:
        """Of the segments `start` to `stop`."""
        return _each(lambda values: values[start:stop], self)


@dataclass(kw_only=True)
class Heard:
    """What was heard of one track so far."""

    _parts: list[Scores] = field(default_factory=list)
    _embedded: npt.NDArray[np.float64] | float = 0.0
    """Sum of the embeddings of all segments but the last, which alone may be shorter."""
    _last: Floats | None = None

    def add(self, scores: Scores) -> None:
        """Add the scores of the segments that follow; at least one."""
        if scores.embedding is not None:
            before = 0.0 if self._last is None else self._last.astype(np.float64)
            self._embedded = self._embedded + before + scores.embedding[:-1].sum(axis=0, dtype=np.float64)
            self._last = scores.embedding[-1].copy()
        self._parts.append(replace(scores, embedding=None))

    def presence(self, places: Sequence[int]) -> Floats | None:
        """Probabilities of speech and music so far, by the segments' places [shape=(segments, 2)]."""
        presence = join(self._parts).presence
        return None if presence is None else presence[np.argsort(places)]

    def result(
        self, info: StreamInfo, n_samples: int, bundles: BundleSet, *, places: Sequence[int] = ()
    ) -> TrackResult:
        """Put the track together once all its segments, or those that are heard of it, are scored.

        Parameters
        ----------
        n_samples
            Of the whole track at 16 kHz.
        bundles
            That the scores come from.
        places
            Numbers of the segments, in the order their scores were added; by default all of them from 0 on.
        """
        whole = join(self._parts)
        count = len(next(values for values in (whole.presence, whole.voices, whole.tags) if values is not None))
        at = np.array(places or range(count), dtype=np.int64)
        if places:
            whole = _each(lambda values: values[np.argsort(at)], whole)
        start_s = np.sort(at).astype(np.float64) * SEGMENT_S
        duration_s = n_samples / SAMPLE_RATE_HZ
        end_s = np.minimum(start_s + SEGMENT_S, duration_s)
        seconds = end_s - start_s
        verdict, voice, tags = None, None, {}
        if whole.presence is not None:
            verdict = judge(whole.presence[:, 0], whole.presence[:, 1], seconds)
        if whole.voices is not None:
            voice = judge_voice(whole.voices[:, 0], whole.voices[:, 1], seconds, bundles.decision)
        if whole.tags is not None:
            tags = track_tags(whole.tags, seconds, bundles.tags)
        return TrackResult(
            info=info,
            duration_s=duration_s,
            scanned_s=float(seconds.sum()),
            verdict=verdict,
            voice=voice,
            tags=tags,
            embedding=self._mean_embedding(SEGMENT_S if places else seconds[-1], seconds.sum()),
            start_s=start_s,
            end_s=end_s,
            scores=whole,
            bundles=bundles,
        )

    def _mean_embedding(self, last_s: float, all_s: float) -> Floats | None:
        """Weighted by seconds: of the segment that was added last, and of all."""
        if self._last is None:
            return None
        mean = (self._embedded * SEGMENT_S + self._last * last_s) / all_s
        return rounded(mean.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class TrackResult:
    """What was heard in one track."""

    info: StreamInfo
    duration_s: float
    scanned_s: float
    verdict: Verdict | None
    """None without a bundle that tells speech and music."""
    voice: VoiceVerdict | None
    """None without a bundle that tells voices."""
    tags: dict[str, float]
    """Tag -> expected share of the track, the greatest first; those below 1 % are left out."""
    embedding: Floats | None
    """Shape (size,): mean over the segments, for comparing tracks; None without a bundle that has one."""
    start_s: npt.NDArray[np.float64]
    """Shape (segments,)."""
    end_s: npt.NDArray[np.float64]
    scores: Scores
    """Of each segment, but for its embedding."""
    bundles: BundleSet
    """That heard it."""

    @property
    def content_type(self) -> str | None:
        """music, speech, mixed or other; None without a bundle that tells speech and music."""
        return None if self.verdict is None else self.verdict.content_type

    @property
    def voice_gender(self) -> str | None:
        """female, male, mixed or unknown; None without a bundle that tells voices."""
        return None if self.voice is None else self.voice.voice_gender

    @property
    def voice_gender_confidence(self) -> float | None:
        """How sure that is; None without a bundle that tells voices."""
        return None if self.voice is None else self.voice.confidence

    @property
    def p_speech(self) -> Floats | None:
        """Probability of speech in each segment, shape (segments,)."""
        return None if self.scores.presence is None else self.scores.presence[:, 0]

    @property
    def p_music(self) -> Floats | None:
        """Probability of music in each segment, shape (segments,)."""
        return None if self.scores.presence is None else self.scores.presence[:, 1]

    @property
    def p_female(self) -> Floats | None:
        """Probability that the voice in each segment is female, shape (segments,); NaN where there rather is none."""
        if self.scores.voices is None:
            return None
        female: Floats = self.scores.voices[:, 0].copy()
        female[self.scores.voices[:, 1] < self.bundles.decision.get("voice_at", DECISION["voice_at"])] = np.nan
        return female

    def segments(self) -> pd.DataFrame:
        """One row per segment: start_s, end_s, p_speech, p_music, p_female, tags.

        Scores that nothing tells are NaN; tags are a dictionary, tag to score, of the likely ones.
        """
        import pandas as pd

        count = len(self.start_s)
        columns: dict[str, object] = {"start_s": self.start_s, "end_s": self.end_s}
        for name in ("p_speech", "p_music", "p_female"):
            values = getattr(self, name)
            columns[name] = np.full(count, np.nan, np.float32) if values is None else values
        tags = self.scores.tags
        lists = [[]] * count if tags is None else segment_tags(tags, self.bundles.tags).to_pylist()
        columns["tags"] = [{entry["tag"]: entry["score"] for entry in entries} for entries in lists]
        table: pd.DataFrame = pd.DataFrame(columns)
        return table


def join(parts: list[Scores]) -> Scores:
    """Scores of segments one after the other; at least one part."""
    return _each(lambda *values: np.concatenate(values), *parts)


def _each(combine: Callable[..., npt.NDArray[Any]], *parts: Scores) -> Scores:
    """Combine what the parts have of each kind of score."""
    kinds = {kind.name: [getattr(part, kind.name) for part in parts] for kind in fields(Scores)}
    return Scores(**{name: None if values[0] is None else combine(*values) for name, values in kinds.items()})


def rounded(values: Floats) -> Floats:
    """Rounded to 11 significant bits, as half precision has them, in the range of single precision.

    Far finer than what embeddings are compared by, and their columns compress to a third.
    """
    bits = values.view(np.uint32)
    half = np.uint32(0x0FFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    shorter: Floats = ((bits + half) & np.uint32(0xFFFFE000)).view(np.float32)
    return shorter
