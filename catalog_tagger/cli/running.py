"""What ``tag`` and ``retry-quarantined`` have in common: their options, a run or a dry run, its end."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from catalog_tagger.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    import pyarrow as pa

    from catalog_tagger.tagging.config import TagConfig

_Command = TypeVar("_Command", bound=Callable[..., object])

_OPTIONS: Final = (
    click.option(
        "--bundle",
        "bundles",
        multiple=True,
        help="Model, by name or folder; repeatable [default: all that ship].",
    ),
    click.option(
        "--depth",
        type=click.Choice(["skim", "scan", "auto"]),
        help="How much of a track is heard: a few segments, all, or few of what is clearly music [default: auto].",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32"]),
        help="Of networks on CPUs: bfloat16 where it is fast, which moves scores by about 0.01 [default: auto].",
    ),
    click.option("--root", "roots", multiple=True, help="Folder or s3:// prefix that tracks may lie in; repeatable."),
    click.option("--shard-tracks", type=int, help="Most tracks of a work shard [default: 4000]."),
    click.option("--shard-bytes", type=int, help="Most bytes of audio of a work shard [default: 1 GiB]."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "gpu"]), help="Where models run [default: GPUs if any]."
    ),
    click.option(
        "--max-actors", type=int, help="Most tagging actors [default: one per GPU; else per 8 CPUs, at least 2]."
    ),
    click.option(
        "--decoders", type=int, help="Tracks an actor has decoded at a time [default: its share of CPUs, plus 1]."
    ),
    click.option("--ray-address", help="Ray cluster [default: RAY_ADDRESS, or a local one for this run]."),
    click.option("--cost-per-hour", type=float, help="Price of one node for an hour, for estimates and `runs`."),
    click.option("--dry-run", is_flag=True, help="Say what there is to do, how long it takes and what it costs."),
    click.option("--nodes", type=click.IntRange(min=1), help="With --dry-run: reckon with so many nodes."),
    click.option("--cpus", type=click.IntRange(min=1), help="With --dry-run: reckon with so many CPUs per node."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)
#: options that are no part of a job's configuration
_OF_THE_CALL: Final = frozenset({"dry_run", "nodes", "cpus", "as_json"})


def run_options(command: _Command) -> _Command:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def configured(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options above that configure the job; what was not given is None."""
    if (options["nodes"] or options["cpus"]) and not options["dry_run"]:
        raise click.UsageError("--nodes and --cpus ask what a run would take; add --dry-run")
    return {name: None if value == () else value for name, value in options.items() if name not in _OF_THE_CALL}


def run_or_estimate(ctx: click.Context, config: TagConfig, *, words: list[str], tracks: pa.Table | None = None) -> None:
    """Run a job, or estimate it, show what came of it and exit with its code.

    Parameters
    ----------
    words
        The command as it is called again after an interruption, but for the options that were given.
    tracks
        What a dry run plans in place of the source's tracks.
    """
    from catalog_tagger.cli.output import RunDisplay, show_run

    options = ctx.params
    if options["dry_run"]:
        from catalog_tagger.cli.dry_run_display import show_dry_run
        from catalog_tagger.tagging.estimate import plan_only

        planned = plan_only(config, nodes=options["nodes"], cpus=options["cpus"], tracks=tracks)
        show_dry_run(planned, as_json=options["as_json"])
        return
    from catalog_tagger.tagging.job import run_tag_job

    try:
        with RunDisplay() as display:
            result = run_tag_job(config, on_progress=display.update)
    except KeyboardInterrupt:
        command = shlex.join([*words, *_given(ctx)])
        click.echo(f"interrupted; finished shards are kept. Resume with:\n  {command}", err=True)
        ctx.exit(EXIT_INTERRUPTED)
    show_run(result, as_json=options["as_json"])
    ctx.exit(result.exit_code)


def _given(ctx: click.Context) -> list[str]:
    """Options with a value that the user gave, beside those that every resume command names."""
    given = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        value = ctx.params.get(name)
        named = isinstance(parameter, click.Argument) or name in {*_OF_THE_CALL, "warehouse", "run_id"}
        if named or value is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        given += [f"{parameter.opts[0]}={item}" for item in values]
    return given
