"""The constant-Q transform against librosa's and nnAudio's: the same cores, the same segments.

Every contender turns the same 5 s segments into log2(1 + 10^4 s), 144 bins, hop 371, on all cores. Torch's take
batches of 1 and 32; librosa takes segment after segment, with its own sparse kernels (sparsity 0.01, its default) and
with exact ones. nnAudio's CQT2010v2 halves its hop with the rate, so that it takes multiples of 32 alone: it gets 384
and makes 3 % fewer frames. "nnAudio's fastest" is chosen in each round.

Agreement is the largest difference to librosa (sparsity 0, in double precision) relative to what a tone of the
segment's peak amplitude gives in the bin, so that speed is not bought with errors. Our rows need torch and numpy alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from material import SAMPLE_RATE_HZ, SEGMENT_S, segments
from measuring import Contender, Settings, made, on_cores, take_turns
from results import Row, Target

from catalog_tagger.frontends.cqt import CQT

HOP: Final = 371
N_BINS: Final = 144
PARAMETERS: Final[dict[str, Any]] = {"hop_length": HOP, "fmin": 80.0, "n_bins": N_BINS, "bins_per_octave": 24}
NNAUDIO_HOPS: Final = {"CQT1992v2": HOP, "CQT2010v2": 384}
BATCHES: Final = (1, 32)
_ERRORS: Final = {torch.float32: 1e-4, torch.bfloat16: 5e-3}
_LIBROSA_SEGMENTS: Final = 4

Waveforms = npt.NDArray[np.float32]


def run(settings: Settings) -> list[Row]:
    """Rows of speed, then rows of agreement."""
    waveforms = segments(max(BATCHES))
    with on_cores(settings.threads):
        by_librosa = [librosa_cqt(waveforms[:_LIBROSA_SEGMENTS], sparsity) for sparsity in (0.01, 0.0)]
        batches = {batch: _of_batch(torch.from_numpy(waveforms[:batch])) for batch in BATCHES}
        take_turns([*by_librosa, *(one for found in batches.values() for one in found)], settings)
        rows = []
        for batch, found in batches.items():
            ours, nnaudio = found[: len(_ERRORS)], found[len(_ERRORS) :]
            for one in ours:
                judged = batch == max(BATCHES) and one is ours[0]
                rows.append(against("cqt", one, "nnAudio's fastest", nnaudio, Target(3.0) if judged else None))
                rows.append(against("cqt", one, by_librosa[0].name, by_librosa[:1], Target(10.0) if judged else None))
        peers = [*by_librosa, *(one for found in batches.values() for one in found[len(_ERRORS) :])]
        rows += [Row("cqt", one.name, one.speeds, note=one.reason) for one in peers]
        return rows + _agreement(waveforms[:_LIBROSA_SEGMENTS])


def against(section: str, ours: Contender, name: str, peers: Sequence[Contender], target: Target | None = None) -> Row:
    """Our row beside the fastest of some peers, chosen in each round."""
    live = [peer.speeds for peer in peers if peer.speeds]
    fastest = [max(speeds) for speeds in zip(*live, strict=True)]
    reasons = [ours.reason, *(() if live else dict.fromkeys(peer.reason for peer in peers))]
    reason = "; ".join(filter(None, reasons))
    return Row(section, ours.name, ours.speeds, peer=name, peer_figures=fastest, target=target, note=reason)


def our_cqt(waveform: torch.Tensor, dtype: torch.dtype) -> Contender:
    """This package's transform of a batch."""
    cqt = CQT(dtype=dtype).to(waveform.device)
    name = f"CQT {str(dtype).removeprefix('torch.')}, batch {len(waveform)}"
    return Contender(name, len(waveform) * SEGMENT_S, lambda: cqt(waveform))


def librosa_cqt(waveforms: Waveforms, sparsity: float) -> Contender:
    """librosa's, segment after segment."""

    def make() -> Callable[[], Any]:
        import librosa

        def run() -> Waveforms:
            found = [librosa.cqt(y, sr=SAMPLE_RATE_HZ, sparsity=sparsity, **PARAMETERS) for y in waveforms]
            grams: Waveforms = np.log2(1.0 + 1e4 * np.abs(np.stack(found))).transpose(0, 2, 1)
            return grams

        return run

    return made(f"librosa.cqt sparsity={sparsity:g}", len(waveforms) * SEGMENT_S, make)


def nnaudio_cqt(kind: str, waveform: torch.Tensor) -> Contender:
    """One of nnAudio's, on the waveform's device."""

    def make() -> Callable[[], Any]:
        with contextlib.redirect_stdout(None):
            from nnAudio import features
        parameters = {**PARAMETERS, "hop_length": NNAUDIO_HOPS[kind], "pad_mode": "constant", "verbose": False}
        layer = getattr(features, kind)(sr=SAMPLE_RATE_HZ, output_format="Magnitude", **parameters)
        layer = layer.to(waveform.device)
        return lambda: layer(waveform).mul_(1e4).add_(1.0).log2_().transpose(1, 2)

    return made(f"nnAudio {kind}, batch {len(waveform)}", len(waveform) * SEGMENT_S, make)


def _of_batch(waveform: torch.Tensor) -> list[Contender]:
    """Ours in each arithmetic, then nnAudio's."""
    return [
        *(our_cqt(waveform, dtype) for dtype in _ERRORS),
        *(nnaudio_cqt(kind, waveform) for kind in NNAUDIO_HOPS),
    ]


@torch.inference_mode()
def _agreement(waveforms: Waveforms) -> list[Row]:
    try:
        import librosa
    except ImportError as error:
        return [Row("cqt", "error against librosa", unit="", note=f"not installed: {error}")]
    exact = [
        np.abs(librosa.cqt(y, sr=SAMPLE_RATE_HZ, sparsity=0, dtype=np.complex128, **PARAMETERS)).T
        for y in waveforms.astype(np.float64)
    ]
    alpha = (2.0 ** (2.0 / 24) - 1.0) / (2.0 ** (2.0 / 24) + 1.0)
    scale = 0.5 * np.sqrt(SAMPLE_RATE_HZ / (alpha * 80.0 * 2.0 ** (np.arange(N_BINS) / 24)))
    loudest = np.abs(waveforms).max(axis=1)[:, None, None]
    rows = []
    for dtype, most in _ERRORS.items():
        grams = CQT(dtype=dtype)(torch.from_numpy(waveforms)).double().numpy()
        error = np.abs((2.0**grams - 1.0) / 1e4 - np.stack(exact)) / scale / loudest
        what = f"error against librosa, {str(dtype).removeprefix('torch.')}"
        rows.append(Row("cqt", what, [float(error.max())], unit="", target=Target(most, "at most")))
    return rows
