"""First-layer filters as pictures, time by frequency, as in Figures 4.9 to 4.14, and as numbers.

One picture per penalty, `filters-<setting>.png`. Every filter has the same scale: blue is below 0,
red above, white is 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.numpy import load_file

FIRST_LAYER: Final = "convolutions.0.weight"
FloatArray = npt.NDArray[np.floating]
_COLUMNS: Final = 10


def read_filters(weights: Path) -> FloatArray:
    """The first layer's filters (filters, frames, bins) out of a file of weights."""
    filters: FloatArray = load_file(weights)[FIRST_LAYER][:, 0]
    return filters


def draw_filters(filters: FloatArray, path: Path, *, title: str, hop_s: float, bins_per_octave: int) -> None:
    """Draw filters side by side, time to the right, frequency upwards.

    Parameters
    ----------
    filters
        Shape (filters, frames, bins).
    hop_s, bins_per_octave
        What a frame and a bin stand for, for the axes.
    """
    rows = math.ceil(len(filters) / _COLUMNS)
    figure = Figure(figsize=(8.0, 0.6 + 2.1 * rows), layout="constrained", dpi=90)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
    widest = float(np.abs(filters).max()) or 1.0
    extent = (0.0, filters.shape[1] * hop_s, 0.0, filters.shape[2] / bins_per_octave)
    for number, place in enumerate(axes.flat):
        if number >= len(filters):
            place.axis("off")
            continue
        place.imshow(
            filters[number].T,
            origin="lower",
            aspect="auto",
            cmap="RdBu_r",
            vmin=-widest,
            vmax=widest,
            extent=extent,
            interpolation="nearest",
        )
        place.tick_params(labelsize=6)
    figure.suptitle(title, fontsize=9)
    figure.supxlabel("time [s]", fontsize=8)
    figure.supylabel("frequency [octaves]", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_figure(str(path), format="png")


def describe_filters(filters: FloatArray) -> dict[str, float]:
    """How sparse and how smooth filters (filters, frames, bins) are.

    Returns
    -------
    dict
        `near_zero`, the share of weights below a hundredth of the largest; `in_time` and
        `in_frequency`, the correlation of neighbours: 0 for noise, 1 for areas of one value.
    """
    values = np.asarray(filters, float)
    widest = float(np.abs(values).max())
    return {
        "near_zero": float((np.abs(values) <= 0.01 * widest).mean()),
        "in_time": _correlation(values[:, 1:], values[:, :-1]),
        "in_frequency": _correlation(values[:, :, 1:], values[:, :, :-1]),
    }


def _correlation(one: FloatArray, other: FloatArray) -> float:
    if one.size == 0 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def filters_table(described: dict[str, dict[str, float]]) -> str:
    """`describe_filters` of several trainings, as Markdown."""
    lines = ["| filters | near zero | neighbours in time | neighbours in frequency |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {100 * one['near_zero']:.0f} % | {one['in_time']:.2f} | {one['in_frequency']:.2f} |"
        for name, one in described.items()
    ]
    return "\n".join(lines)
