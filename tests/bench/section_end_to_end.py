"""Whole jobs over a catalogue of MP3 files: `catalog-tagger tag` against what the same machine could do at best.

The catalogue is a folder of 240 s MP3s at 128 kb/s, a few different ones (music, speech, speech over music), each
under as many names as the hours need. In each round come, in turn:

- the rates of one core on the different tracks, in this process and without a framework: decoding by `AudioStream`,
  listening by `Scorer` with one, two and all shipped bundles. The **bound** of a job is
  cores / (1 / decoding + 1 / listening);
- decoding alone, in a process per core that has started already;
- `catalog-tagger tag FOLDER -w WAREHOUSE --depth scan --json` with one, two and all bundles, its processes watched
  (`watching.py`): from the start of the command to its end. "While tagging" is from taking the first work shard up to
  writing the last one, without Ray's start and end. The first result is the first file of the table of tracks;
- the same with all bundles and a track a shard: by how much tagging takes longer for each further shard;
- the pipeline of `plain_ray_data.py` over at most two hours and, over two tracks, the process of `plain_librosa.py`,
  both with all bundles and without their starts: what tagging without its start is compared with.

Targets are meant for 16 hours; below, Ray's start weighs more.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Final

import numpy as np
from material import FILE_RATE_HZ, track
from measuring import Settings, on_cores
from results import Row, Target
from watching import Watched, watch

from catalog_tagger.audio import AudioStream, cut_segments, read_pcm
from catalog_tagger.demo import write_audio
from catalog_tagger.models.bundle import shipped_bundles
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_shards
from catalog_tagger.tagging.tagger import Scorer

_PEER_HOURS: Final = 2.0
_LIBROSA_TRACKS: Final = 2
_TAG: Final = (sys.executable, "-c", "from catalog_tagger.cli.main import main; main()", "tag")
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Catalogue:
    """Files to tag."""

    folder: Path
    distinct: list[Path]
    """One of each."""
    files: list[Path]
    track_s: float

    @property
    def audio_s(self) -> float:
        return self.track_s * len(self.files)


@dataclass(frozen=True)
class Job:
    """A run of `tag`."""

    watched: Watched
    audio_s: float
    tagging_s: float
    """From taking the first work shard up to writing the last one."""
    shards: int


@dataclass
class Rounds:
    """Figures by name, one per round."""

    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, value: float) -> None:
        self.figures[name].append(value)


def run(settings: Settings) -> list[Row]:
    """Rows of jobs, of their peers, and of what else was seen of them."""
    shipped = shipped_bundles()
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), settings, [shipped[: count + 1] for count in range(len(shipped))])


def measure(folder: Path, settings: Settings, sets: Sequence[Sequence[str]]) -> list[Row]:
    """The rows for some sets of bundles, the last of which the peers and the fine shards use."""
    catalogue = make_catalogue(folder / "catalogue", settings)
    rounds = Rounds()
    with multiprocessing.get_context("spawn").Pool(settings.threads) as pool:
        pool.map(seconds_of, [str(catalogue.distinct[0])] * settings.threads * 2)
        for number in range(settings.rounds):
            print(f"round {number + 1} of {settings.rounds}", file=sys.stderr)
            one_round(folder / str(number), catalogue, sets, pool, settings, rounds)
    return rows_of(rounds.figures, catalogue, [_named(names) for names in sets])


def make_catalogue(folder: Path, settings: Settings) -> Catalogue:
    """Encode the different tracks once, and copy them under the other names."""
    folder.mkdir()
    count = max(settings.distinct, round(settings.hours * 3600 / settings.track_s))
    distinct = []
    for number in range(settings.distinct):
        samples = track(number, length_s=settings.track_s)
        path = folder / f"{number:05d}.mp3"
        write_audio(path, samples, sample_rate_hz=FILE_RATE_HZ, codec="mp3", bit_rate_bps=128_000)
        distinct.append(path)
    files = list(distinct)
    for number in range(settings.distinct, count):
        files.append(folder / f"{number:05d}.mp3")
        shutil.copyfile(distinct[number % settings.distinct], files[-1])
    return Catalogue(folder, distinct, files, settings.track_s)


def seconds_of(path: str) -> float:
    """Decode a file; what a process of the pool does."""
    with AudioStream(path) as stream:
        return sum(len(block) for block in stream.blocks()) / 16000


def one_round(
    folder: Path,
    catalogue: Catalogue,
    sets: Sequence[Sequence[str]],
    pool: Pool,
    settings: Settings,
    rounds: Rounds,
) -> None:
    """Add a figure to every name."""
    folder.mkdir()
    with on_cores(1):
        decoding = decoding_rate(catalogue.distinct)
        listening = [listening_rate(names, catalogue.distinct) for names in sets]
    rounds.add("decoding", decoding)
    begun = time.perf_counter()
    decoded = sum(pool.imap_unordered(seconds_of, [str(file) for file in catalogue.files]))
    rounds.add("decoding alone", decoded / (time.perf_counter() - begun))
    for names, rate in zip(sets, listening, strict=True):
        job = tag(catalogue.folder, folder / f"w{len(names)}", names)
        of = _named(names)
        rounds.add(f"{of}: listening", rate)
        rounds.add(f"{of}: bound", bound(decoding, rate, settings.threads))
        rounds.add(f"{of}: whole", job.audio_s / job.watched.wall_s)
        rounds.add(f"{of}: tagging", job.audio_s / job.tagging_s)
        rounds.add(f"{of}: cpu", job.watched.cpu_s / (job.audio_s / 3600))
        rounds.add(f"{of}: memory", job.watched.peak_bytes / 1e9)
        if job.watched.first_s is not None:
            rounds.add(f"{of}: first", job.watched.first_s)
    fine = tag(catalogue.folder, folder / "fine", sets[-1], shard_tracks=1)
    if fine.shards > job.shards:
        rounds.add("shard", (fine.tagging_s - job.tagging_s) / (fine.shards - job.shards))
    _peers(folder, catalogue, sets[-1], rounds)


def decoding_rate(files: Sequence[Path]) -> float:
    """Seconds of audio that this process decodes in a second."""
    begun = time.perf_counter()
    return sum(seconds_of(str(file)) for file in files) / (time.perf_counter() - begun)


def listening_rate(names: Sequence[str], files: Sequence[Path]) -> float:
    """Seconds of audio in a second through transform, peaks and networks, samples being there."""
    scorer = Scorer(names, device="cpu")
    heard = np.concatenate([cut_segments(read_pcm(file)) for file in files])
    scorer.score(heard[: scorer.batch_segments])
    begun = time.perf_counter()
    scorer.score(heard)
    return 5.0 * len(heard) / (time.perf_counter() - begun)


def bound(decoding: float, listening: float, cores: int) -> float:
    """Seconds of audio in a second where every core does nothing but both, one after the other."""
    return cores / (1.0 / decoding + 1.0 / listening)


def tag(
    source: Path, warehouse: Path, bundles: Sequence[str], *, depth: str = "scan", shard_tracks: int | None = None
) -> Job:
    """Run the command over a folder."""
    chosen = ["--depth", depth, *(word for name in bundles for word in ("--bundle", name))]
    if shard_tracks is not None:
        chosen += ["--shard-tracks", str(shard_tracks)]
    watched = watch(
        [*_TAG, str(source), "-w", str(warehouse), "--json", *chosen],
        appeared=lambda: any(warehouse.glob("tracks/*/*.parquet")),
    )
    out = json.loads(watched.output)
    shards = read_shards(Store(str(warehouse)), out["run_id"]).values()
    written = [max((warehouse / file.name).stat().st_mtime for file in files) for _, files in shards]
    begun = [end - summary.wall_s for end, (summary, _) in zip(written, shards, strict=True)]
    return Job(watched, out["audio_s"], max(written) - min(begun), len(written))


def _peers(folder: Path, catalogue: Catalogue, bundles: Sequence[str], rounds: Rounds) -> None:
    few = folder / "few"
    few.mkdir()
    for file in catalogue.files[: round(_PEER_HOURS * 3600 / catalogue.track_s)]:
        (few / file.name).hardlink_to(file)
    ray_data = watch([sys.executable, str(_HERE / "plain_ray_data.py"), str(few), str(folder / "plain"), *bundles])
    out = json.loads(ray_data.output)
    rounds.add("ray data", out["audio_s"] / out["pipeline_s"])
    rounds.add("ray data memory", ray_data.peak_bytes / 1e9)
    files = [str(file) for file in catalogue.distinct[:_LIBROSA_TRACKS]]
    by_librosa = watch([sys.executable, str(_HERE / "plain_librosa.py"), ",".join(bundles), *files])
    out = json.loads(by_librosa.output)
    rounds.add("librosa", out["audio_s"] / out["work_s"])


def rows_of(figures: dict[str, list[float]], catalogue: Catalogue, sets: Sequence[str]) -> list[Row]:
    """The table's rows."""
    rows = []
    hours = f"{catalogue.audio_s / 3600:.3g} h"

    def add(
        what: str, name: str, *, unit: str = "x", peer: str = "", of: str = "", target: Target | None = None
    ) -> None:
        there = figures.get(of, [])
        rows.append(Row("end_to_end", what, figures.get(name, []), unit, peer, there, target))

    add("decoding, one core", "decoding")
    for names in sets:
        job = f"{hours} with {names}"
        add(f"listening with {names}, one core", f"{names}: listening")
        add(job, f"{names}: whole", peer="the bound", of=f"{names}: bound", target=Target(0.85))
        add(f"{job}, while tagging", f"{names}: tagging", peer="the bound", of=f"{names}: bound")
        add(job, f"{names}: whole", peer="decoding alone, all cores", of="decoding alone", target=Target(0.6))
        add(f"{job}, CPU seconds for an hour", f"{names}: cpu", unit="s")
        add(f"{job}, peak memory", f"{names}: memory", unit="GB", target=Target(3.0, "at most"))
        add(f"{job}, start to first result", f"{names}: first", unit="s", target=Target(20.0, "at most"))
    tagging, what = f"{sets[-1]}: tagging", f"{hours} with {sets[-1]}, while tagging"
    add(what, tagging, peer="a plain Ray Data pipeline", of="ray data")
    add(what, tagging, peer="librosa and the networks, one process", of="librosa")
    add("a plain Ray Data pipeline, peak memory", "ray data memory", unit="GB")
    add("each further shard", "shard", unit="s")
    return rows


def _named(bundles: Sequence[str]) -> str:
    return " + ".join(bundles)
