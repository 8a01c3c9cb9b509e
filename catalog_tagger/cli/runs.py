"""``catalog-tagger runs``: the runs of a warehouse, what they did and what they cost."""

from __future__ import annotations

import click


@click.command(short_help="List a warehouse's runs: state, counts, rates, cost.")
@click.argument("warehouse")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all that is known of each run.")
def runs(warehouse: str, as_json: bool) -> None:
    """List the runs of WAREHOUSE, oldest first: committed, running or unfinished ones.

    Counts, hours and rates of a run that is not committed are those of its finished work shards. Machine
    hours are nodes times the time that they were there; their cost is by the run's own --cost-per-hour.

    \b
    Examples:
      catalog-tagger runs tags
      catalog-tagger runs s3://bucket/tags --json
    """
    from dataclasses import asdict

    from catalog_tagger.cli.output import amount, show_json, show_lines
    from catalog_tagger.storage import Store
    from catalog_tagger.tagging.runs import list_runs

    found = list_runs(Store(warehouse))
    if as_json:
        show_json([asdict(run) for run in found])
        return

    def hours(seconds: float | None) -> str:
        return "" if seconds is None else f"{seconds / 3600:,.2f}"

    show_lines(
        [
            {
                "run": run.run_id,
                "kind": run.kind,
                "state": run.state,
                "started": run.started_at[:16].replace("T", " "),
                "tracks": f"{run.tracks:,}",
                "tagged": f"{run.tagged:,}",
                "quarantined": f"{run.quarantined:,}",
                "audio h": hours(run.audio_s),
                "x real time": "" if run.times_real_time is None else f"{run.times_real_time:,.0f}",
                "machine h": hours(run.machine_s),
                "cost": "" if run.cost is None else amount(run.cost),
                "models": ", ".join(run.bundles),
            }
            for run in found
        ],
        right={"tracks", "tagged", "quarantined", "audio h", "x real time", "machine h", "cost"},
    )
