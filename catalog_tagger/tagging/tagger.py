"""Listening without a cluster: samples to segment scores to a track's result.

`Scorer` holds the bundles on one device and is what the job's actors use, so that a notebook and a
thousand nodes give the same numbers. `Tagger` adds decoding for one track at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import (
    BLOCK_S,
    SAMPLE_RATE_HZ,
    SEGMENT_S,
    AudioSource,
    AudioStream,
    StreamInfo,
    cut_segments,
)
from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import Bundle, load_bundle
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.content import Verdict, judge

if TYPE_CHECKING:
    import pandas as pd

#: the bundle whose outputs fill p_speech and p_music
PRESENCE_LABELS: Final = ("speech", "music")


def presence_bundle(bundles: Sequence[Bundle]) -> Bundle:
    """The one bundle that fills the tables.

    Raises
    ------
    UsageError
        More than one bundle, or one without the labels speech and music: rows must name no model that
        did not listen.
    """
    if len(bundles) != 1 or not set(PRESENCE_LABELS) <= set(bundles[0].labels):
        names = ", ".join(f"{bundle.name} ({', '.join(bundle.labels)})" for bundle in bundles)
        raise UsageError(f"bundles {names}: give exactly one, with the labels speech and music")
    return bundles[0]


class Scorer:
    """The bundles of a job on one device.

    Parameters
    ----------
    bundles
        Names of shipped bundles, or folders.
    device
        A torch device; by default CUDA where there is one.
    batch_segments
        Segments per forward pass; by default 256 on CUDA and 32 on CPU.

    Raises
    ------
    UsageError
        A bundle is missing or altered, or none of them tells speech and music.
    """

    def __init__(
        self,
        bundles: Sequence[str] = ("speech_music",),
        *,
        device: str | None = None,
        batch_segments: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise UsageError("device gpu: this process sees no CUDA device; use auto or cpu, or mend the driver")
        self.batch_segments = batch_segments or (256 if self.device.type == "cuda" else 32)
        self.bundles: list[Bundle] = [load_bundle(name).to(self.device) for name in bundles]
        self._presence = presence_bundle(self.bundles)
        self._columns = [self._presence.labels.index(label) for label in PRESENCE_LABELS]

    @property
    def bundle_ids(self) -> list[str]:
        """``name@fingerprint`` of every bundle, as the tables carry it."""
        return [bundle.identity for bundle in self.bundles]

    @torch.inference_mode()
    def score(self, segments: Pcm) -> npt.NDArray[np.float32]:
        """Probabilities of speech and of music.

        Parameters
        ----------
        segments
            Shape (n, 80000), int16 at 16 kHz.

        Returns
        -------
        ndarray
            Shape (n, 2), float32: columns `PRESENCE_LABELS`.
        """
        parts = []
        for start in range(0, len(segments), self.batch_segments):
            batch = torch.from_numpy(np.ascontiguousarray(segments[start : start + self.batch_segments]))
            waveform = batch.to(self.device, non_blocking=True).float().mul_(1.0 / 32768.0)
            features = self._presence.frontend(waveform)
            parts.append(self._presence.probabilities(features)[:, self._columns].cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, len(PRESENCE_LABELS)), np.float32)


@dataclass(frozen=True, kw_only=True)
class TrackResult:
    """What `Tagger.tag` heard in one track."""

    info: StreamInfo
    duration_s: float
    scanned_s: float
    verdict: Verdict
    start_s: npt.NDArray[np.float64]
    """Shape (segments,)."""
    end_s: npt.NDArray[np.float64]
    p_speech: npt.NDArray[np.float32]
    p_music: npt.NDArray[np.float32]

    @property
    def content_type(self) -> str:
        """music, speech, mixed or other."""
        return self.verdict.content_type

    def segments(self) -> pd.DataFrame:
        """One row per segment: start_s, end_s, p_speech, p_music."""
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(
            {"start_s": self.start_s, "end_s": self.end_s, "p_speech": self.p_speech, "p_music": self.p_music}
        )
        return table


def make_result(info: StreamInfo, n_samples: int, scores: npt.NDArray[np.float32]) -> TrackResult:
    """Put a track together from its length and the scores of its segments, shape (segments, 2)."""
    start_s = np.arange(len(scores), dtype=np.float64) * SEGMENT_S
    duration_s = n_samples / SAMPLE_RATE_HZ
    end_s = np.minimum(start_s + SEGMENT_S, duration_s)
    seconds = end_s - start_s
    return TrackResult(
        info=info,
        duration_s=duration_s,
        scanned_s=float(seconds.sum()),
        verdict=judge(scores[:, 0], scores[:, 1], seconds),
        start_s=start_s,
        end_s=end_s,
        p_speech=scores[:, 0],
        p_music=scores[:, 1],
    )


class Tagger:
    """Tag single tracks in this process, without Ray.

    Examples
    --------
    >>> from catalog_tagger import Tagger
    >>> result = Tagger().tag("song.mp3")  # doctest: +SKIP
    >>> result.content_type, result.segments().head()  # doctest: +SKIP
    """

    def __init__(self, bundles: Sequence[str] = ("speech_music",), *, device: str | None = None) -> None:
        self.scorer = Scorer(bundles, device=device)

    def tag(self, source: AudioSource) -> TrackResult:
        """Tag one track in memory bounded by its block of two minutes.

        Parameters
        ----------
        source
            The encoded bytes, a path, or a seekable binary file.

        Raises
        ------
        AudioError
            The track cannot be decoded; `code` says why.
        """
        n_samples, scores = 0, []
        with AudioStream(source) as stream:
            for block in stream.blocks(block_s=BLOCK_S):
                scores.append(self.scorer.score(cut_segments(block, continued=n_samples > 0)))
                n_samples += len(block)
            return make_result(stream.info, n_samples, np.concatenate(scores))
