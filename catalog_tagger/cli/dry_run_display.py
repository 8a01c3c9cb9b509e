"""What a dry run shows: what there is to do, the estimate, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from catalog_tagger.cli.output import amount, clock, counted, removed_line, show_json

if TYPE_CHECKING:
    from catalog_tagger.tagging.estimate import DryRun


def show_dry_run(planned: DryRun, *, as_json: bool) -> None:
    """The estimate of a job, on standard output."""
    if as_json:
        show_json(asdict(planned))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{counted(planned.tracks, 'track')} to do, {planned.up_to_date:,} up to date")
    if planned.removed:
        console.print(removed_line(planned.removed, planned.removed_ids))
    if not planned.tracks:
        console.print("dry run: nothing to do, nothing written")
        return
    unsized = (
        f"; {counted(planned.tracks_without_size, 'track')} of unknown size" if planned.tracks_without_size else ""
    )
    if planned.audio_s is None or planned.wall_s is None:
        console.print(f"{counted(planned.shards, 'work shard')}, hours of audio unknown{unsized}")
        console.print("time and cost unknown: they are reckoned from sizes, which a manifest can give as size_bytes")
        console.print("dry run: nothing started, nothing written")
        return
    console.print(
        f"{counted(planned.shards, 'work shard')}, {size(planned.size_bytes)}, "
        f"about {planned.audio_s / 3600:,.2f} h of audio{unsized}"
    )
    hours, nodes = planned.wall_s / 3600, counted(planned.nodes, "node")
    console.print(f"about {clock(planned.wall_s)} on {nodes} of {counted(planned.cpus, 'CPU')}")
    if planned.cost is not None:
        price = f"{planned.cost_per_hour:g} per node and hour"
        console.print(f"cost about {amount(planned.cost)}: {hours:,.3f} h x {nodes} x {price}")
    console.print(f"reckoned with {_basis(planned)}")
    console.print("dry run: nothing started, nothing written")


def size(size_bytes: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    value, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:,.1f} {units[0]}" if units[0] != "bytes" else f"{size_bytes} bytes"


def _basis(planned: DryRun) -> str:
    runs = planned.measured_runs
    rate = f"{planned.rate_per_core:,.0f}x real time per CPU, " + (
        f"measured in {counted(runs, 'run')} of this warehouse"
        if runs
        else "the default, measured on two cores of an AMD EPYC"
    )
    lengths = []
    if planned.measured_extensions:
        lengths.append(f"the length of {_listed(planned.measured_extensions)} files by tracks of this warehouse")
    if planned.default_extensions:
        lengths.append(f"the length of {_listed(planned.default_extensions)} files by usual bit rates")
    return "; ".join([rate, *lengths])


def _listed(extensions: tuple[str, ...]) -> str:
    return ", ".join(extension or "nameless" for extension in extensions)
