"""The monitors of a training as a picture, `curves.png`, beside the `metrics.jsonl` it is drawn from.

Two panels over the steps: the cost and the error of batches, of validation, and the best of each so
far. It is drawn beside its final name and renamed, so that a viewer never meets half of it, and at
most every `REDRAW_S` while the training goes on.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

METRICS_FILE: Final = "metrics.jsonl"
CURVES_FILE: Final = "curves.png"
REDRAW_S: Final = 60.0


class Curves:
    """The picture of one training.

    Parameters
    ----------
    folder
        That of the training, which holds its metrics.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn_s = time.monotonic()

    def refresh(self) -> None:
        """Draw the picture anew where the last one is old."""
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self.draw()

    def draw(self) -> None:
        """Draw the picture of the metrics so far; nothing where there are none yet."""
        lines = [json.loads(line) for line in (self._folder / METRICS_FILE).read_text("utf-8").splitlines()]
        if lines:
            draw_curves(lines, self._folder / CURVES_FILE)
        self._drawn_s = time.monotonic()


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw the lines of a `metrics.jsonl` as a PNG.

    Parameters
    ----------
    lines
        As `loop` describes them; steps rise.
    path
        Where the picture goes.
    """
    # Without pyplot: no window, no global state, nothing that another thread could be drawing on.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, what, scale, unit in ((panels[0], "loss", 1.0, "cost, nats"), (panels[1], "error", 100.0, "error, %")):
        for key, label, colour, style in (
            (what, "batches", "0.65", "-"),
            (f"validation_{what}", "validation", "C0", "o-"),
            (f"best_validation_{what}", "best so far", "C1", "--"),
        ):
            told = [line for line in lines if key in line]
            panel.plot(
                [line["step"] for line in told],
                [scale * line[key] for line in told],
                style,
                color=colour,
                label=label,
                markersize=3,
                linewidth=1.2,
            )
        panel.set(xlabel="step", ylabel=unit)
        panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    unfinished = path.with_suffix(".unfinished")
    figure.savefig(unfinished, format="png", dpi=110)
    unfinished.replace(path)
