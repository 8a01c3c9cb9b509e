"""What a dry run shows: what there is to do, the estimate, and what it rests on."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from rich.console import Console

from catalog_tagger.cli.output import amount, clock, counted, removed_line, show_json, show_lines

if TYPE_CHECKING:
    from catalog_tagger.tagging.costs import Machine
    from catalog_tagger.tagging.estimate import DryRun

_WIDTH: Final = 100


def show_dry_run(planned: DryRun, *, as_json: bool) -> None:
    """The estimate of a job, on standard output."""
    from catalog_tagger.tagging.costs import FORMULA, PRICES_OF, constants

    if as_json:
        of_costs = {"formula": FORMULA, "constants": constants(planned.catalogue), "prices_of": PRICES_OF}
        show_json({**asdict(planned), "per_million_by": of_costs})
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
    if planned.per_million:
        _show_million(planned, console)
    console.print("dry run: nothing started, nothing written")


def _show_million(planned: DryRun, console: Console) -> None:
    """What a million such tracks cost by every depth, and the formula with its numbers."""
    from catalog_tagger.tagging.costs import BY_DEPTH, FORMULA, MACHINES, PRICES_OF

    length = clock(planned.catalogue.track_s)
    console.print(f"\na million tracks of {length}, the mean of these, in US dollars; this job: {planned.depth}\n")
    costs = {(million.machine, million.depth): amount(million.cost) for million in planned.per_million}
    rows = [
        {"machine": machine.name, "with": _parts(machine), "an hour": f"{machine.price_per_hour:.3f}"}
        | {f"by {depth}": costs[machine.name, depth] for depth in BY_DEPTH}
        for machine in MACHINES
    ]
    show_lines(rows, right={"an hour", *(f"by {depth}" for depth in BY_DEPTH)})
    console.print()
    for paragraph in (FORMULA, f"prices: {PRICES_OF}", *_numbers(planned)):
        console.print(textwrap.fill(paragraph, _WIDTH, subsequent_indent="  "))


def _parts(machine: Machine) -> str:
    cores = f"{machine.cpus} {'cores' if machine.part_of_core == 1 else 'half cores'}"
    return f"{cores}, {counted(machine.gpus, 'GPU') if machine.gpus else machine.listener}"


def _numbers(planned: DryRun) -> list[str]:
    """The numbers in the formula: those that were measured, and those that are assumed."""
    from catalog_tagger.tagging.costs import BY_DEPTH, constants

    of, music = constants(planned.catalogue), planned.catalogue.music
    shares = (f"{depth} {of[f'decoded_{depth}']:.3f} and {of[f'heard_{depth}']:.3f}" for depth in BY_DEPTH)
    settled = f"a look settles {100 * music.settled:.0f} % of music"
    share = f"{100 * music.share:.0f} % of the audio is music"
    measured = [
        f"DECODE {of['decode']:,.0f} and LISTEN {of['listen_bfloat16']:,.0f} s of audio a second and core "
        f"({of['listen_float32']:,.0f} in float32)",
        f"TRACK {of['track_s']:g} s",
        f"a window that is sought takes {of['seek']:g} times its decoding",
        *([] if music.settled_measured else [settled]),
    ]
    here = [text for text, is_own in ((share, music.share_measured), (settled, music.settled_measured)) if is_own]
    assumed = [
        *([] if music.share_measured else [share]),
        f"a half core does {of['half_core']:g} of a core, whatever the machine",
        "a GPU listens no slower than its CPUs decode (no LISTEN)",
        "no machine is ever idle",
    ]
    return [
        f"decoded and heard, of the length: {', '.join(shares)}",
        f"measured on cores of an AMD EPYC: {'; '.join(measured)}",
        *([f"measured in this warehouse: {'; '.join(here)}"] if here else []),
        f"assumed: {'; '.join(assumed)}",
    ]


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
        f"measured in {counted(runs, f'{planned.depth} run')} of this warehouse"
        if runs
        else f"the default for {planned.depth} by {counted(len(planned.catalogue.bundles), 'model')}"
    )
    lengths = []
    if planned.measured_extensions:
        lengths.append(f"the length of {_listed(planned.measured_extensions)} files by tracks of this warehouse")
    if planned.default_extensions:
        lengths.append(f"the length of {_listed(planned.default_extensions)} files by usual bit rates")
    return "; ".join([rate, *lengths])


def _listed(extensions: tuple[str, ...]) -> str:
    return ", ".join(extension or "nameless" for extension in extensions)
