"""What commands show: for people on a terminal, or one JSON document for machines.

Results go to standard output, progress and notes to standard error, so that ``--json`` can be piped.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from catalog_tagger.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from catalog_tagger.tagging.job import RunResult
    from catalog_tagger.tagging.progress import Progress as RunProgress

_MOST_ROWS = 1000
_MOST_LISTED = 10
_LINE_EVERY_S = 10.0
_MOST_HEARD = 6
_NO_NEWS = ("speech", "music", "unknown")
_FIRST_QUESTION = "select content_type, count(*) from tracks group by 1"
_PIPE_WIDTH = 1000  # nothing is cut where no terminal sets a width


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss; a dash for None."""
    if seconds is None:
        return "-:--:--"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it needs one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def amount(cost: float) -> str:
    """A sum of money, with more digits where it is small."""
    return f"{cost:,.2f}" if cost >= 1 or cost == 0 else f"{cost:.2g}"


def program() -> str:
    """How this program is called here: by its name where the shell finds it, else by its path."""
    name = "catalog-tagger"
    return sys.argv[0] if Path(sys.argv[0]).name == name and shutil.which(name) is None else name


def show_json(content: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, indent=1, default=str) + "\n")


def show_rows(rows: pa.Table, *, as_json: bool) -> None:
    """Rows of a query as a table, or as a JSON list of objects."""
    names = rows.column_names
    if as_json:
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two columns are called {twice!r}; name one of them with AS")
        show_json(rows.to_pylist())
        return
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for field in rows.schema:
        numeric = str(field.type).startswith(("int", "uint", "float", "double", "decimal", "halffloat"))
        table.add_column(Text(field.name), justify="right" if numeric else "left", overflow="fold")
    shown = rows.slice(0, _MOST_ROWS)
    for row in zip(*(column.to_pylist() for column in shown.columns), strict=True):  # not dicts: names may recur
        table.add_row(*(_cell(value) for value in row))
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(table)
    if rows.num_rows > _MOST_ROWS:
        console.print(f"... {rows.num_rows - _MOST_ROWS} more rows; use LIMIT, or --json for all")


def show_lines(rows: Sequence[Mapping[str, str]], *, right: Collection[str]) -> None:
    """Rows of text under their names as a table, some columns to the right."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _cell(value: Any) -> Text:
    return Text(_shown(value))


def _shown(value: Any) -> str:
    """A value as text; of a list its beginning, of a struct its values."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(_shown(part) for part in value.values())
    if isinstance(value, list):
        rest = [f"... ({len(value)} values)"] if len(value) > _MOST_LISTED else []
        return ", ".join([*(_shown(part) for part in value[:_MOST_LISTED]), *rest])
    return str(value)


@contextmanager
def _ray_noise_filtered() -> Iterator[None]:
    """Keep one line of Ray's C++ side off the terminal: it calls every restartable actor an error.

    It writes to file descriptor 2 past Python, so the descriptor is read through a pipe while the
    block runs; Python's own standard error stays connected as it is, everything else passes.
    """
    noise = b"has constructor arguments in the object store and max_restarts"
    real = os.dup(2)
    python_stderr = sys.stderr
    reading, writing = os.pipe()

    def forward() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if noise not in line:
                    os.write(real, line)

    thread = threading.Thread(target=forward, name="stderr", daemon=True)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1)
    os.dup2(writing, 2)
    os.close(writing)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python_stderr
        os.dup2(real, 2)  # the last writing end closes, and the thread ends with the pipe
        thread.join(timeout=5)
        os.close(real)


