"""``python -m catalog_tagger.reconcile.benchmark``: the product on a catalogue whose truth is known.

Tagging, the search for songs and the reconcile run do what they do for anybody, on the manifest with its errors; then
what they wrote is compared with the truth (`benchmark_figures`). Tagging does what is missing alone, the
others are new runs each time. Files that hold no audio are part of such a catalogue: only a track that
should play and is quarantined makes the exit code 3.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa

from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.output import RunDisplay, clock, counted, show_json, show_lines
from catalog_tagger.cli.songs_display import SearchDisplay
from catalog_tagger.configuration import absolute
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_QUARANTINED, CatalogTaggerError, UsageError, named
from catalog_tagger.reconcile import benchmark_figures as figures
from catalog_tagger.reconcile.benchmark_catalogue import Catalogue, Played, read_catalogue, with_copies
from catalog_tagger.reconcile.claims import MISLABELLED
from catalog_tagger.reconcile.flags import NEW, OPEN
from catalog_tagger.reconcile.mapping import CONTENT_TYPE, VOICE_GENDER
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

_MOST_NAMED: Final = 20
_TRACKS_SQL: Final = "SELECT track_id, status, coalesce(duration_s, 0.0) AS duration_s FROM tracks ORDER BY track_id"


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What the jobs wrote."""

    tracks: pa.Table
    """``track_id, status, duration_s``."""
    songs: pa.Table
    duplicates: pa.Table
    searches: pa.Table
    flags: pa.Table
    flag_precision: pa.Table


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came of a benchmark."""

    tracks: int
    hours: float
    quarantined: int
    quarantined_though_playable: tuple[str, ...]
    labels: tuple[figures.LabelFigures, ...]
    songs: figures.SongFigures
    duplicates: figures.DuplicateFigures
    seconds: Mapping[str, float]
    """Job -> its seconds; what there was to do is for the warehouse to say."""

    @property
    def exit_code(self) -> int:
        """0, or 3 where a track that should play is quarantined."""
        return EXIT_QUARANTINED if self.quarantined_though_playable else EXIT_OK


def run_benchmark(folder: Path, *, warehouse: str | None = None, copies: int = 12) -> Figures:
    """Run the jobs on a catalogue and compare what they wrote with its truth.

    Parameters
    ----------
    folder
        As `benchmark_catalogue` says.
    warehouse
        Of the tables; by default the folder ``warehouse`` of the catalogue. Copies lie beside it.
    copies
        How many tracks are copied, so that there are duplicates to find. A warehouse keeps the copies that were
        tagged into it, so it stays with its number.

    Raises
    ------
    CatalogTaggerError
        As the jobs, `read_catalogue` and `with_copies`.
    """
    place = absolute(str(folder / "warehouse") if warehouse is None else warehouse)
    catalogue = read_catalogue(folder)
    if copies:
        if "://" in place:
            raise UsageError(f"{place}: copies of tracks lie beside the warehouse; name a local one, or use --copies 0")
        catalogue = with_copies(catalogue, Path(f"{place.rstrip('/')}-copies"), copies)
    seconds: dict[str, float] = {}
    tables = _run_jobs(catalogue, place, seconds)
    return measure(catalogue, tables, seconds=seconds)


def _run_jobs(catalogue: Catalogue, warehouse: str, seconds: dict[str, float]) -> Tables:
    # each of them brings Ray, torch or cleanlab, which refused input needs not wait for
    from catalog_tagger.reconcile import config as reconcile_config
    from catalog_tagger.reconcile.job import run_reconcile
    from catalog_tagger.songs.config import make_songs_config
    from catalog_tagger.songs.job import run_songs_job
    from catalog_tagger.tagging import config as tag_config
    from catalog_tagger.tagging.job import run_tag_job

    manifest = str(catalogue.manifest)
    with _timed("tag", seconds), RunDisplay() as run_display:
        run_tag_job(tag_config.make_config(source=manifest, warehouse=warehouse), on_progress=run_display.update)
    with _timed("songs", seconds), redirect_stdout(sys.stderr), SearchDisplay() as search_display:
        searched = run_songs_job(make_songs_config(warehouse=warehouse), on_progress=search_display.update)
    with _timed("reconcile", seconds), redirect_stdout(sys.stderr):
        reconciled = run_reconcile(reconcile_config.make_config(warehouse=warehouse, metadata=manifest))
    return Tables(
        tracks=query(Store(warehouse), _TRACKS_SQL),
        songs=searched.songs,
        duplicates=searched.duplicates,
        searches=searched.searches,
        flags=reconciled.flags,
        flag_precision=reconciled.flag_precision,
    )


@contextmanager
def _timed(job: str, seconds: dict[str, float]) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[job] = round(time.monotonic() - began, 2)


def measure(catalogue: Catalogue, tables: Tables, *, seconds: Mapping[str, float]) -> Figures:
    """Compare what the jobs wrote with the truth of a catalogue."""
    tracks = {row["track_id"]: row for row in tables.tracks.to_pylist() if row["track_id"] in catalogue.truth}
    quarantined = [track_id for track_id, row in tracks.items() if row["status"] != "tagged"]
    searches = tables.searches.to_pylist()
    duplicates = tables.duplicates.to_pylist()
    searched_s = sum(tracks[row["track_id"]]["duration_s"] for row in searches if row["track_id"] in tracks)
    truth = catalogue.truth
    wrong_type = {track_id for track_id, one in truth.items() if one.label_error}
    wrong_gender = {track_id for track_id, one in truth.items() if one.gender_error}
    known_type = {track_id for track_id, one in truth.items() if one.content_type}
    known_gender = {track_id for track_id, one in truth.items() if one.gender}
    return Figures(
        tracks=len(tracks),
        hours=sum(row["duration_s"] for row in tracks.values()) / 3600,
        quarantined=len(quarantined),
        quarantined_though_playable=tuple(one for one in quarantined if truth[one].playable),
        labels=(
            _of_field(CONTENT_TYPE, tables, errors=wrong_type, judged=known_type),
            _of_field(VOICE_GENDER, tables, errors=wrong_gender, judged=known_gender),
        ),
        songs=figures.song_figures(
            [
                Played(row["track_id"], row["song_track_id"], row["start_s"], row["end_s"])
                for row in tables.songs.to_pylist()
            ],
            catalogue.songs,
            searches=searches,
            hours=searched_s / 3600,
            duplicates=duplicates,
            copies=catalogue.copies,
        ),
        duplicates=figures.duplicate_figures(duplicates, catalogue.copies),
        seconds=seconds,
    )


def _of_field(field: str, tables: Tables, *, errors: set[str], judged: set[str]) -> figures.LabelFigures:
    def are_of(table: pa.Table) -> list[dict[str, Any]]:
        return [row for row in table.to_pylist() if (row["kind"], row["field"]) == (MISLABELLED, field)]

    flags = [flag for flag in are_of(tables.flags) if flag["state"] in (NEW, OPEN)]
    cut = next((row for row in are_of(tables.flag_precision) if row["is_cut"]), None)
    return figures.label_figures(field, flags, errors=errors, judged=judged, cut=cut)


def show(found: Figures) -> None:
    """The figures for people."""
    playable = found.quarantined_though_playable
    click.echo(
        f"{counted(found.tracks, 'track')}, {found.hours:.2f} h of audio; {found.quarantined:,} quarantined, of which "
        + (f"should play: {_some(playable)}" if playable else "none should play")
    )
    click.echo("shares with their numbers and 95 % intervals (Wilson)")
    for labels in found.labels:
        click.echo(f"\nWrong labels of {labels.field}: {labels.errors:,}, {counted(labels.flags, 'flag')}")
        _show_shares(_label_lines(labels))
        for name, ids in (("wrong", labels.wrong), ("missed", labels.missed), ("truth unknown", labels.unjudged)):
            if ids:
                click.echo(f"{name}: {_some(ids)}")
    click.echo("\nSongs inside other tracks")
    _show_shares(_song_lines(found.songs))
    _show_false(found.songs)
    click.echo("\nThe same recording under two ids")
    copies = found.duplicates
    _show_shares(
        {"copies found": str(copies.found), **{f"of {kind}": str(one) for kind, one in copies.by_kind.items()}}
    )
    if copies.missed:
        click.echo(f"missed: {_some(copies.missed)}")
    pairs = [f"{one} = {other}" for one, other in copies.others]
    click.echo(f"others: {_some(pairs) if pairs else 'none'}")
    click.echo("\nseconds: " + ", ".join(f"{job} {seconds:.1f}" for job, seconds in found.seconds.items()))


def _show_shares(lines: Mapping[str, str]) -> None:
    show_lines([{"figure": name, "value": value} for name, value in lines.items()], right=())


def _label_lines(labels: figures.LabelFigures) -> dict[str, str]:
    lines = {"precision": str(labels.precision), "recall": str(labels.recall)}
    if labels.expected is not None:
        ends = labels.expected_interval
        within = "no interval" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"
        lines["expected precision"] = f"{100 * labels.expected:.1f} % ({within})"
    if labels.inside is not None:
        lines["precision lies in that"] = "yes" if labels.inside else "no"
    if labels.best is not None:
        told = f"{labels.best.precision} from a confidence of {labels.best.confidence:.4f}"
        lines[f"best precision at recall {figures.RECALL}"] = told
    elif labels.errors:
        lines[f"best precision at recall {figures.RECALL}"] = "the list does not reach it"
    return lines


def _song_lines(songs: figures.SongFigures) -> dict[str, str]:
    lines = {
        "excerpts found": str(songs.found),
        "without speech over them": str(songs.found_alone),
        "under speech": str(songs.found_under_speech),
    }
    for name, ends in (("starts", songs.starts), ("ends", songs.ends)):
        if ends.median_s is not None:
            lines[f"{name} within {figures.NEAR_S:.0f} s"] = f"{ends.near}, median {ends.median_s:.2f} s off"
    rate = "" if songs.false_per_100_hours is None else f", {songs.false_per_100_hours:.1f} in 100 h"
    lines["false matches"] = f"{songs.false:,} of {counted(songs.rows, 'row')} in {songs.hours:.2f} h searched{rate}"
    if songs.unknown_share is not None:
        lines["music of no song"] = f"{100 * songs.unknown_share:.1f} % of {clock(songs.music_s)}"
    return lines


def _show_false(songs: figures.SongFigures) -> None:
    same = songs.same_by_duplicates
    for name, rows in (
        ("missed", songs.missed),
        ("false, in music that the truth does not name", songs.false_unnamed),
        (f"false, over another song ({same:,} the same by duplicates)", songs.false_other_song),
        ("false, beside an excerpt of the song", songs.false_elsewhere),
    ):
        if rows:
            counts = Counter(row.song_track_id for row in rows).most_common()
            told = [f"{row.track_id} at {row.start_s:.0f} s {row.song_track_id}" for row in rows]
            click.echo(f"{name}: {len(rows):,}: {_some(told)}")
            if len(rows) > 1:
                click.echo(f"    their songs: {_some([f'{song} ({count:,})' for song, count in counts])}")


def _some(names: Sequence[str]) -> str:
    return named(names, most=_MOST_NAMED)


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path))
@click.option("--warehouse", "-w", help="Folder of the tables [default: CATALOGUE/warehouse].")
@click.option(
    "--copies", default=12, show_default=True, type=click.IntRange(0), help="Tracks to copy, as duplicates to find."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def main(*, catalogue: Path, warehouse: str | None, copies: int, as_json: bool) -> None:
    """Run the product on CATALOGUE, whose truth is known, and say how right it is.

    CATALOGUE is a folder with manifest.csv, truth.csv, songs_truth.csv and the audio. What is tagged already in the
    warehouse is not tagged again; a warehouse keeps the copies that were made for it, so give it their number anew.

    \b
    Examples:
      python -m catalog_tagger.reconcile.benchmark catalogue
      python -m catalog_tagger.reconcile.benchmark catalogue --warehouse tags --copies 0 --json

    Exit codes: 0 done, 1 failed, 2 bad usage, 3 tracks that should play are quarantined, 130 interrupted.
    """
    interrupt_on_sigterm()
    try:
        found = run_benchmark(catalogue, warehouse=warehouse, copies=copies)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on with what is tagged", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except CatalogTaggerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        show_json(asdict(found))
    else:
        show(found)
    sys.exit(found.exit_code)


if __name__ == "__main__":
    main()
