"""What further bundles cost: each front end and network for a segment, and whole jobs with one, two, three of them.

    python tests/bench/bench_bundles.py                                  # those that ship, on the demo's catalogue
    python tests/bench/bench_bundles.py --source ~/Music --rounds 3
    python tests/bench/bench_bundles.py --bundle speech_music --bundle my_tagger --no-jobs

The first table is one thread on segments of noise and tones in batches of 32, CPU time, the median of rounds
that go through all contenders in turn. The second runs `catalog-tagger tag` over the same tracks with the
first bundle, the first two, and so on, in turn: seconds on the clock and of CPU of all the job's processes
(Ray's start included), the peak of their proportional memory together, and what the tables' columns take
for an hour of audio. On a machine that does other things too the CPU seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_memory import MB
from conftest import some_sounds
from watching import watch

from catalog_tagger.audio import SEGMENT_S
from catalog_tagger.errors import EXIT_OK, EXIT_QUARANTINED
from catalog_tagger.tagging.bundle_set import BundleSet, load_bundles

BATCH = 32


@dataclass
class Step:
    """A front end or a network."""

    name: str
    weights: int
    run: Callable[[], object]
    cpu_ms: list[float] = field(default_factory=list)
    """For a segment, per round."""


@dataclass
class Job:
    """A run of `tag`, or the best of several."""

    bundles: list[str]
    wall_s: float
    cpu_s: float
    peak_bytes: int
    audio_s: float
    bytes_per_hour: dict[str, float]
    """Table -> bytes of its columns for an hour of audio, the files' footers left out."""


def steps_of(bundles: BundleSet) -> list[Step]:
    """Each distinct front end, then each network on what its own gives."""
    waveforms = some_sounds().repeat(2, 1)[:BATCH]
    frontends = {bundle.frontend_key: bundle.frontend for bundle in bundles.bundles}
    features = {key: frontend(waveforms) for key, frontend in frontends.items()}
    steps = [Step(f"front end {key}", 0, lambda f=frontend: f(waveforms)) for key, frontend in frontends.items()]
    for bundle in bundles.bundles:
        said = bundle.outputs if bundle is bundles.embedder else bundle.probabilities
        weights = sum(weight.numel() for weight in bundle.model.parameters())
        steps.append(Step(bundle.identity, weights, lambda s=said, x=features[bundle.frontend_key]: s(x)))
    return steps


@torch.inference_mode()
def measure_steps(steps: Sequence[Step], rounds: int, *, repeats: int = 5) -> None:
    """Add a figure per round to each step."""
    for _ in range(rounds):
        for step in steps:
            step.run()
            begun = time.process_time()
            for _ in range(repeats):
                step.run()
            step.cpu_ms.append((time.process_time() - begun) * 1000 / repeats / BATCH)


def tag(source: str, bundles: Sequence[str]) -> Job:
    """Run the command and watch its processes."""
    with tempfile.TemporaryDirectory() as warehouse:
        program = [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"]
        chosen = [part for name in bundles for part in ("--bundle", name)]
        command = [*program, "tag", source, "-w", warehouse, "--depth", "scan", "--json", *chosen]
        job = watch(command, ends=(EXIT_OK, EXIT_QUARANTINED))
        out = json.loads(job.output)
        hours = out["audio_s"] / 3600
        sizes = {table: data_bytes(Path(warehouse), table) / hours for table in ("tracks", "segments")}
    return Job(
        bundles=out["bundles"],
        wall_s=out["wall_s"],
        cpu_s=job.cpu_s,
        peak_bytes=job.peak_bytes,
        audio_s=out["audio_s"],
        bytes_per_hour=sizes,
    )


def data_bytes(warehouse: Path, table: str) -> int:
    """What the columns of a table's files take; the footers of a few small files would hide it."""
    files = [pq.read_metadata(path) for path in warehouse.glob(f"{table}/*/*.parquet")]
    groups = [file.row_group(i) for file in files for i in range(file.num_row_groups)]
    return sum(group.column(i).total_compressed_size for group in groups for i in range(group.num_columns))


def demo_catalogue(folder: Path) -> str:
    """The catalogue of `catalog-tagger demo`, so that nothing else is needed."""
    from catalog_tagger.demo import make_demo_catalogue

    return str(make_demo_catalogue(folder).manifest)


def show_steps(steps: Sequence[Step]) -> None:
    print("| step | weights | CPU ms for 5 s of audio | x real time of a core |")
    print("|---|---|---|---|")
    for step in steps:
        ms = statistics.median(step.cpu_ms)
        weights = f"{step.weights:,}" if step.weights else ""
        print(f"| {step.name} | {weights} | {ms:.2f} | {SEGMENT_S * 1000 / ms:,.0f} |")


def show_jobs(jobs: Sequence[Job]) -> None:
    print("| bundles | wall s | CPU s | x real time | peak MB | tracks kB/h | segments kB/h |")
    print("|---|---|---|---|---|---|---|")
    for job in jobs:
        names = ", ".join(name.split("@")[0] for name in job.bundles)
        tracks, segments = (job.bytes_per_hour[table] / 1000 for table in ("tracks", "segments"))
        rate = job.audio_s / job.wall_s
        print(
            f"| {names} | {job.wall_s:.1f} | {job.cpu_s:.1f} | {rate:,.0f} | {job.peak_bytes / MB:,.0f} | "
            f"{tracks:.1f} | {segments:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", action="append", help="name or folder, in the order to add them; default: all")
    parser.add_argument("--source", help="what to tag; default: the demo's catalogue, a fifth of an hour")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-jobs", action="store_true", help="front ends and networks alone")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bundles = load_bundles(arguments.bundle)
    steps = steps_of(bundles)
    measure_steps(steps, arguments.rounds)
    show_steps(steps)
    best: list[Job] = []
    if not arguments.no_jobs:
        from catalog_tagger.models.bundle import shipped_bundles

        names = arguments.bundle or list(shipped_bundles())
        sets = [names[: count + 1] for count in range(len(names))]
        with tempfile.TemporaryDirectory() as temporary:
            source = arguments.source or demo_catalogue(Path(temporary))
            rounds = [[tag(source, chosen) for chosen in sets] for _ in range(arguments.rounds)]
        best = [min(jobs, key=lambda job: job.cpu_s) for jobs in zip(*rounds, strict=True)]
        show_jobs(best)
    if arguments.json:
        figures = {
            "steps": [{"name": step.name, "weights": step.weights, "cpu_ms": step.cpu_ms} for step in steps],
            "jobs": [asdict(job) for job in best],
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