class RunDisplay:
    """A run's live progress on standard error: a bar on a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._open = ExitStack()
        self._live: Live | None = None
        self._last_line_s = -_LINE_EVERY_S
        if self._console.is_terminal:
            # Ray holds on to the streams it finds while it starts: they must not be Live's, which end
            self._live = Live(
                Text("starting"),
                console=self._console,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> RunDisplay:
        self._open.enter_context(_ray_noise_filtered())
        # Ray prints what happened to its processes; standard output is for the result alone
        self._open.enter_context(redirect_stdout(sys.stderr))
        if self._live is not None:
            self._open.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def update(self, now: RunProgress) -> None:
        """Show a run at one moment."""
        counts = f"{now.tracks:,}/{now.tracks_total:,} tracks"
        rest = (
            f"{now.audio_s / 3600:.2f} h of audio · {now.times_real_time:,.0f}x real time · "
            f"{clock(now.remaining_s)} left · {now.quarantined:,} quarantined"
        )
        if self._live is not None:
            bar = ProgressBar(total=max(now.size_bytes_total, 1), completed=now.size_bytes, width=40)
            self._live.update(Group(Columns([bar, Text(counts)]), Text(rest)))
        elif now.elapsed_s - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = now.elapsed_s
            self._console.print(f"run {now.run_id}: {counts} · {rest}", soft_wrap=True)


def removed_line(removed: int, ids: Sequence[str]) -> str:
    """How many tracks are gone from a source, and three of them by name."""
    shown = ", ".join(ids[:3]) + (", ..." if removed > 3 else "")
    names = f" ({shown})" if shown else ""
    noun = "track is" if removed == 1 else "tracks are"
    return f"{removed:,} {noun} no longer in the source{names}; their rows stay"


def heard_line(heard: Mapping[str, Mapping[str, int]]) -> str:
    """What a run heard, in how many tracks; empty where it heard nothing."""
    told = []
    for column, name in (("content_type", ""), ("voice_gender", "voices: "), ("tags", "tags: ")):
        counts = heard.get(column, {})
        # what content_type says already, and that nobody speaks, are no news
        shown = {what: count for what, count in counts.items() if column == "content_type" or what not in _NO_NEWS}
        named = [f"{count:,} {what}" for what, count in list(shown.items())[:_MOST_HEARD]]
        more = len(shown) - len(named)
        if named:
            told.append(name + ", ".join(named) + (f" and {more} more" if more else ""))
    return f"heard {'; '.join(told)}" if told else ""


def show_nothing_to_retry(warehouse: str, *, as_json: bool) -> None:
    """The answer where no track is quarantined."""
    if as_json:
        show_json({"state": "nothing_to_do", "warehouse": warehouse, "tracks": 0})
    else:
        click.echo(f"Nothing to do: no such quarantined tracks in {warehouse}")


def show_run(result: RunResult, *, as_json: bool) -> None:
    """The closing summary of a run."""
    run = result.manifest
    if as_json:
        show_json(
            {
                "state": result.state,
                "run_id": result.run_id,
                "warehouse": result.warehouse,
                "up_to_date": result.up_to_date,
                "removed": result.removed,
                "removed_ids": list(result.removed_ids),
                "tracks": run.tracks if run else 0,
                "tagged": run.tagged if run else 0,
                "quarantined": run.quarantined if run else 0,
                "quarantined_by_code": run.quarantined_by_code if run else {},
                "segments": run.segments if run else 0,
                "audio_s": run.audio_s if run else 0.0,
                "wall_s": run.wall_s if run else 0.0,
                "bundles": run.bundles if run else [],
                "heard": run.heard if run else {},
                "finished": result.finished,
                "unfinished_runs": list(result.unfinished_runs),
            }
        )
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if run is None:
        console.print(f"Nothing to do: all {result.up_to_date:,} tracks are up to date in {result.warehouse}")
    elif result.state == "already_committed":
        console.print(f"Nothing to do: run {run.run_id} is finished ({run.tracks:,} tracks, {run.committed_at})")
    else:
        rate = run.audio_s / run.wall_s if run.wall_s else 0.0
        console.print(
            f"{run.tagged:,} of {run.tracks:,} tracks tagged: {run.audio_s / 3600:.2f} h of audio "
            f"in {clock(run.wall_s)}, {rate:,.0f}x real time, {run.segments:,} segments"
        )
        heard = heard_line(run.heard)
        if heard:
            console.print(heard)
        if result.up_to_date:
            console.print(f"{result.up_to_date:,} tracks were up to date and left alone")
        if run.quarantined:
            codes = ", ".join(f"{count:,} {code}" for code, count in sorted(run.quarantined_by_code.items()))
            console.print(f"{run.quarantined:,} quarantined: {codes}")
        console.print(f"run {run.run_id} in {result.warehouse}; models {', '.join(run.bundles)}")
        console.print(f'ask it: {program()} sql {shlex.quote(result.warehouse)} "{_FIRST_QUESTION}"')
    if result.finished is not None:
        console.print(f"run {result.finished}, left unfinished before, is finished now")
    if result.removed:
        console.print(removed_line(result.removed, result.removed_ids))
    if result.unfinished_runs:
        names = ", ".join(result.unfinished_runs)
        console.print(f"unfinished runs here: {names}; finish one with --run-id NAME")
