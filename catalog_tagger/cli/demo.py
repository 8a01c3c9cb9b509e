"""``catalog-tagger demo``: the whole product on a catalogue made on the spot."""

from __future__ import annotations

from pathlib import Path

import click

from catalog_tagger.errors import EXIT_INTERRUPTED


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
    """Compose two dozen tracks, tag them, and compare their labels with what was heard.

    The catalogue holds songs, audiobooks, podcasts, noise, two broken files and a few wrong labels, in
    nine codecs. Nothing is downloaded. A second call finds the tables up to date and shows them again.

    \b
    Examples:
      catalog-tagger demo
      catalog-tagger demo --out /tmp/try --bundle my_bundle
    """
    from catalog_tagger.cli.demo_display import comparison_sql, note, show_comparison
    from catalog_tagger.cli.output import RunDisplay, program, show_run
    from catalog_tagger.demo import make_demo_catalogue
    from catalog_tagger.errors import StorageError
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
    config = make_config(source=str(catalogue.manifest), warehouse=str(out / "warehouse"), bundles=bundles or None)
    try:
        with RunDisplay() as display:
            result = run_tag_job(config, on_progress=display.update)
    except KeyboardInterrupt:
        note("interrupted; the same command makes up for it")
        ctx.exit(EXIT_INTERRUPTED)
    statement = comparison_sql(catalogue.manifest)
    rows = query(Store(str(out / "warehouse")), statement).to_pylist()
    show_comparison(rows, wrong_labels=catalogue.wrong_labels)
    show_run(result, as_json=False)
    click.echo(f'\nThe table above, asked by yourself:\n\n  {program()} sql {out / "warehouse"} "{statement}"')
