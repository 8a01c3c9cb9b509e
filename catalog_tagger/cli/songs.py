"""``catalog-tagger songs``: songs of the catalogue inside its other tracks, and tracks that are the same."""

from __future__ import annotations

import click


@click.command(short_help="Find the catalogue's songs inside its other tracks.")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix of the tables.")
@click.option("--run-id", help="Name of the run [default: its start time].")
@click.option(
    "--most-false",
    type=click.FloatRange(min=0, min_open=True),
    help="A match is believed where chance gives a track at most so many [default: 0.003].",
)
@click.option("--again", is_flag=True, help="Search everything, whatever was searched before.")
@click.option(
    "--no-deepen",
    is_flag=True,
    help="Leave out songs of which the tagging pass heard parts, rather than hear them whole.",
)
@click.option("--processes", type=click.IntRange(min=1), help="Processes on this machine [default: one per CPU].")
@click.option("--ray-address", help="Search on this Ray cluster [default: RAY_ADDRESS, or here without Ray].")
@click.option("--limit", type=click.IntRange(min=0), help="Most songs shown [default: 20; with --json all].")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def songs(
    ctx: click.Context,
    /,
    warehouse: str,
    run_id: str | None,
    most_false: float | None,
    again: bool,
    no_deepen: bool,
    processes: int | None,
    ray_address: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Find songs of a warehouse inside its other tracks, with their times, and tracks that are the same recording.

    Songs are the tracks that were heard as music; every other track is searched where it may hold music. Songs
    of the catalogue alone are found: other music counts as unknown, and is never taken for its nearest neighbour. The
    index lies in the warehouse (index/); a next search looks at what is new. Where there is something to search,
    songs of which the tagging pass heard parts alone (see --depth of `tag`) are heard whole first.

    \b
    Examples:
      catalog-tagger songs -w tags
      catalog-tagger songs -w s3://bucket/tags --json
      catalog-tagger sql tags "select * from songs order by track_id, start_s"
      catalog-tagger sql tags "select track_id, unknown_s from searches order by unknown_s desc"
      catalog-tagger sql tags "select track_id, other_track_id from duplicates"

    Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted (what was finished is kept).
    """
    import sys
    from contextlib import redirect_stdout

    from catalog_tagger.cli.songs_display import SearchDisplay, show_songs
    from catalog_tagger.errors import EXIT_INTERRUPTED
    from catalog_tagger.songs.config import make_songs_config
    from catalog_tagger.songs.job import run_songs_job

    config = make_songs_config(
        warehouse=warehouse,
        run_id=run_id,
        most_false=most_false,
        again=again or None,
        deepen=False if no_deepen else None,
        processes=processes,
        ray_address=ray_address,
    )
    try:
        # Ray tells of its processes on standard output; the result stands alone
        with redirect_stdout(sys.stderr), SearchDisplay() as display:
            result = run_songs_job(config, on_progress=display.update)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on from what was finished", err=True)
        ctx.exit(EXIT_INTERRUPTED)
    show_songs(result, limit=limit, as_json=as_json)
