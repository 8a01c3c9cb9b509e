"""``python -m catalog_tagger.training.experiments``: the paper's experiments, side by side with its tables."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from catalog_tagger.errors import EXIT_INTERRUPTED, CatalogTaggerError


@click.command()
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    required=True,
    help="The labelled clips: a CSV as `catalog-tagger train` reads it, with rows of the split test.",
)
@click.option("--only", default="", help="Experiments to run, as 1,3 or 4b; all of 1 to 8 where empty.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("experiments"), show_default=True)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".training-cache"),
    show_default=True,
    help="Where decoded clips are kept.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--finished", is_flag=True, help="Only make the tables of what has run already.")
@click.option("--smoke", is_flag=True, help="A few samples, one epoch: shows that everything runs, measures nothing.")
def main(*, manifest: Path, only: str, out: Path, cache: Path, threads: int, finished: bool, smoke: bool) -> None:
    """Run the paper's Experiments 1 to 8 on labelled clips and compare the tables.

    Every finished training is kept in OUT and not run again: the same command goes on after an
    interruption. OUT receives tables.md, tables.json and pictures of the filters.

    \b
    Example:
      python -m catalog_tagger.training.experiments --manifest clips.csv --only 2,8 --out experiments
    """
    from catalog_tagger.training.experiments.session import run

    try:
        run(
            manifest=manifest,
            only=[one.strip() for one in only.split(",") if one.strip()],
            out=out,
            cache_dir=cache,
            threads=threads,
            finished_only=finished,
            smoke_only=smoke,
            say=click.echo,
        )
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on after the last finished training", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except CatalogTaggerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
