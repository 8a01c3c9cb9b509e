"""What a search for songs shows: how far it is, and what it found."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from catalog_tagger.cli.output import clock, counted, program, show_json, show_lines

if TYPE_CHECKING:
    from catalog_tagger.songs.job import SongsResult
    from catalog_tagger.songs.work import Stage

_SHOWN: Final = 20
_LINE_EVERY_S: Final = 10.0


class SearchDisplay:
    """Stages of a search on standard error: one line that changes on a terminal, else one every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._open = ExitStack()
        self._live: Live | None = None
        self._told_s = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(Text("starting"), console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> SearchDisplay:
        if self._live is not None:
            self._open.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def update(self, stage: Stage, done: int, total: int) -> None:
        """Show how far a stage is."""
        unit = "track" if stage == "hearing songs whole" else "task"
        line = f"{stage}: {done:,} of {counted(total, unit)}"
        if self._live is not None:
            self._live.update(Text(line))
        elif time.monotonic() - self._told_s >= _LINE_EVERY_S:
            self._told_s = time.monotonic()
            self._console.print(line, soft_wrap=True)


def show_songs(result: SongsResult, *, limit: int | None, as_json: bool) -> None:
    """The result for people, or as one JSON document."""
    if as_json:
        show_json(_document(result, limit=limit))
        return
    most = _SHOWN if limit is None else limit
    if result.songs.num_rows:
        show_lines([_song_line(row) for row in result.songs.slice(0, most).to_pylist()], right={"sure"})
        if result.songs.num_rows > most:
            click.echo(f"... {counted(result.songs.num_rows - most, 'more song')}; use --limit, --json or SQL")
        click.echo()
    click.echo(
        f"{counted(result.songs.num_rows, 'song')} in {counted(result.shows_with_songs, 'track')}, "
        f"of {counted(result.searches.num_rows, 'track')} in which there may be music; "
        f"{result.indexed:,} songs in the index"
    )
    unknown_s = sum(result.searches["unknown_s"].to_pylist())
    if unknown_s:
        click.echo(f"{clock(unknown_s)} of music in them is of no song of the catalogue")
    if result.duplicates.num_rows:
        pairs = [f"{row['track_id']} = {row['other_track_id']}" for row in result.duplicates.slice(0, 3).to_pylist()]
        more = ", ..." if result.duplicates.num_rows > len(pairs) else ""
        click.echo(
            f"{counted(result.duplicates.num_rows, 'track')} the same recording as another: {', '.join(pairs)}{more}"
        )
    if result.deepened.tagged or result.deepened.quarantined:
        failed = f", {result.deepened.quarantined} quarantined" if result.deepened.quarantined else ""
        click.echo(f"{counted(result.deepened.tagged, 'track')} of which parts had been heard: heard whole now{failed}")
    if result.deepened.out_of_reach:
        tracks = counted(result.deepened.out_of_reach, "track")
        click.echo(f"the audio of {tracks} of which parts had been heard is not to be found from here")
    if result.heard_in_part:
        left = counted(result.heard_in_part, "track")
        click.echo(f"{left} of which parts were heard left out; tag the source with --depth scan for them")
    if result.without_fingerprints:
        click.echo(
            f"{counted(result.without_fingerprints, 'track')} tagged by an older version: tag the source again for them"
        )
    click.echo(f"run {result.run_id} in {result.warehouse}, {result.manifest.wall_s:.1f} s")
    query = "select * from songs order by track_id, start_s"
    click.echo(f'ask it: {program()} sql {shlex.quote(result.warehouse)} "{query}"')


def _song_line(row: dict[str, Any]) -> dict[str, str]:
    altered = []
    if row["rate"] != 1.0:
        altered.append(f"speed {row['rate'] * 100 - 100:+.1f} %")
    if row["pitch_semitones"]:
        altered.append(f"{row['pitch_semitones']:+.1f} semitones")
    return {
        "track": row["track_id"],
        "from": clock(row["start_s"]),
        "to": clock(row["end_s"]),
        "song": row["song_track_id"],
        "its part from": clock(row["song_start_s"]),
        "altered": ", ".join(altered),
        "by chance": f"{row['expected_false_matches']:.0e}",
    }


def _document(result: SongsResult, *, limit: int | None) -> dict[str, Any]:
    songs = result.songs if limit is None else result.songs.slice(0, limit)
    return {
        "run_id": result.run_id,
        "warehouse": result.warehouse,
        "wall_s": result.manifest.wall_s,
        "indexed": result.indexed,
        "shows": result.searches.num_rows,
        "shows_with_songs": result.shows_with_songs,
        "without_fingerprints": result.without_fingerprints,
        "deepened": asdict(result.deepened),
        "heard_in_part": result.heard_in_part,
        "songs": songs.to_pylist(),
        "duplicates": result.duplicates.to_pylist(),
    }
