"""``catalog-tagger train``: a configuration and a manifest with labels in, a bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from catalog_tagger.errors import UsageError


@click.command(short_help="Train a bundle from a configuration file.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--init",
    "recordings",
    type=click.Path(path_type=Path),
    help="Do not train: write CONFIG and its manifest for this folder, which holds a subfolder of audio per label.",
)
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
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key: optimisation.steps=500.")
@click.option("--json", "as_json", is_flag=True, help="Print the bundle's figures as JSON.")
def train(
    config: Path,
    recordings: Path | None,
    manifest: Path | None,
    out: Path,
    cache: Path,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train the bundle that CONFIG (YAML) describes, and measure it.

    The manifest is a CSV of clips: path, label or labels (with ; between), and where there are any
    source, speaker_or_artist, split (train, validation, test), role, gender, licence. OUT receives
    metrics.jsonl, curves.png, initial, best and last weights, and the finished bundle/. Ctrl-C and SIGTERM
    leave the best and last weights. Nothing is resumed: an earlier training in OUT is replaced.

    \b
    Examples:
      catalog-tagger train mine.yaml --init recordings   # recordings/dog/1.wav, recordings/rain/2.mp3, ...
      catalog-tagger train mine.yaml --out mine
    """
    from rich.console import Console

    from catalog_tagger.cli.interruption import interrupt_on_sigterm
    from catalog_tagger.cli.output import show_json
    from catalog_tagger.cli.training_display import TrainingDisplay, show_figures, show_scaffold
    from catalog_tagger.training.config import read_config
    from catalog_tagger.training.job import Job
    from catalog_tagger.training.scaffold import scaffold

    if recordings is not None:
        options = {"--manifest": manifest, "--set": settings, "--json": as_json}
        ignored = [name for name, given in options.items() if given]
        if ignored:
            raise UsageError(f"--init writes a configuration and trains nothing: {', '.join(ignored)} would be ignored")
        show_scaffold(scaffold(recordings, config))
        return
    interrupt_on_sigterm()
    overrides: dict[str, Any] = {} if manifest is None else {"manifest": manifest}
    configuration = read_config(config, settings, **overrides)
    console = Console(stderr=True)
    with TrainingDisplay(console) as display:
        job = Job(
            config=configuration,
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
