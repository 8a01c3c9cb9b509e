"""``catalog-tagger sql``: an embedded DuckDB over the warehouse."""

from __future__ import annotations

import click


@click.command(short_help="Ask the warehouse's tables in SQL.")
@click.argument("warehouse")
@click.argument("statement")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as a JSON list.")
def sql(warehouse: str, statement: str, as_json: bool) -> None:
    """Run a DuckDB STATEMENT over the committed tables of WAREHOUSE.

    Views: tracks, segments and fingerprints (the newest row of each track), track_tags and segment_tags (a row
    per tag of those); songs, duplicates, searches, flags, label_noise, flag_precision and decisions (of the
    newest run that made them); each with _history for all rows; runs.

    \b
    Examples:
      catalog-tagger sql tags "select content_type, count(*) from tracks group by 1"
      catalog-tagger sql tags "select tag, count(*) from track_tags where score > 0.5 group by 1"
      catalog-tagger sql tags "select track_id, error_code from tracks where status = 'quarantined'"
      catalog-tagger sql tags "select * from flags where state = 'new' order by confidence desc" --json
      catalog-tagger sql tags "select * from segments where p_music > 0.9 and p_speech > 0.9" --json
    """
    from catalog_tagger.cli.output import show_rows
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.views import query

    show_rows(query(Store(warehouse), statement), as_json=as_json)
