"""Break thousands of real files in ways that know their structure, and tag them all with the real job.

    python tests/fuzz/fuzz_audio.py --files 4000 --seed 1 [--data FOLDER] [--json OUT] [--keep FOLDER]

Files of every container and codec that the product reads, and some of those in `--data`, are mutated and tagged as
one catalogue. Then must hold: planned = tagged + quarantined, one row per file, every code a known one, no error of
the job, no hang, no exception that the decoder did not foresee. Over a thousand files and more, memory of the tagging
actor and of the decoders must not grow from the first third of the run to the last. Files that killed their decoder
are copied to `--keep`. Prints counts per container and code; exits 1 if anything does not hold. The same seed makes
the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fuzz_mutations import mutate  # noqa: E402
from fuzz_seeds import Seed, make_seeds  # noqa: E402

from catalog_tagger.errors import QUARANTINE_CODES  # noqa: E402
from catalog_tagger.storage import Store  # noqa: E402
from catalog_tagger.tables.views import query  # noqa: E402
from catalog_tagger.tagging.config import make_config  # noqa: E402
from catalog_tagger.tagging.job import RunResult, run_tag_job  # noqa: E402

MIB = 2**20
#: how the processes of a role are called while they work
ROLES = {"actor": b"ShardTagger", "decoder": b"_decode_task"}
#: what a role may grow by from the first to the last third: allocators keep some of what they get
GROWTH_BYTES = 64 * MIB
#: in shorter runs the first third is but the models' warming up
LONG_RUN_FILES = 1000


@dataclass(kw_only=True)
class Report:
    """What a run came to."""

    files: int
    seed: int
    elapsed_s: float = 0.0
    by_container: dict[str, dict[str, int]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    """Role -> highest resident memory of one process."""
    tenths_bytes: dict[str, list[int]] = field(default_factory=dict)
    """Role -> median private memory of the largest process in each tenth of the time."""
    crashed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def make_files(folder: Path, *, files: int, seed: int, data: Path | None) -> dict[str, str]:
    """Write mutated files; gives the container that each was made from."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        seeds = make_seeds(Path(scratch), data=data, dice=dice)
    by_container: dict[str, list[Seed]] = defaultdict(list)
    for one in seeds:
        by_container[one.container].append(one)
    containers = sorted(by_container)
    made = {}
    for number in range(files):
        start = dice.choice(by_container[containers[number % len(containers)]])
        done, suffix, broken = mutate(start, seeds, dice)
        name = f"{number:05d}-{start.name}-{done}{suffix}"
        (folder / name).write_bytes(broken)
        made[name] = start.container
    return made


class MemoryWatch:
    """Memory of the job's processes over time, by role."""

    def __init__(self) -> None:
        self.private: dict[str, list[int]] = defaultdict(list)
        self.peaks: Counter[str] = Counter()
        self._known: dict[int, str] = {}

    def look(self) -> None:
        now: Counter[str] = Counter()
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                command = (folder / "cmdline").read_bytes()
                if not command.startswith(b"ray::"):
                    continue
                role = next((role for role, name in ROLES.items() if name in command), None)
                role = self._known.setdefault(int(folder.name), role) if role else self._known.get(int(folder.name))
                if role is None:
                    continue
                lines = (folder / "status").read_text().splitlines()
            except OSError:  # it has ended
                continue
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
            if "VmHWM" in sizes:
                self.peaks[role] = max(self.peaks[role], sizes["VmHWM"])
                now[role] = max(now[role], sizes["RssAnon"])
        for role, size in now.items():
            self.private[role].append(size)

    def tenths(self) -> dict[str, list[int]]:
        """Medians over each tenth of the looks."""
        return {
            role: [int(np.median(part)) for part in np.array_split(sizes, 10) if len(part)]
            for role, sizes in self.private.items()
        }


