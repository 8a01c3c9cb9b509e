"""``catalog-tagger retry-quarantined``: the quarantined tracks of a warehouse once more."""

from __future__ import annotations

from typing import Any

import click

from catalog_tagger.cli.running import configured, run_options, run_or_estimate


@click.command("retry-quarantined", short_help="Tag a warehouse's quarantined tracks again.")
@click.argument("warehouse")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only this error code; repeatable [default: all].")
@click.option("--run-id", help="Name of the run [default: its start time]. The name of an unfinished run resumes it.")
@run_options
@click.pass_context
def retry_quarantined(
    ctx: click.Context, /, warehouse: str, codes: tuple[str, ...], run_id: str | None, **options: Any
) -> None:
    """Plan the tracks of WAREHOUSE that are quarantined now once more, whatever source they came from.

    They are tried where they were found, without a new listing of their source. Of a damaged tar all
    members are looked up again: those that can be read now are tagged, and a tar that is still damaged
    is quarantined again. The row of a tar that was mended stays, as rows of removed tracks do. Tracks that
    an earlier run's --root refused are tried only with a --root that allows them.

    \b
    Examples:
      catalog-tagger retry-quarantined tags
      catalog-tagger retry-quarantined tags --code unreadable --code not_found --dry-run

    Exit codes are those of `tag`.
    """
    from catalog_tagger.cli.output import program, show_nothing_to_retry
    from catalog_tagger.storage import Store
    from catalog_tagger.tagging.config import make_config
    from catalog_tagger.tagging.retry import RetryManifest, retry_source

    values = configured(options)
    wanted = codes or ("all",)
    # the name first: the run's manifest lies in its folder
    named = make_config(source=warehouse, warehouse=warehouse, run_id=run_id, retry_quarantined=wanted, **values)
    store = Store(named.warehouse)
    manifest = RetryManifest.find(store, run_id=named.run_id, codes=wanted, roots=named.roots)
    if manifest.rows.num_rows == 0:
        show_nothing_to_retry(store.uri, as_json=options["as_json"])
        return
    update = {"source": retry_source(store, named.run_id), "roots": named.roots or manifest.roots(store)}
    config = named.model_copy(update=update)
    tracks = None
    if options["dry_run"]:
        tracks = manifest.tracks(store, roots=config.roots)
    else:
        manifest.write(store)
    words = [program(), "retry-quarantined", warehouse, "--run-id", config.run_id]
    run_or_estimate(ctx, config, words=words, tracks=tracks)
