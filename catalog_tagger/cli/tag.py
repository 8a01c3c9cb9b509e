"""``catalog-tagger tag``: a source into a warehouse."""

from __future__ import annotations

import shlex

import click

from catalog_tagger.errors import EXIT_INTERRUPTED


@click.command(short_help="Tag a folder, bucket, manifest or tar files into a warehouse.")
@click.argument("source")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix that holds the tables.")
@click.option("--run-id", help="Name of the run [default: its start time]. The name of an unfinished run resumes it.")
@click.option("--bundle", "bundles", multiple=True, help="Model to run, by name or folder; may be repeated.")
@click.option("--shard-tracks", type=int, help="Most tracks of a work shard [default: 4000].")
@click.option("--shard-bytes", type=int, help="Most bytes of audio of a work shard [default: 1 GiB].")
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), help="Where models run [default: GPUs if any].")
@click.option("--max-actors", type=int, help="Most tagging actors [default: one per GPU, or per node without].")
@click.option(
    "--decoders", type=int, help="Tracks an actor has decoded at a time [default: its share of CPUs, plus 1]."
)
@click.option("--ray-address", help="Ray cluster [default: RAY_ADDRESS, or a local one for this run].")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def tag(
    ctx: click.Context,
    source: str,
    warehouse: str,
    run_id: str | None,
    bundles: tuple[str, ...],
    shard_tracks: int | None,
    shard_bytes: int | None,
    device: str | None,
    max_actors: int | None,
    decoders: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Tag every track of SOURCE that the warehouse does not hold yet.

    SOURCE is a folder, an s3:// prefix, a manifest (.csv or .parquet with track_id and uri), or tar
    files (one, a folder of them, or a quoted pattern). Credentials come from the AWS environment.

    \b
    Examples:
      catalog-tagger tag ~/Music --warehouse tags
      catalog-tagger tag catalogue.csv --warehouse s3://bucket/tags --run-id 2026-w47
      AWS_ENDPOINT_URL=http://localhost:9000 catalog-tagger tag "s3://b/shards/*.tar" -w s3://b/tags

    \b
    Exit codes: 0 all tagged, 3 some tracks quarantined, 2 bad usage, 1 failed,
    130 interrupted (the run can be resumed with its --run-id).
    """
    from catalog_tagger.cli.output import RunDisplay, program, show_run
    from catalog_tagger.tagging.config import make_config
    from catalog_tagger.tagging.job import run_tag_job

    config = make_config(
        source=source,
        warehouse=warehouse,
        run_id=run_id,
        bundles=bundles or None,
        shard_tracks=shard_tracks,
        shard_bytes=shard_bytes,
        device=device,
        max_actors=max_actors,
        decoders=decoders,
        ray_address=ray_address,
    )
    try:
        with RunDisplay() as display:
            result = run_tag_job(config, on_progress=display.update)
    except KeyboardInterrupt:
        again = [f"--{name.replace('_', '-')}={value}" for name, value in _given(ctx) if name != "bundles"]
        again += [f"--bundle={name}" for name in bundles]
        command = shlex.join([program(), "tag", source, "--warehouse", warehouse, "--run-id", config.run_id, *again])
        click.echo(f"interrupted; finished shards are kept. Resume with:\n  {command}", err=True)
        ctx.exit(EXIT_INTERRUPTED)
    show_run(result, as_json=as_json)
    ctx.exit(result.exit_code)


def _given(ctx: click.Context) -> list[tuple[str, object]]:
    """Options with a value that the user gave, beside those that every resume command names."""
    named = {"source", "warehouse", "run_id", "as_json"}
    return [(name, value) for name, value in ctx.params.items() if name not in named and value]
