"""``catalog-tagger train``: a configuration and a manifest with labels in, a bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Train a bundle from a configuration file.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), help="The labelled clips, instead of the file's.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("trained"), show_default=True, help="Where the result goes."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".training-cache"),
    show_default=True,
    help="Where decoded clips are kept between trainings (about 0.3 GB per hour of audio).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the bundle's figures as JSON.")
def train(config: Path, manifest: Path | None, out: Path, cache: Path, as_json: bool) -> None:
    """Train the bundle that CONFIG (YAML) describes, and measure it.

    The manifest is a CSV with the columns path, role (speech, music, noise, tag) and source; split,
    label, original_path, duration_s, speaker_or_artist and licence are used where they are present.
    OUT receives metrics.jsonl, initial, best and last weights, and the finished bundle/. Ctrl-C
    leaves the best and last weights. Nothing is resumed: an earlier training in OUT is replaced.

    \b
    Example:
      catalog-tagger train speech_music.yaml --manifest clips.csv --out trained
    """
    from rich.console import Console

    from catalog_tagger.cli.output import show_json
    from catalog_tagger.cli.training_display import TrainingDisplay, show_figures
    from catalog_tagger.training.config import read_config
    from catalog_tagger.training.job import Job

    overrides: dict[str, Any] = {} if manifest is None else {"manifest": manifest}
    settings = read_config(config, **overrides)
    console = Console(stderr=True)
    with TrainingDisplay(console) as display:
        job = Job(
            config=settings,
            out=out,
            cache_dir=cache,
            progress=display.prepare,
            report=display.train,
            say=display.say,
        )
        try:
            card = job.run()
        except KeyboardInterrupt:
            console.print(f"interrupted; the weights so far are in {out}")
            raise
    if as_json:
        show_json(card["figures"])
    else:
        show_figures(card, out / "bundle")
