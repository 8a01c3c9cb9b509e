"""``catalog-tagger evaluate``: how often a bundle is right on labelled clips."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Measure a bundle on labelled clips.")
@click.argument("bundle")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which rows of the manifest to use.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".training-cache"),
    show_default=True,
    help="Where decoded clips are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures, per source too, as JSON.")
def evaluate(bundle: str, manifest: Path, split: str, cache: Path, as_json: bool) -> None:
    """Measure BUNDLE (a name or a folder) on the rows of MANIFEST, a CSV as `train` takes it.

    \b
    Example:
      catalog-tagger evaluate speech_music clips.csv --split test
    """
    import torch
    from rich.console import Console

    from catalog_tagger.cli.output import show_json
    from catalog_tagger.cli.training_display import TrainingDisplay, figures_table, sources_table
    from catalog_tagger.models.bundle import load_bundle
    from catalog_tagger.training.config import ClipConfig
    from catalog_tagger.training.measure import measure, select

    loaded = load_bundle(bundle)
    trained = loaded.card.get("training", {}).get("config", {})
    special = ClipConfig.model_validate(trained.get("clips", {}))

    def probabilities(waveforms: torch.Tensor) -> torch.Tensor:
        return loaded.probabilities(loaded.frontend(waveforms))

    clips = select(manifest, split=split)
    with TrainingDisplay(Console(stderr=True)) as display:
        figures = measure(clips, probabilities, special, cache, progress=display.prepare)
    if as_json:
        show_json({"bundle": loaded.name, "fingerprint": loaded.fingerprint, split: figures})
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(figures_table({split: figures}))
    console.print(sources_table(figures))