def fuzz(
    folder: Path,
    *,
    files: int,
    seed: int,
    bundle: str,
    data: Path | None = None,
    keep: Path | None = None,
    most_s: float = 3600.0,
) -> Report:
    """Make files, tag them, judge what came of it."""
    report = Report(files=files, seed=seed)
    source = folder / "audio"
    source.mkdir()
    made = make_files(source, files=files, seed=seed, data=data)
    config = make_config(
        source=str(source),
        warehouse=str(folder / "tables"),
        run_id="fuzz",
        bundles=(bundle,),
        device="cpu",
        shard_tracks=max(25, files // 100),
    )
    outcome: list[RunResult | BaseException] = []

    def work() -> None:
        try:
            outcome.append(run_tag_job(config))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the report is about
            outcome.append(error)

    worker = threading.Thread(target=work, daemon=True)
    started_s = time.monotonic()
    worker.start()
    watch = MemoryWatch()
    while worker.is_alive() and time.monotonic() - started_s < most_s:
        worker.join(0.25)
        watch.look()
    report.elapsed_s = time.monotonic() - started_s
    report.peak_bytes, report.tenths_bytes = dict(watch.peaks), watch.tenths()
    if not outcome:
        report.violations.append(f"the job hangs: not done after {most_s:.0f} s")
    elif isinstance(outcome[0], BaseException):
        report.violations.append(f"the job failed: {type(outcome[0]).__name__}: {outcome[0]}")
    else:
        _judge(report, outcome[0], Store(config.warehouse), made)
    for role, sizes in report.tenths_bytes.items() if files >= LONG_RUN_FILES else ():
        first, last = float(np.mean(sizes[:3])), float(np.mean(sizes[-3:]))
        if last - first > GROWTH_BYTES:
            report.violations.append(f"{role}: memory grew from {first / MIB:.0f} to {last / MIB:.0f} MiB")
    if keep is not None and report.crashed:
        keep.mkdir(parents=True, exist_ok=True)
        for name in report.crashed:
            shutil.copy(source / name, keep / name)
    return report


def _judge(report: Report, result: RunResult, warehouse: Store, made: dict[str, str]) -> None:
    rows = query(warehouse, "SELECT track_id, status, error_code, error_message FROM tracks_history").to_pylist()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        name, code = row["track_id"], row["error_code"]
        counts[made.get(name, "?")][code or row["status"]] += 1
        if row["status"] == "quarantined" and code not in QUARANTINE_CODES:
            report.violations.append(f"{name}: unknown code {code!r}")
        if "the decoder failed on these bytes" in (row["error_message"] or ""):
            report.violations.append(f"{name}: {row['error_message']}")
        if code == "decoder_crashed":
            report.crashed.append(name)
    report.by_container = {container: dict(found) for container, found in sorted(counts.items())}
    names = Counter(row["track_id"] for row in rows)
    if set(names) != set(made) or set(names.values()) != {1}:
        report.violations.append(f"{len(made)} files, but {len(names)} tracks in {len(rows)} rows")
    manifest = result.manifest
    if manifest is None or not manifest.tracks == len(made) == manifest.tagged + manifest.quarantined:
        report.violations.append(f"{len(made)} files, but the manifest says {manifest and asdict(manifest)}")
    heard = query(warehouse, "SELECT DISTINCT track_id FROM segments_history").to_pylist()
    tagged = {row["track_id"] for row in rows if row["status"] == "tagged"}
    if {row["track_id"] for row in heard} != tagged:
        report.violations.append("segments are not those of the tagged tracks")


def table(report: Report) -> str:
    """Counts per container and code, in Markdown, and what was measured."""
    totals: Counter[str] = Counter()
    for found in report.by_container.values():
        totals.update(found)
    codes = ["tagged", *(code for code, _ in totals.most_common() if code != "tagged")]
    lines = ["| " + " | ".join(["container", "files", *codes]) + " |", "|---|" + "---|" * (len(codes) + 1)]
    for container, found in [*report.by_container.items(), ("all", dict(totals))]:
        cells = [container, str(sum(found.values())), *(str(found.get(code, "")) for code in codes)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for role, size in sorted(report.peak_bytes.items()):
        over_time = " ".join(f"{part / MIB:.0f}" for part in report.tenths_bytes[role])
        lines.append(
            f"{role}: at most {size / MIB:.0f} MiB resident; private memory by tenths of the time: {over_time}"
        )
    lines.append(f"{report.files} files in {report.elapsed_s:.0f} s, {report.files / report.elapsed_s:.0f} per second")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", default="speech_music")
    parser.add_argument("--data", type=Path, help="folder of real recordings to break as well")
    parser.add_argument("--json", type=Path, help="write the report there, too")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"), help="where files that killed a decoder go")
    parser.add_argument("--most-s", type=float, default=3600.0, help="longer than this is a hang")
    given: Any = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        report = fuzz(
            Path(scratch),
            files=given.files,
            seed=given.seed,
            bundle=given.bundle,
            data=given.data,
            keep=given.keep,
            most_s=given.most_s,
        )
    print(table(report))
    for name in report.crashed:
        print(f"decoder_crashed: {given.keep / name}")
    for violation in report.violations:
        print(f"VIOLATION: {violation}")
    if given.json:
        given.json.write_text(json.dumps(asdict(report), indent=1))
    sys.stdout.flush()
    if any("hangs" in violation for violation in report.violations):
        os._exit(1)  # whatever hangs would keep the interpreter from ending
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
