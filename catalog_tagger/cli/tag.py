"""``catalog-tagger tag``: a source into a warehouse."""

from __future__ import annotations

from typing import Any

import click

from catalog_tagger.cli.running import configured, run_options, run_or_estimate


@click.command(short_help="Tag a folder, bucket, manifest or tar files into a warehouse.")
@click.argument("source")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix that holds the tables.")
@click.option("--run-id", help="Name of the run [default: its start time]. The name of an unfinished run resumes it.")
@click.option(
    "--retry-quarantined",
    multiple=True,
    metavar="CODE",
    help="Plan tracks quarantined with this error code again, or 'all'; repeatable.",
)
@run_options
@click.pass_context
def tag(ctx: click.Context, /, source: str, warehouse: str, run_id: str | None, **options: Any) -> None:
    """Tag every track of SOURCE that the warehouse does not hold yet.

    SOURCE is a folder, an s3:// prefix, a manifest (.csv or .parquet with track_id and uri), or tar
    files (one, a folder of them, or a quoted pattern). Credentials come from the AWS environment.

    \b
    Examples:
      catalog-tagger tag ~/Music --warehouse tags
      catalog-tagger tag catalogue.csv --warehouse s3://bucket/tags --run-id 2026-w47
      catalog-tagger tag s3://bucket/audio -w s3://bucket/tags --dry-run --nodes 10 --cpus 16
      catalog-tagger tag ~/Music --warehouse tags --depth scan
      AWS_ENDPOINT_URL=http://localhost:9000 catalog-tagger tag "s3://b/shards/*.tar" -w s3://b/tags

    \b
    Exit codes: 0 all tagged, 3 some tracks quarantined, 2 bad usage, 1 failed,
    130 interrupted (the run can be resumed with its --run-id).
    """
    from catalog_tagger.cli.output import program
    from catalog_tagger.tagging.config import make_config

    config = make_config(source=source, warehouse=warehouse, run_id=run_id, **configured(options))
    # without a name the job finds by itself what it left unfinished
    named = [] if run_id is None else ["--run-id", run_id]
    run_or_estimate(ctx, config, words=[program(), "tag", source, "--warehouse", warehouse, *named])
