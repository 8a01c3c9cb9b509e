"""``catalog-tagger prune``: old runs that nobody needs any more."""

from __future__ import annotations

import click


@click.command(short_help="Remove old runs all of whose rows have been replaced.")
@click.argument("warehouse")
@click.option("--keep-days", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Younger runs stay.")
@click.option("--catalog", "name", help="Iceberg catalogue that has them; default: SQLite in the warehouse.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="Of that catalogue.")
@click.option("--namespace", default="catalog_tagger", show_default=True, help="Where its tables are.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def prune(
    warehouse: str,
    keep_days: float,
    name: str | None,
    properties: tuple[str, ...],
    namespace: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove committed runs of WAREHOUSE that are older than --keep-days and that nobody needs: runs of tagging all of
    whose tracks later runs have tagged again, and searches and comparisons that are not the newest of their kind.

    The newest row of every track stays, however old, and the newest run of every source. Histories (tracks_history,
    ...) become shorter. Where the files are registered in an Iceberg catalogue other than the warehouse's own SQLite,
    name it as for "catalog-tagger iceberg", so that it loses them first.

    \b
    Examples:
      catalog-tagger prune tags --dry-run
      catalog-tagger prune s3://bucket/tags --keep-days 90 --property type=glue
    """
    from dataclasses import asdict
    from datetime import timedelta

    from catalog_tagger.cli.output import show_json, show_lines
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.iceberg import open_catalog, own_catalog, pairs_of, unregister
    from catalog_tagger.tables.prune import prune as remove

    store, catalog = Store(warehouse), None
    if not dry_run:
        named = name is not None or properties
        catalog = open_catalog(store, name=name, properties=pairs_of(properties)) if named else own_catalog(store)
    found = remove(
        store,
        keep=timedelta(days=keep_days),
        dry_run=dry_run,
        unregister=None if catalog is None else lambda run_ids: unregister(catalog, run_ids, namespace=namespace),
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
