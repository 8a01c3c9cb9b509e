"""``catalog-tagger report``: what a warehouse holds, as a page that people read."""

from __future__ import annotations

import click


@click.command(short_help="Write a page of totals, costs, flags and songs that people read.")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix of the tables.")
@click.option("--out", help="File or s3:// key to write; default: WAREHOUSE/reports/<newest run>.html.")
@click.option(
    "--flags", "most_flags", type=click.IntRange(min=0), default=5000, show_default=True, help="Most flags on the page."
)
@click.option(
    "--grams",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="Flags whose evidence is drawn; needs their audio.",
)
def report(warehouse: str, out: str | None, most_flags: int, grams: int) -> None:
    """Write one HTML file about WAREHOUSE that opens anywhere, offline: totals, runs and their cost, quarantine
    reasons, how labels and audio agree, the ranked flags, each with its track's timeline and evidence, and the songs
    inside shows.

    Local audio is played from where it lies, beside the page or wherever its path leads from there; that in a bucket
    is not, but its evidence is drawn all the same.

    \b
    Examples:
      catalog-tagger report -w tags
      catalog-tagger report -w s3://bucket/tags --out report.html --grams 1000
    """
    from pathlib import Path

    from catalog_tagger.report.write import write_report
    from catalog_tagger.storage import Store

    store = Store(warehouse)
    place = write_report(store, out=out, most_flags=most_flags, grams=grams)
    click.echo(place if "://" in place else str(Path(place)))
