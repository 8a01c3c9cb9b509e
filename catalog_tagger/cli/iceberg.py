"""``catalog-tagger iceberg``: the warehouse's files as Iceberg tables."""

from __future__ import annotations

import click


@click.command(short_help="Register the warehouse's files as Iceberg tables.")
@click.argument("warehouse")
@click.option("--catalog", "name", help="A catalogue of PyIceberg's configuration; default: SQLite in the warehouse.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="Of the catalogue, as PyIceberg's.")
@click.option("--namespace", default="catalog_tagger", show_default=True, help="Where the tables are.")
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON.")
def iceberg(warehouse: str, name: str | None, properties: tuple[str, ...], namespace: str, as_json: bool) -> None:
    """Register the committed files of WAREHOUSE in an Iceberg catalogue, a snapshot for each run; nothing is copied.

    Runs that are registered are left alone: call it after each run. Tables hold every committed row; which are
    current is said by the statements of "catalog-tagger views". Needs PyIceberg: pip install 'catalog-tagger[iceberg]'.

    \b
    Examples:
      catalog-tagger iceberg tags                                     # tags/iceberg/catalog.db
      catalog-tagger iceberg s3://bucket/tags --property type=glue
      catalog-tagger iceberg s3://bucket/tags --property type=rest --property uri=https://catalogue.example
      catalog-tagger iceberg s3://bucket/tags --catalog production    # of ~/.pyiceberg.yaml
    """
    from dataclasses import asdict

    from catalog_tagger.cli.output import show_json, show_lines
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.iceberg import open_catalog, pairs_of, register

    store = Store(warehouse)
    catalog = open_catalog(store, name=name, properties=pairs_of(properties))
    added = register(store, catalog, namespace=namespace)
    if as_json:
        show_json([asdict(one) for one in added])
    elif added:
        rows = [
            {
                "table": one.table,
                "run": one.run_id,
                "files": f"{one.files:,}",
                "rows": f"{one.rows:,}",
                "snapshot": str(one.snapshot_id),
            }
            for one in added
        ]
        show_lines(rows, right=("files", "rows"))
    else:
        click.echo("all runs are registered")
