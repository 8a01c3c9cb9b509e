"""Peaks of CQT-grams: the points that are left of a sound when only its landmarks are kept.

A bin of a frame is a peak where nothing within two frames and two bins is greater, and peaks are ranked
by prominence: how far they stand above the mean of what lies within `_AROUND` (a quarter of a second and half
an octave to each side). Levels are logarithms, so prominence is a ratio: a quiet note in a pause
ranks as high as a loud one in the middle of the noise, which is what lets music show through speech.

A peak's *code* is ``frame * bins + bin`` within its segment of 5 s, a number below 2^15 at the defaults.
The strongest `SONG_PEAKS` of a segment are what a song is known by; what is searched for songs has up to
`SHOW_PEAKS`, since the peaks of a song under a voice are not the strongest ones there.

A list of a segment's peaks in a table (`listed`) holds the first kind, in the order of their codes, and after
them the rest, in that order too: differences of sorted codes take half the bytes of the codes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: a second of the first kind has 16, of the second 80
SONG_PEAKS: Final = 80
SHOW_PEAKS: Final = 400
NO_PEAK: Final = -1
#: the front end whose grams peaks are picked from, as `frontends.build_frontend` takes it
FRONTEND: Final = {"name": "cqt"}

_AROUND: Final = (10, 12)
#: segments whose maps fit a core's cache together
_AT_ONCE: Final = 8
_QUIETEST: Final = 1.0  # log2(1 + 10^4 s): 80 dB below a tone of full scale


@torch.inference_mode()
def pick_peaks(gram: Tensor, *, most: int = SHOW_PEAKS) -> Tensor:
    """Codes of the most prominent peaks, the greatest first.

    Parameters
    ----------
    gram
        CQT-grams of segments, ``log2(1 + 10^4 s)`` [shape=(batch, frames, bins)].
    most
        Peaks of a segment.

    Returns
    -------
    Tensor
        int16 [shape=(batch, most)]; `NO_PEAK` after the last where a segment has fewer.
    """
    batch, frames, bins = gram.shape
    if not batch:
        return gram.new_zeros((0, most), dtype=torch.int16)
    if frames * bins > 1 << 15:
        raise ValueError(f"codes of {frames} frames of {bins} bins do not fit 15 bits")
    step = _AT_ONCE if gram.device.type == "cpu" else batch
    return torch.cat([_picked(part, most) for part in torch.split(gram, step)])


def _picked(gram: Tensor, most: int) -> Tensor:
    batch, frames, bins = gram.shape
    is_peak = (gram >= _greatest_around(gram)) & (gram > _QUIETEST)
    is_peak[:, (0, -1)] = False  # what lies beyond the segment may be greater
    prominence = gram - _mean_around(gram)
    ranked = torch.where(is_peak, prominence, -torch.inf).reshape(batch, -1)
    values, codes = ranked.topk(min(most, frames * bins), dim=1)
    codes = torch.where(values > -torch.inf, codes, NO_PEAK)
    return torch.nn.functional.pad(codes, (0, most - codes.shape[1]), value=NO_PEAK).to(torch.int16)


def _greatest_around(gram: Tensor) -> Tensor:
    """The greatest within two frames and two bins, by comparing shifted copies: pooling takes ten times as long."""
    padded = torch.nn.functional.pad(gram, (2, 2, 2, 2), value=-torch.inf)
    pairs = torch.maximum(padded[:, :-1], padded[:, 1:])
    frames = torch.maximum(torch.maximum(pairs[:, :-3], pairs[:, 2:-1]), padded[:, 4:])
    pairs = torch.maximum(frames[..., :-1], frames[..., 1:])
    return torch.maximum(torch.maximum(pairs[..., :-3], pairs[..., 2:-1]), frames[..., 4:])


def _mean_around(gram: Tensor) -> Tensor:
    """The mean within `_AROUND`, and at the edges of what there is of it."""
    frames, bins = _AROUND
    sums = torch.nn.functional.pad(gram, (bins, bins, frames, frames))
    for axis, reach in ((1, frames), (2, bins)):
        sums = _sums(sums, 2 * reach + 1, axis) / _counts(gram, reach, axis)
    return sums


def _sums(x: Tensor, width: int, axis: int) -> Tensor:
    """Sums of each `width` neighbours along an axis, out of sums of 1, 2, 4 ...: two thirds faster than a product."""
    count = x.shape[axis] - width + 1
    total, begin = torch.zeros((), dtype=x.dtype, device=x.device), 0
    for power in range(width.bit_length()):
        length = 1 << power
        if power:
            rest = x.shape[axis] - length // 2
            x = x.narrow(axis, 0, rest) + x.narrow(axis, length // 2, rest)
        if width & length:
            total = total + x.narrow(axis, begin, count)
            begin += length
    return total


def _counts(gram: Tensor, reach: int, axis: int) -> Tensor:
    """How many neighbours within `reach` each place along an axis has, itself among them, as broadcast to `gram`."""
    place = torch.arange(gram.shape[axis], device=gram.device)
    counts = (place + reach).clamp_max(gram.shape[axis] - 1) - (place - reach).clamp_min(0) + 1
    return counts.to(gram.dtype).view([-1 if number == axis else 1 for number in range(3)])


def listed(
    codes: npt.NDArray[np.int16], *, every: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
    """Lists of the peaks of segments, as a table keeps them.

    Parameters
    ----------
    codes
        Of `pick_peaks`, [shape=(segments, peaks)].
    every
        Whether all are kept of a segment, and not those alone that songs are known by [shape=(segments,)].

    Returns
    -------
    values, offsets
        One list after the other, and where each begins [shape=(segments + 1,)].
    """
    parts = (codes[:, :SONG_PEAKS], np.where(every[:, None], codes[:, SONG_PEAKS:], np.int16(NO_PEAK)))
    ordered = np.concatenate([np.sort(part, axis=1) for part in parts], axis=1)
    there = ordered != NO_PEAK
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return ordered[there], offsets
