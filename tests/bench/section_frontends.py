"""Every front end at its defaults against the same features of librosa, nnAudio and torchaudio.

Batches of 32 segments on all cores; librosa takes segment after segment. Windows, hops, bins and bands are equal, and
each contender ends with the logarithm that ours ends with. Peers that have no such transform are left out: torchaudio
has no constant-Q transform, and only librosa has chroma of one. One transform's contenders take turns.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from material import SAMPLE_RATE_HZ, SEGMENT_S, segments
from measuring import Contender, Settings, made, on_cores, take_turns
from results import Row
from section_cqt import Waveforms, against, librosa_cqt, nnaudio_cqt

from catalog_tagger.frontends import build_frontend

BATCH: Final = 32
_LIBROSA_SEGMENTS: Final = 8
_STFT: Final = {"n_fft": 320, "hop_length": 160}
_MEL: Final = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}
_MEL_HZ: Final = (125.0, 7500.0)
_MFCC: Final = {"n_fft": 1024, "hop_length": 743, "n_mels": 40}
_MFCC_HZ: Final = (130.0, 6854.0)
_CHROMA: Final = {"hop_length": 743, "fmin": 73.42, "bins_per_octave": 36, "n_octaves": 6}


def run(settings: Settings) -> list[Row]:
    """A row for each front end and peer."""
    waveforms = segments(BATCH)
    rows: list[Row] = []
    with on_cores(settings.threads):
        for name, peers in contenders(waveforms).items():
            ours = _ours(name, torch.from_numpy(waveforms))
            take_turns([ours, *peers], settings)
            rows += [against("frontends", ours, peer.name, [peer]) for peer in peers]
    return rows


def contenders(waveforms: Waveforms) -> Mapping[str, list[Contender]]:
    """Front end -> its peers."""
    few, batch = waveforms[:_LIBROSA_SEGMENTS], torch.from_numpy(waveforms)
    return {
        "stft": [
            _librosa("stft", few),
            _torchaudio("Spectrogram", batch, compressed, pad_mode="constant", power=1.0, **_named(_STFT)),
            _nnaudio("STFT", batch, compressed, output_format="Magnitude", pad_mode="constant", **_STFT),
        ],
        "mel": [
            _librosa("melspectrogram", few),
            _torchaudio("MelSpectrogram", batch, logarithm, **_rated(_named(_MEL), _MEL_HZ, "f_min", "f_max")),
            _nnaudio("MelSpectrogram", batch, logarithm, htk=True, **_rated({**_MEL, "power": 1.0}, _MEL_HZ)),
        ],
        "mfcc": [
            _librosa("mfcc", few),
            _torchaudio(
                "MFCC", batch, n_mfcc=13, log_mels=True, melkwargs=_rated(_named(_MFCC), _MFCC_HZ, "f_min", "f_max")
            ),
            _nnaudio("MFCC", batch, n_mfcc=13, htk=True, **_rated(_MFCC, _MFCC_HZ)),
        ],
        "chroma": [_librosa("chroma_cqt", few)],
        "cqt": [librosa_cqt(few, 0.01), nnaudio_cqt("CQT1992v2", batch)],
    }


def compressed(values: torch.Tensor) -> torch.Tensor:
    """``log2(1 + 10^4 s)``."""
    return values.mul_(1e4).log1p_().mul_(1.0 / math.log(2.0))


def logarithm(values: torch.Tensor) -> torch.Tensor:
    """``ln(m + 0.01)``."""
    return values.add_(0.01).log_()


def _ours(name: str, waveform: torch.Tensor) -> Contender:
    frontend = build_frontend({"name": name})
    return Contender(name, len(waveform) * SEGMENT_S, lambda: frontend(waveform))


def _named(parameters: Mapping[str, int]) -> dict[str, Any]:
    """torchaudio's mel spectrograms are of powers where they are not told."""
    return {**parameters, "power": 1.0} if "n_mels" in parameters else dict(parameters)


def _rated(
    parameters: Mapping[str, Any], hertz: tuple[float, float], low: str = "fmin", high: str = "fmax"
) -> dict[str, Any]:
    return {**parameters, low: hertz[0], high: hertz[1]}


def _torchaudio(
    kind: str,
    waveform: torch.Tensor,
    ending: Callable[[torch.Tensor], torch.Tensor] = lambda values: values,
    **parameters: Any,
) -> Contender:
    def make() -> Callable[[], Any]:
        from torchaudio import transforms

        rate = {} if kind == "Spectrogram" else {"sample_rate": SAMPLE_RATE_HZ}
        transform = getattr(transforms, kind)(**rate, **parameters)
        return lambda: ending(transform(waveform))

    return made(f"torchaudio {kind}", len(waveform) * SEGMENT_S, make)


def _nnaudio(
    kind: str,
    waveform: torch.Tensor,
    ending: Callable[[torch.Tensor], torch.Tensor] = lambda values: values,
    **parameters: Any,
) -> Contender:
    def make() -> Callable[[], Any]:
        with contextlib.redirect_stdout(None):
            from nnAudio import features
        transform = getattr(features, kind)(sr=SAMPLE_RATE_HZ, verbose=False, **parameters)
        return lambda: ending(transform(waveform))

    return made(f"nnAudio {kind}", len(waveform) * SEGMENT_S, make)


def _librosa(kind: str, waveforms: Waveforms) -> Contender:
    def make() -> Callable[[], Any]:
        import librosa

        def mel(y: Waveforms, parameters: Mapping[str, Any], hertz: tuple[float, float]) -> Waveforms:
            given = _rated(parameters, hertz)
            values: Waveforms = librosa.feature.melspectrogram(
                y=y, sr=SAMPLE_RATE_HZ, htk=True, norm=None, power=1.0, **given
            )
            return values

        def one(y: Waveforms) -> Any:
            if kind == "stft":
                return np.log2(1.0 + 1e4 * np.abs(librosa.stft(y, pad_mode="constant", **_STFT)))
            if kind == "melspectrogram":
                return np.log(mel(y, _MEL, _MEL_HZ) + 0.01)
            if kind == "mfcc":
                return librosa.feature.mfcc(S=np.log(mel(y, _MFCC, _MFCC_HZ) + 1e-3), n_mfcc=13)
            return librosa.feature.chroma_cqt(y=y, sr=SAMPLE_RATE_HZ, **_CHROMA)

        return lambda: [one(y) for y in waveforms]

    return made(f"librosa {kind}", len(waveforms) * SEGMENT_S, make)
