"""``catalog-tagger views``: the warehouse as views of a SQL engine."""

from __future__ import annotations

import click


@click.command(short_help="Print the warehouse's views for your SQL engine.")
@click.argument("warehouse")
@click.option("--engine", required=True, help="duckdb, spark, clickhouse, datafusion, polars, athena or bigquery.")
@click.option("--at", "place", help="Where the engine finds the warehouse, if not where this command does.")
def views(warehouse: str, engine: str, place: str | None) -> None:
    """Print statements that define the views of WAREHOUSE for an engine: runs, tracks, segments, songs, flags, ...

    They read whole folders: runs that are committed later are seen as they come, but in a session of Spark or
    DataFusion, which lists files once. What engines need beside the tables is added where a warehouse lacks it.

    \b
    Examples:
      catalog-tagger views tags --engine duckdb > views.sql
      catalog-tagger views s3://bucket/tags --engine spark --at s3a://bucket/tags > views.sql
      catalog-tagger views s3://bucket/tags --engine athena > views.sql
      catalog-tagger views tags --engine polars > warehouse.py
    """
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.commit import require_warehouse
    from catalog_tagger.tables.engines import script
    from catalog_tagger.tables.published import publish

    store = Store(warehouse)
    require_warehouse(store)
    text = script(engine, place or store.uri)
    publish(store)
    click.echo(text, nl=False)
