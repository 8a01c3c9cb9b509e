"""``catalog-tagger demo``: the whole product on a catalogue made on the spot."""

from __future__ import annotations

from pathlib import Path

import click

from catalog_tagger.errors import EXIT_INTERRUPTED

_FLAGS = 12


@click.command(short_help="Make a small catalogue, tag it and show what was found.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the catalogue and the warehouse.",
)
@click.option("--bundle", "bundles", multiple=True, help="Model, by name or folder; repeatable [default: all].")
@click.pass_context
def demo(ctx: click.Context, out: Path, bundles: tuple[str, ...]) -> None:
    """Compose two dozen tracks, tag them, find songs inside them, and flag the labels that the audio contradicts.

    The catalogue holds songs, audiobooks, podcasts that play some of the songs, noise, two broken files and a few
    wrong labels, in nine codecs. Nothing is downloaded. A second call finds the tables up to date and shows them
    again.

    \b
    Examples:
      catalog-tagger demo
      catalog-tagger demo --out /tmp/try --bundle my_bundle
    """
    from catalog_tagger.cli.demo_display import comparison_sql, note, show_comparison
    from catalog_tagger.cli.output import RunDisplay, program, show_run
    from catalog_tagger.cli.reconcile_display import show_flags
    from catalog_tagger.cli.songs_display import show_songs
    from catalog_tagger.demo import make_demo_catalogue
    from catalog_tagger.errors import StorageError
    from catalog_tagger.reconcile.config import make_config as make_reconcile_config
    from catalog_tagger.reconcile.job import run_reconcile
    from catalog_tagger.report.write import write_report
    from catalog_tagger.songs.config import make_songs_config
    from catalog_tagger.songs.job import run_songs_job
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.views import query
    from catalog_tagger.tagging.config import make_config
    from catalog_tagger.tagging.job import run_tag_job

    note(f"making a catalogue in {out / 'catalogue'} ...")
    try:
        catalogue = make_demo_catalogue(out / "catalogue")
    except OSError as error:
        raise StorageError(f"{error.filename or out}: cannot write the catalogue: {error.strerror}") from error
    note(
        f"{catalogue.n_tracks} tracks, {catalogue.duration_s / 60:.0f} minutes, {catalogue.n_broken} files broken and "
        f"{len(catalogue.wrong_labels)} labels wrong on purpose; tagging it into {out / 'warehouse'} ..."
    )
    warehouse, manifest = str(out / "warehouse"), str(catalogue.manifest)
    config = make_config(source=manifest, warehouse=warehouse, bundles=bundles or None)
    try:
        with RunDisplay() as display:
            result = run_tag_job(config, on_progress=display.update)
        note("looking for its songs inside its other tracks, and for labels that the audio contradicts ...")
        # a process of its own for each CPU takes longer to start than so few tracks to search
        songs = run_songs_job(make_songs_config(warehouse=warehouse, processes=1))
        reconciled = run_reconcile(make_reconcile_config(warehouse=warehouse, metadata=manifest))
    except KeyboardInterrupt:
        note("interrupted; the same command makes up for it")
        ctx.exit(EXIT_INTERRUPTED)
    statement = comparison_sql(catalogue.manifest)
    rows = query(Store(warehouse), statement).to_pylist()
    show_comparison(rows, wrong_labels=catalogue.wrong_labels)
    show_run(result, as_json=False)
    click.echo(f'\nThe table above, asked by yourself:\n\n  {program()} sql {warehouse} "{statement}"')
    click.echo(f"\nSongs inside other tracks ({program()} songs -w {warehouse}):\n")
    show_songs(songs, limit=None, as_json=False)
    click.echo(f"\nWhat an editor is asked ({program()} reconcile -w {warehouse} -m {manifest}):")
    show_flags(reconciled.flags, most=_FLAGS)
    page = write_report(Store(warehouse), out=str((out / "report.html").absolute()))
    click.echo(f"\nAll of it as a page, to look at and to listen to ({program()} report -w {warehouse}): {page}")
