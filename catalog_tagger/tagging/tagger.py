"""Listening without a cluster: samples to segment scores to a track's result.

`Scorer` holds the bundles on one device and is what the job's actors use, so that a notebook and a
thousand nodes give the same numbers for what they hear. `Tagger` adds decoding for one track at a time, and always
hears the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from catalog_tagger.audio import BLOCK_S, SEGMENT_SAMPLES, AudioSource, AudioStream, cut_segments
from catalog_tagger.errors import UsageError
from catalog_tagger.fingerprints.peaks import FRONTEND, pick_peaks
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models.bundle import SPEECH_MUSIC, TASKS, VOICE_GENDER, Bundle, canonical_json
from catalog_tagger.models.fused import fused
from catalog_tagger.resampling import Pcm
from catalog_tagger.tagging.bundle_set import BundleSet, load_bundles
from catalog_tagger.tagging.heard import Floats, Heard, Scores, TrackResult, join

__all__ = ["Scorer", "Tagger", "TrackResult"]

_PEAKS_KEY: Final = canonical_json(FRONTEND)
#: on a CPU segments are scored in multiples of so many, the rest being silence: torch keeps buffers for every size of
#: batch that it has met, and another size is another order of sums
_AT_ONCE: Final = 16


class Scorer:
    """The bundles of a job on one device.

    Parameters
    ----------
    bundles
        Names of shipped bundles, or folders; by default all that ship.
    device
        A torch device; by default CUDA where there is one.
    batch_segments
        Segments per forward pass, on a CPU rounded up to a multiple of 16; by default 256 on CUDA and 32 on CPU.
    precision
        Of the networks' convolutions on a CPU: ``auto`` takes bfloat16 where the CPU multiplies it, which moves
        probabilities by up to about 0.01 (`models.fused`).

    Raises
    ------
    UsageError
        A bundle is missing or altered, none is given, or two would fill the same column.

    Notes
    -----
    `score` may be called from several threads at a time.
    """

    def __init__(
        self,
        bundles: Sequence[str] | None = None,
        *,
        device: str | None = None,
        batch_segments: int | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise UsageError("device gpu: this process sees no CUDA device; use auto or cpu, or mend the driver")
        self.batch_segments = batch_segments or (256 if self.device.type == "cuda" else 32)
        if self.device.type == "cpu":
            self.batch_segments = -(-self.batch_segments // _AT_ONCE) * _AT_ONCE
        loaded = load_bundles(bundles).bundles
        if self.device.type == "cpu":
            dtype = torch.float32 if precision == "float32" else None
            loaded = tuple(replace(bundle, model=fused(bundle.model, dtype=dtype)) for bundle in loaded)
        self.bundles = BundleSet(tuple(bundle.to(self.device) for bundle in loaded))
        self._by_frontend: dict[str, list[Bundle]] = {_PEAKS_KEY: []}
        for bundle in self.bundles.bundles:
            self._by_frontend.setdefault(bundle.frontend_key, []).append(bundle)
        self._frontends = {key: bundles[0].frontend for key, bundles in self._by_frontend.items() if bundles}
        self._frontends.setdefault(_PEAKS_KEY, build_frontend(FRONTEND).eval().to(self.device))

    @torch.inference_mode()
    def score(self, segments: Pcm) -> Scores:
        """What all bundles say of segments, and their peaks; each front end runs once, however many share it.

        Parameters
        ----------
        segments
            Shape (n, 80000), int16 at 16 kHz.
        """
        size, step = self.batch_segments, _AT_ONCE if self.device.type == "cpu" else 1
        missing = -len(segments) % step if len(segments) else step
        if missing:
            silence = np.zeros((missing, SEGMENT_SAMPLES), np.int16)
            return self.score(np.concatenate([segments, silence])).part(0, len(segments))
        return join([self._batch(segments[start : start + size]) for start in range(0, len(segments), size)])

    def _batch(self, segments: Pcm) -> Scores:
        batch = torch.from_numpy(np.ascontiguousarray(segments))
        waveform = batch.to(self.device, non_blocking=True).float().mul_(1.0 / 32768.0)
        said: dict[str, Tensor] = {}
        embedding = None
        for key, bundles in self._by_frontend.items():
            features = self._frontends[key](waveform)
            if key == _PEAKS_KEY:
                peaks = pick_peaks(features)
            for bundle in bundles:
                if bundle is self.bundles.embedder:
                    said[bundle.identity], embedding = bundle.outputs(features)
                else:
                    said[bundle.identity] = bundle.probabilities(features)
        tags = [said[bundle.identity] for bundle in self.bundles.taggers]
        return Scores(
            presence=_columns(said, self.bundles.presence, TASKS[SPEECH_MUSIC]),
            voices=_columns(said, self.bundles.voices, TASKS[VOICE_GENDER]),
            tags=torch.cat(tags, dim=1).cpu().numpy() if tags else None,
            embedding=None if embedding is None else embedding.cpu().numpy(),
            peaks=peaks.cpu().numpy(),
        )


def _columns(said: dict[str, Tensor], bundle: Bundle | None, labels: Sequence[str]) -> Floats | None:
    """Probabilities of some of a bundle's labels, whatever its order of them."""
    if bundle is None:
        return None
    columns: Floats = said[bundle.identity][:, [bundle.labels.index(label) for label in labels]].cpu().numpy()
    return columns


class Tagger:
    """Tag single tracks in this process, without Ray.

    Parameters
    ----------
    bundles
        Names of shipped bundles, or folders; by default all that ship.
    device, precision
        As of `Scorer`.

    Examples
    --------
    >>> from catalog_tagger import Tagger
    >>> result = Tagger().tag("song.mp3")  # doctest: +SKIP
    >>> result.content_type, result.tags, result.segments().head()  # doctest: +SKIP
    """

    def __init__(
        self,
        bundles: Sequence[str] | None = None,
        *,
        device: str | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> None:
        self.scorer = Scorer(bundles, device=device, precision=precision)

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
        n_samples, heard = 0, Heard()
        with AudioStream(source) as stream:
            for block in stream.blocks(block_s=BLOCK_S):
                segments = cut_segments(block, continued=n_samples > 0)
                if len(segments):
                    heard.add(self.scorer.score(segments))
                n_samples += len(block)
            return heard.result(stream.info, n_samples, self.scorer.bundles)
