"""``catalog-tagger bundles import``: published checkpoints made into bundles."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["panns_cnn14_16k", "vggish"]), required=True, help="What the file is.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="AudioSet's class_labels_indices.csv, for the names of classes."
)
@click.option("--pca", type=click.Path(path_type=Path), help="VGGish's principal components (.pth or .npz).")
def import_(checkpoint: Path, kind: str, out: Path, labels: Path | None, pca: Path | None) -> None:
    """Make a bundle of a public AudioSet CHECKPOINT that you have: PANNs' Cnn14_16k or VGGish.

    Only tensors are read; a file that holds anything else is refused.

    \b
    Examples:
      catalog-tagger bundles import Cnn14_16k_mAP=0.438.pth --kind panns_cnn14_16k \\
          --labels class_labels_indices.csv --out cnn14
      catalog-tagger tag ~/Music --warehouse tags --bundle speech_music --bundle ./cnn14
    """
    from typing import cast

    from catalog_tagger.models.bundle import JSON_FILE
    from catalog_tagger.models.importing import Kind, import_bundle

    replaces = (out / JSON_FILE).is_file()
    fingerprint = import_bundle(checkpoint, out, kind=cast(Kind, kind), labels=labels, pca=pca)
    click.echo(f"{out}: {kind}@{fingerprint}" + (", in the place of the bundle that was there" if replaces else ""))
