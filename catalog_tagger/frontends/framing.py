"""Cut waveforms into frames that overlap, the first step of every spectrum with a fixed window.

Frames are counted as the constant-Q transform counts them: frame ``n`` is centred on sample
``n * hop``, and beyond both ends of the waveform stand zeros, so a waveform of ``m`` samples has
``1 + m // hop`` frames. Published networks were trained with two other rules, kept here for them:
the ends mirrored (`reflect`), or whole windows only (`none`), the first at sample 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from catalog_tagger.errors import UsageError

Padding = Literal["zeros", "reflect", "none"]
PADDINGS: Final[tuple[str, ...]] = get_args(Padding)


def require_positive(title: str, values: Mapping[str, float]) -> None:
    """Refuse a size, rate or frequency that is not above 0.

    Raises
    ------
    UsageError
        Names the front end, the parameter and its value.
    """
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{title}: {name} must be positive, not {value}")


def require_batch(title: str, waveform: Tensor) -> Tensor:
    """The waveform in float32, if its shape is (batch, samples).

    Raises
    ------
    UsageError
        Another number of axes.
    """
    if waveform.ndim != 2:
        raise UsageError(f"{title}: expected (batch, samples), got shape {tuple(waveform.shape)}")
    return waveform.to(torch.float32)


def count_frames(n_samples: int, *, window_samples: int, hop_samples: int, padding: Padding = "zeros") -> int:
    """How many frames `cut_frames` makes of `n_samples` samples."""
    if padding != "none":
        return 1 + n_samples // hop_samples
    return max(0, 1 + (n_samples - window_samples) // hop_samples)


def cut_frames(waveform: Tensor, *, window_samples: int, hop_samples: int, padding: Padding = "zeros") -> Tensor:
    """Frames of each waveform, as a view where nothing had to be padded.

    Parameters
    ----------
    waveform
        Shape (batch, samples).
    window_samples, hop_samples
        Length and distance of the frames.
    padding
        What stands beyond the ends. A waveform too short to be mirrored is padded with zeros.

    Returns
    -------
    Tensor
        Shape (batch, frames, window_samples).
    """
    batch, n_samples = waveform.shape
    frames = count_frames(n_samples, window_samples=window_samples, hop_samples=hop_samples, padding=padding)
    if frames == 0:
        return waveform.new_zeros((batch, 0, window_samples))
    if padding == "none":
        return waveform.unfold(1, window_samples, hop_samples)
    before = window_samples // 2
    after = max(0, (frames - 1) * hop_samples + window_samples - before - n_samples)
    if padding == "reflect" and batch and n_samples > max(before, after):
        padded = torch.nn.functional.pad(waveform, (before, after), mode="reflect")
    else:
        padded = torch.nn.functional.pad(waveform, (before, after))
    return padded.unfold(1, window_samples, hop_samples)[:, :frames]
