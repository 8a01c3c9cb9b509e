"""``catalog-tagger bundles``: the models that ship and their cards."""

from __future__ import annotations

import click

from catalog_tagger.cli.bundles_import import import_


@click.group(short_help="List the models that ship, or show one's card.")
def bundles() -> None:
    """Models that ship inside the package, and folders with bundles of your own."""


bundles.add_command(import_)


@bundles.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the bundles that ship, with tasks, labels and fingerprints."""
    import pyarrow as pa

    from catalog_tagger.cli.output import show_rows
    from catalog_tagger.models.bundle import load_bundle, shipped_bundles

    loaded = [load_bundle(name) for name in shipped_bundles()]
    rows = [
        {
            "name": bundle.name,
            "task": bundle.task,
            "labels": ", ".join(bundle.labels),
            "parameters": sum(weight.numel() for weight in bundle.model.parameters()),
            "fingerprint": bundle.fingerprint,
        }
        for bundle in loaded
    ]
    show_rows(pa.Table.from_pylist(rows), as_json=as_json)


@bundles.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show the card of a bundle, by its NAME or folder: figures, failures, data, reports."""
    from rich.console import Console

    from catalog_tagger.cli.card_display import show_card
    from catalog_tagger.cli.output import show_json
    from catalog_tagger.models.bundle import load_bundle
    from catalog_tagger.training.reports import read_reports

    bundle = load_bundle(name)
    reports = read_reports(name, bundle.fingerprint)
    if not as_json:
        show_card(bundle, reports, Console(highlight=False))
        return
    show_json(
        {
            "name": bundle.name,
            "fingerprint": bundle.fingerprint,
            "task": bundle.task,
            "labels": list(bundle.labels),
            "architecture": bundle.architecture_spec,
            "frontend": bundle.frontend_spec,
            "calibration": bundle.calibration.to_json(),
            "decision": bundle.decision,
            "card": bundle.card,
            "reports": {title: str(page) for title, (page, _) in reports.items()},
        }
    )
