"""``catalog-tagger evaluate``: how often a bundle is right on labelled clips, and under which treatment it breaks."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

import click

_NAMED: Final = 5
_PIPE_WIDTH: Final = 200  # nothing is cut where no terminal sets a width


@click.command(short_help="Measure a bundle on labelled clips.")
@click.argument("bundle")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--against", help="A second bundle of the same task, by name or folder: paired tests between the two.")
@click.option("--split", help="Which rows of the manifest to use, or 'all'; 'test' where there are such rows.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("evaluation"),
    show_default=True,
    help="Folder for the page and its data.",
)
@click.option("--stress", is_flag=True, help="Treat the clips (noise, codecs, rooms, ...) and say where it breaks.")
@click.option(
    "--stress-clips",
    type=click.IntRange(min=2),
    default=120,
    show_default=True,
    help="How many clips to treat, drawn evenly from the sources.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draws the clips to treat, noises and rooms.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".training-cache"),
    show_default=True,
    help="Where decoded clips are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the page shows as JSON.")
def evaluate(
    bundle: str,
    manifest: Path,
    against: str | None,
    split: str | None,
    out: Path,
    stress: bool,
    stress_clips: int,
    seed: int,
    cache: Path,
    as_json: bool,
) -> None:
    """Measure BUNDLE (a name or a folder) on the rows of MANIFEST, a CSV as `train` takes it.

    OUT receives evaluation.html, a page to open, and evaluation.json, its data; with --stress
    instead stress.html and stress.json.

    \b
    Examples:
      catalog-tagger evaluate speech_music clips.csv
      catalog-tagger evaluate my_bundle clips.csv --against speech_music
      catalog-tagger evaluate speech_music clips.csv --stress
    """
    from rich.console import Console

    from catalog_tagger.cli.evaluation_display import show_evaluation, show_stress
    from catalog_tagger.cli.output import show_json
    from catalog_tagger.cli.training_display import TrainingDisplay
    from catalog_tagger.errors import named
    from catalog_tagger.models.bundle import load_bundle, shipped_bundles
    from catalog_tagger.training.evaluation import (
        choose,
        doubts,
        evaluate_bundle,
        read_material,
        require_comparable,
        silent_clips,
    )
    from catalog_tagger.training.folders import require_writable
    from catalog_tagger.training.manifest import named_in
    from catalog_tagger.training.pages import write_page
    from catalog_tagger.training.pages.evaluation import evaluation_page
    from catalog_tagger.training.pages.stress import stress_page
    from catalog_tagger.training.reports import folder_of
    from catalog_tagger.training.robustness import stress_bundle

    if stress and against is not None:
        raise click.UsageError("--against and --stress are two measurements; give one of them")
    loaded = load_bundle(bundle)
    rival = None if against is None else load_bundle(against)
    require_comparable(loaded, rival)
    require_writable(out)
    split, clips = choose(manifest, split=split)
    beside = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    beside.print(f"{len(clips):,} clips, split {split} of {manifest.name}")
    for of in (loaded, rival):
        for doubt in [] if of is None else doubts(of, clips):
            beside.print(f"warning: {doubt}")
    silent = silent_clips(loaded, clips, manifest=manifest.name)
    if silent:
        told = sorted({label for clip in silent for label in named_in(clip)} - set(loaded.labels))
        names = f" (labels: {named(told, most=_NAMED)})" if told else ""
        beside.print(f"warning: {len(silent):,} of them say nothing of {bundle}'s labels and count nowhere{names}")
    with TrainingDisplay(Console(stderr=True)) as display:
        material = read_material(manifest, split=split, cache_dir=cache, progress=display.prepare)
        if stress:
            document = stress_bundle(loaded, material, clips=stress_clips, seed=seed, progress=display.prepare)
            page = write_page(out, "stress", document, stress_page(document))
        else:
            document = evaluate_bundle(loaded, material, against=rival, progress=display.prepare)
            page = write_page(out, "evaluation", document, evaluation_page(document))
    if as_json:
        show_json(document)
        return
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
    (show_stress if stress else show_evaluation)(document, console)
    console.print(f"\n{page}", soft_wrap=True)
    beside_it = folder_of(bundle)
    if bundle not in shipped_bundles() and out.resolve() != beside_it.resolve():
        again = shlex.join(["--out", str(beside_it)])
        show = shlex.join(["catalog-tagger", "bundles", "show", bundle])
        console.print(f"with {again} it is linked by: {show}", soft_wrap=True)
