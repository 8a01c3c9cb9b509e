"""``catalog-tagger doctor``: whether jobs would work here, and what to do where they would not."""

from __future__ import annotations

import click


@click.command(short_help="Check codecs, models, GPU, Ray, credentials and write access.")
@click.option("--warehouse", "-w", help="Folder or s3:// prefix that is to be written to.")
@click.option("--source", help="Catalogue that is to be read.")
@click.option("--ray-address", help="Ray cluster to look for; default: RAY_ADDRESS, or a local one.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(warehouse: str | None, source: str | None, ray_address: str | None, as_json: bool) -> int:
    """Look at what jobs need on this machine, and say what to do. Exit code 1 where a job would fail.

    \b
    Examples:
      catalog-tagger doctor
      catalog-tagger doctor --source s3://bucket/audio --warehouse s3://bucket/tags
    """
    import os
    from dataclasses import asdict

    from catalog_tagger.cli.output import show_json
    from catalog_tagger.doctor import examine
    from catalog_tagger.errors import EXIT_FAILED, EXIT_OK

    found = []
    for check in examine(warehouse=warehouse, source=source, ray_address=ray_address):
        found.append(check)
        if not as_json:
            color = {"ok": "green", "warn": "yellow", "fail": "red"}[check.state]
            state = f"{check.state:4}" if "NO_COLOR" in os.environ else click.style(f"{check.state:4}", fg=color)
            click.echo(f"{state}  {check.name:10}  {check.said}")
            if check.remedy:
                click.echo(f"      {'':10}  → {check.remedy}")
    if as_json:
        show_json([asdict(check) for check in found])
    return EXIT_FAILED if any(check.state == "fail" for check in found) else EXIT_OK
