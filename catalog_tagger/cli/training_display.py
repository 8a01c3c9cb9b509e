"""A training's live progress on standard error, and its figures at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalog_tagger.training.scaffold import Scaffold

_LINE_EVERY_S = 15.0


class TrainingDisplay:
    """A bar on a terminal, else a line every fifteen seconds and one per validation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line_s = 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[line]}"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("preparing", total=None, line="")

    def __enter__(self) -> TrainingDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def prepare(self, title: str, done: int, total: int) -> None:
        """One more clip decoded or made."""
        self._show(title, done / max(total, 1), f"{done:,}/{total:,}", final=done == total)

    def train(self, line: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`."""
        if "validation_loss" in line:
            self.say(
                f"step {line['step']:,}: validation loss {line['validation_loss']:.4f}, "
                f"error {100 * line['validation_error']:.2f} %, best so far {line['best_validation_loss']:.4f}, "
                f"{100 * line['best_validation_error']:.2f} %"
            )
            return
        text = f"step {line['step']:,}, loss {line['loss']:.4f}, error {100 * line['error']:.2f} %"
        self._show("training", line["progress"], text, final=False)

    def say(self, sentence: str) -> None:
        """A line that stays."""
        self._console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def _show(self, title: str, share: float, text: str, *, final: bool) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=title, total=1.0, completed=share, line=text)
        elif final or time.monotonic() - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self.say(f"{title}: {100 * share:.0f} %, {text}")


def show_scaffold(made: Scaffold) -> None:
    """What was written for a training, and what comes next."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for label, count in made.clips.items():
        held_out = f"{made.validation[label]:,} to validate on, {made.test[label]:,} to test"
        console.print(f"{label}: {count:,} clips, of them {held_out}")
    for split, rows in (("validation", made.validation), ("test", made.test)):
        without = [label for label, count in rows.items() if not count]
        if without:
            console.print(
                f"warning: nothing of {', '.join(without)} is kept for {split}: what lies in one folder stays on one "
                "side; give such a label four folders, or files outside of folders"
            )
    console.print(f"{made.manifest}: {sum(made.clips.values()):,} clips")
    console.print(f"{made.config}: a training of the task {made.task}")
    console.print(f"\nnext: {shlex.join(['catalog-tagger', 'train', str(made.config), '--out', made.config.stem])}")


def show_figures(card: dict[str, Any], folder: Path) -> None:
    """The figures of a finished bundle as tables."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    figures = {name: one for name, one in card["figures"].items() if name != "speech_over_music"}
    console.print(figures_table(figures))
    for row in card["figures"].get("speech_over_music", []):
        console.print(
            f"speech at {row['speech_over_music_db']:+d} dB over music: F of speech "
            f"{row['speech']['f']:.3f}, of music {row['music']['f']:.3f}"
        )
    console.print(f"bundle written to {folder}")


def figures_table(figures: dict[str, Any]) -> Table:
    """Every share of right items with its intervals, per set and definition, whatever the task."""
    table = _table("set", "of", "definition", "right", "95 % (items)", "95 % (over)")
    for name, one in figures.items():
        for items, definition, figure in _shares(one):
            ends = figure["over_sources"]
            table.add_row(
                name,
                f"{figure['of']:,} {items}",
                definition.replace("_", " "),
                f"{100 * figure['right'] / figure['of']:.2f} %",
                f"{100 * figure['wilson'][0]:.1f}-{100 * figure['wilson'][1]:.1f}",
                f"{100 * ends[0]:.1f}-{100 * ends[1]:.1f} ({one.get('over', 'sources')})" if ends else "",
            )
    return table


def _shares(figures: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Items, definition and share, for all shares of a set that are of something."""
    for level, one in figures.items():
        if not isinstance(one, dict):
            continue
        found = {"right": one} if "wilson" in one else one
        for definition, figure in found.items():
            if isinstance(figure, dict) and "wilson" in figure and figure["of"]:
                yield level, definition, figure


def _table(*columns: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name)
    return table
