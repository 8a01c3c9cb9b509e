"""How a tagging run scales: what it costs here, and by a simulation on up to 1 024 nodes, where it would saturate.

    python tests/bench/bench_scaling.py --json scaling.json
    python tests/bench/bench_scaling.py --json scaling.json --steps --cores 64 --tracks 10e6 --losses-per-hour 0.05

Costs are measured by running the package's own code, each in two sizes where it grows with something:
listing (an S3 server on loopback, of which only the client's CPU counts, and a local folder), planning,
handing pieces to Ray Data and taking their statuses in, the progress board, the tables of a shard, the
manifest, and telling what is current; and by runs of `catalog-tagger tag` on one core and on two. With
``--json`` what an earlier call has measured is kept, and ``--steps`` names what to measure again.

`scaling_model` then simulates runs. It takes for granted:

- the rate of a core holds on nodes with more cores. What holds an actor back by itself, such as its own
  thread, is not modelled: the check on two cores shows how much that is, and a node that is slower than
  its cores loads what all share less, so that bounds lie at more nodes, and at the same rate together;
- 100 ms to the first byte of an answer of object storage, and 3 500 writes and 5 500 reads of a prefix
  in a second, as AWS documents them;
- the cluster is there when the run starts, and starting hundreds of actors takes as long as starting one;
- the driver's cost for an actor that works, measured on up to ten, grows in proportion;
- machines of one kind are 5 % apart in speed, and so is one from piece to piece;
- tracks are MP3s of four minutes at 128 kb/s, so shards, which are cut by bytes, differ by a track at most.

The check compares runs that the costs were not taken from with what the simulation says of them: half of
the catalogue on one core, and the whole on two, by the rate of one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scaling_costs import STEPS, Figures
from scaling_model import (
    BYTES_PER_S,
    Bound,
    Costs,
    Place,
    Run,
    bounds_of,
    next_run_seconds,
    rows_of,
    simulate,
)

from catalog_tagger.tagging.costs import Catalogue, core_rate
from catalog_tagger.tagging.rates import START_S

NODES = tuple(2**k for k in range(11))


def actors_of_a_node(cores: int, gpus: int) -> int:
    """As the job would start them."""
    from catalog_tagger.tables.lease import Size
    from catalog_tagger.tagging.cluster import ClusterSize
    from catalog_tagger.tagging.config import make_config
    from catalog_tagger.tagging.execution import _actors

    cluster = ClusterSize(size=Size(nodes=1, cpus=cores, gpus=gpus), is_own=False)
    (_, most), _ = _actors(make_config(source="/audio", warehouse="/tags"), cluster, 10**6)
    return most


def costs_of(figures: Figures) -> Costs:
    """All that the model needs; without runs of one's own, the package's defaults for a rate and a start."""
    known = {
        "core_rate": core_rate("scan", Catalogue(), listener="bfloat16"),
        "start_s": START_S,
        "piece_alone_s": 0.0,
        "track_spread": 0.0,
        **figures,
    }
    missing = [field.name for field in fields(Costs) if field.name not in known]
    if missing:
        raise SystemExit(f"not measured: {', '.join(missing)}; run all --steps, or give the --json of a call that did")
    return Costs(**{field.name: known[field.name] for field in fields(Costs)})


def checked(figures: Figures) -> list[Figures]:
    """Runs that no cost was taken from, and what the simulation says of them."""
    costs = replace(costs_of(figures), track_spread=0.0)
    rows = []
    for name, cores, start in (("half-1", 1, "start_one_core_s"), ("all-2", 2, "start_s")):
        run = figures["done"][name]
        here = Place(
            tracks=round(run["audio_s"] / 240), cores=cores, actors_per_node=run["actors"], node_spread=0.0,
            latency_s=0.0, prefixes=1000, listed=False, shard_bytes=run["audio_s"] * BYTES_PER_S / len(run["shards"]),
        )  # fmt: skip
        said = simulate(replace(costs, start_s=figures[start]), here).wall_s
        rows.append({"cores": cores, "audio_s": run["audio_s"], "wall_s": run["wall_s"], "simulated_s": said})
    return rows


def show_checks(rows: Sequence[Figures]) -> None:
    print(
        "| check: cores | hours of audio | s | simulated s | deviation | times real time |\n|---|---|---|---|---|---|"
    )
    for row in rows:
        deviation, rate = row["simulated_s"] / row["wall_s"] - 1, row["audio_s"] / row["wall_s"]
        print(
            f"| {row['cores']} | {row['audio_s'] / 3600:.2f} | {row['wall_s']:.1f} | {row['simulated_s']:.1f} |", end=""
        )
        print(f" {deviation:+.1%} | {rate:,.0f} |")


def show_runs(simulated: dict[float, list[Run]]) -> None:
    """Nodes down, catalogues across, and the serial parts of the middle one."""
    shown = sorted(simulated)[len(simulated) // 2]
    sizes = " | ".join(f"{size / 1e6:g} M tracks: h, of N nodes" for size in sorted(simulated))
    parts = ("list", "plan", "setup", "start", "tail", "collect", "commit")
    print(f"\n| nodes | {sizes} | million x real time | " + " | ".join(f"{part} s" for part in parts) + " |")
    print("|" + "---|" * (2 + len(simulated) + len(parts)))
    for i, run in enumerate(simulated[shown]):
        cells = []
        for size in sorted(simulated):
            row = rows_of(simulated[size])[i]
            cells.append(f"{row['wall_s'] / 3600:.2f}, {row['efficiency']:.0%}")
        of_parts = [f"{getattr(run, f'{part}_s'):,.0f}" for part in parts]
        print(f"| {run.nodes} | " + " | ".join([*cells, f"{run.rate / 1e6:.3f}", *of_parts]) + " |")


def show_bounds(bounds: Sequence[Bound], *, nodes: int, node_rate: float) -> None:
    """One below the other, each change on top of those before; `node_rate` is one node's, in times real time."""
    print("\n| shared | no time left at N nodes, million x real time | a tenth of the run at N |", end="")
    print(f" change | {nodes} nodes then: s, of N nodes |\n|---|---|---|---|---|")
    for bound in bounds:
        at = ["" if value is None else f"{value:,.0f}" for value in (bound.saturated_at, bound.tenth_at)]
        if bound.saturated_at is not None:
            at[0] += f", {bound.saturated_at * node_rate / 1e6:.2f}"
        then = f"{bound.wall_s:,.0f}, {bound.efficiency:.0%}" if bound.change else ""
        print(f"| {bound.resource} | {at[0]} | {at[1]} | {bound.change or 'none'} | {then} |")


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", nargs="*", choices=[*STEPS], help="what to measure; by default all that is missing")
    parser.add_argument("--json", type=Path, help="figures are kept here, and taken from here where they are")
    parser.add_argument("--quick", action="store_true", help="small sizes, no runs of the command")
    parser.add_argument(
        "--tracks", type=float, nargs="+", default=[1e6, 10e6, 50e6], help="of the catalogues simulated"
    )
    parser.add_argument("--cores", type=int, default=16, help="of a node")
    parser.add_argument("--gpus", type=int, default=0, help="of a node; each has an actor")
    parser.add_argument("--core-rate", type=float, help="seconds of audio a second of a core, in place of the measured")
    parser.add_argument("--latency-s", type=float, default=0.1, help="of object storage, to the first byte")
    parser.add_argument("--losses-per-hour", type=float, default=0.0, help="of a node")
    parser.add_argument("--manifest", action="store_true", help="the source is a manifest and need not be listed")
    arguments = parser.parse_args()
    kept = arguments.json and arguments.json.is_file()
    measured: dict[str, Figures] = json.loads(arguments.json.read_text())["measured"] if kept else {}
    steps = [step for step in STEPS if step not in measured] if arguments.steps is None else arguments.steps
    for name in steps:
        if name != "runs" or not arguments.quick:
            with tempfile.TemporaryDirectory() as folder:
                measured[name] = STEPS[name](Path(folder), quick=arguments.quick)
    figures = {key: value for step in measured.values() for key, value in step.items()}
    given = {} if arguments.core_rate is None else {"core_rate": arguments.core_rate}
    costs = replace(costs_of(figures), **given)
    place = Place(
        tracks=1, cores=arguments.cores, actors_per_node=actors_of_a_node(arguments.cores, arguments.gpus),
        latency_s=arguments.latency_s, losses_per_hour=arguments.losses_per_hour, listed=not arguments.manifest,
    )  # fmt: skip
    places = {size: replace(place, tracks=round(size)) for size in arguments.tracks}
    simulated = {size: [simulate(costs, replace(at, nodes=n)) for n in NODES] for size, at in places.items()}
    middle = sorted(simulated)[len(simulated) // 2]
    bounds = bounds_of(costs, places[middle], simulated[middle])
    checks = checked(figures) if "done" in figures else []
    show_checks(checks)
    show_runs(simulated)
    one = simulated[middle][0]
    show_bounds(bounds, nodes=NODES[-1], node_rate=places[middle].audio_s / one.map_s)
    next_run = next_run_seconds(costs, places[middle])
    print("\nnext run, nothing changed: " + ", ".join(f"{part} {seconds:,.0f} s" for part, seconds in next_run.items()))
    if arguments.json:
        content = {
            "measured": measured,
            "place": asdict(place),
            "checks": checks,
            "runs": {f"{size:.0f}": rows_of(each) for size, each in simulated.items()},
            "bounds": [asdict(bound) for bound in bounds],
            "next_run": next_run,
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
