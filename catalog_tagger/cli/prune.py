"""``catalog-tagger prune``: old runs that nobody needs any more."""

from __future__ import annotations

import click


@click.command(short_help="Remove old runs all of whose rows have been replaced.")
@click.argument("warehouse")
@click.option("--keep-days", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Younger runs stay.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def prune(warehouse: str, keep_days: float, dry_run: bool, as_json: bool) -> None:
    """Remove committed runs of WAREHOUSE that are older than --keep-days and that nobody needs: runs of tagging all of
    whose tracks later runs have tagged again, and searches and comparisons that are not the newest of their kind.

    The newest row of every track stays, however old. Histories (tracks_history, ...) become shorter. The Iceberg
    tables of the warehouse's own catalogue (iceberg/catalog.db) lose the files as well.

    \b
    Examples:
      catalog-tagger prune tags --dry-run
      catalog-tagger prune s3://bucket/tags --keep-days 90
    """
    from dataclasses import asdict
    from datetime import timedelta

    from catalog_tagger.cli.output import show_json, show_lines
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.iceberg import own_catalog, unregister
    from catalog_tagger.tables.prune import prune as remove

    store = Store(warehouse)
    catalog = None if dry_run else own_catalog(store)
    found = remove(
        store,
        keep=timedelta(days=keep_days),
        dry_run=dry_run,
        unregister=None if catalog is None else lambda run_id: unregister(catalog, run_id),
    )
    if as_json:
        show_json([asdict(run) for run in found])
    elif found:
        rows = [
            {
                "run": run.run_id,
                "kind": run.kind,
                "committed": run.committed_at[:16].replace("T", " "),
                "files": f"{run.files:,}",
                "bytes": f"{run.size_bytes:,}",
            }
            for run in found
        ]
        show_lines(rows, right=("files", "bytes"))
        click.echo(f"{len(found):,} runs {'would be' if dry_run else 'are'} removed")
    else:
        click.echo("nothing to remove")
