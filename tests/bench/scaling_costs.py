"""What a tagging run costs its shared parts, each measured by the package's own code: the figures of `bench_scaling`.

Every step answers with figures by the names that `scaling_model.Costs` has for them; what grows with something is
measured in two sizes, and a line through both gives what one more costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_plan import BUNDLES, fill_warehouse, make_manifest, tables_of
from processes import command_line, descendants
from scaling_model import LOOP_WAIT_S
from servers import rclone_server

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import FileEntry, RunManifest, ShardSummary, commit_run, read_shards, write_shard
from catalog_tagger.tables.lease import hold
from catalog_tagger.tables.schemas import FINGERPRINTS, TABLES_OF
from catalog_tagger.tagging.changes import select_changed
from catalog_tagger.tagging.plan import make_plan, write_plan
from catalog_tagger.tagging.sources import list_tracks

SHARD_TRACKS = 268  # of four minutes at 128 kb/s in 1 GiB
PEAKS = 80
_TICKS = os.sysconf("SC_CLK_TCK")
Figures = dict[str, Any]


def slope(measured: Callable[[int], float], sizes: Sequence[int]) -> float:
    """Seconds for one more, by a line through the sizes; a first, small one is left out, since it warms up.

    0 where that is lost in the noise.
    """
    measured(sizes[0])
    return max(0.0, float(np.polyfit(sizes, [measured(size) for size in sizes], 1)[0]))


def cpu_of(work: Callable[[], object]) -> float:
    """Seconds of CPU of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def clock_of(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def listing(folder: Path, *, quick: bool) -> Figures:
    """A source of so many objects, and small requests."""
    sizes = (300, 900) if quick else (3000, 9000)
    for size in sizes:
        made = folder / "catalogue" / f"audio{size:06d}"
        made.mkdir(parents=True)
        for i in range(size):
            (made / f"{i:012x}.mp3").write_bytes(b"%d" % i)
    names = [f"{i:012x}.mp3" for i in range(sizes[0])][:400]
    of_files = slope(lambda n: clock_of(lambda: list_tracks(str(folder / f"catalogue/audio{n:06d}"))), sizes)
    with rclone_server(folder) as server:
        os.environ.update(server.environment())
        of_objects = slope(lambda n: cpu_of(lambda: list_tracks(f"s3://catalogue/audio{n:06d}")), sizes)
        store = Store(f"s3://catalogue/audio{sizes[0]:06d}")

        def read_all() -> None:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(store.read, names))

        request_s = cpu_of(read_all) / len(names)
    return {"list_object_s": of_objects, "list_file_s": of_files, "request_s": request_s}


def planning(folder: Path, *, quick: bool) -> Figures:
    """A manifest in Parquet to a written plan."""
    sizes = (10_000, 30_000) if quick else (200_000, 600_000)
    manifests = {size: folder / f"{size}.parquet" for size in sizes}
    for size, path in manifests.items():
        make_manifest(path, size)
    tracks = {size: list_tracks(str(path)) for size, path in manifests.items()}
    limits = {"shard_tracks": 4000, "shard_bytes": 2**30}
    plans = {size: make_plan(table, **limits) for size, table in tracks.items()}
    store = Store(folder)
    return {
        "read_track_s": slope(lambda n: cpu_of(lambda: list_tracks(str(manifests[n]))), sizes),
        "plan_track_s": slope(lambda n: cpu_of(lambda: make_plan(tracks[n], **limits)), sizes),
        "write_plan_track_s": slope(lambda n: clock_of(lambda: write_plan(store, f"plan-{n}", plans[n])), sizes),
    }


class Worker:
    """What `map_pieces` runs in place of `ShardTagger`: it waits, and says from when to when."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        begun = time.time()
        time.sleep(self.wait_s)
        return {"status": np.array([json.dumps([begun, time.time()])], dtype=object)}


def piece_rows(count: int) -> list[dict[str, Any]]:
    """Whole shards, as the driver hands them out."""
    from catalog_tagger.tagging.cluster import piece_row
    from catalog_tagger.tagging.pieces import Piece

    tracks = SHARD_TRACKS
    shards = (f"{i:06d}-0123456789ab" for i in range(count))
    return [piece_row(Piece(shard=name, index=i, first=0, count=tracks, total=tracks)) for i, name in enumerate(shards)]


def driver(folder: Path, *, quick: bool) -> Figures:
    """Ray Data's part and the board's: CPU of the driver's process, and of the board's."""
    from catalog_tagger.tagging.cluster import connected

    pieces, few, many = (60, 2, 4) if quick else (300, 2, 10)
    with connected(None):
        import ray.data

        rows = piece_rows(pieces)

        def hand_over(count: int) -> float:
            return cpu_of(lambda: ray.data.from_items(rows[:count], override_num_blocks=count))

        setup_s = slope(hand_over, (pieces // 3, pieces))
        piece_s = working_cpu(rows, actors=many)
        shares = [waiting_share(actors, wait_s=2.0 if quick else 5.0) for actors in (few, many)]
        board_s = board_cpu(500 if quick else 5000)
    return {
        "setup_piece_s": setup_s,
        "driver_piece_s": piece_s,
        "driver_actor_s": max(0.0, shares[1] - shares[0]) / (many - few) * LOOP_WAIT_S,
        "board_call_s": board_s,
        "status_s": status_seconds(folder, 100 if quick else 1000),
    }


def working_cpu(rows: list[dict[str, Any]], *, actors: int) -> float:
    """Of a piece, where actors ask for the next one at once."""
    from catalog_tagger.tagging.cluster import map_pieces

    statuses = map_pieces(rows, Worker, arguments=(0.0,), gpus=0, actors=(actors, actors))
    next(statuses)
    return cpu_of(lambda: list(statuses)) / (len(rows) - 1)


def waiting_share(actors: int, *, wait_s: float) -> float:
    """Share of a core that the driver takes while all actors are at work."""
    from catalog_tagger.tagging.cluster import map_pieces

    used: list[tuple[float, float]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            used.append((time.time(), time.process_time()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    rows = map_pieces(piece_rows(actors), Worker, arguments=(wait_s,), gpus=0, actors=(actors, actors))
    spans = [json.loads(row["status"]) for row in rows]
    stop.set()
    thread.join()
    begun, ended = max(begun for begun, _ in spans) + 0.2, min(ended for _, ended in spans) - 0.2
    if ended <= begun:
        raise SystemExit(f"{actors} actors were not at work together; this machine is too busy to measure that")
    cpu = np.interp([begun, ended], *np.array(used).T)
    return float((cpu[1] - cpu[0]) / (ended - begun))


def board_cpu(calls: int) -> float:
    """Of the board's process for a report."""
    import ray

    from catalog_tagger.tagging.progress import Counts, make_board

    board = make_board()
    ray.get(board.total.remote())
    (pid,) = (pid for pid in descendants(os.getpid()) if "ray::Board" in command_line(pid))
    begun = process_cpu(pid)
    for _ in range(calls):
        board.add.remote("000000-0123456789ab", Counts(tracks=7, audio_s=1800.0, size_bytes=2**25))
    ray.get(board.total.remote())
    return (process_cpu(pid) - begun) / calls


def process_cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / _TICKS


def status_seconds(folder: Path, count: int) -> float:
    """To take in a status, with the lease in a local folder."""
    from catalog_tagger.tagging.execution import _collected

    entries = [asdict(file) for file in entries_of(1)]
    row = {"status": json.dumps({"name": "x", "summary": asdict(summary_of(0)), "files": entries})}

    def statuses() -> Iterator[dict[str, str]]:
        for _ in range(count):
            yield row

    with hold(Store(folder), "held") as lease:
        return clock_of(lambda: _collected(statuses(), lease)) / count


def summary_of(number: int) -> ShardSummary:
    """What a shard comes to."""
    return ShardSummary(
        shard=f"{number:06d}-0123456789ab",
        tracks=SHARD_TRACKS,
        tagged=SHARD_TRACKS,
        quarantined=0,
        segments=48 * SHARD_TRACKS,
        audio_s=240.0 * SHARD_TRACKS,
        worker="0123456789ab/12345/cpu",
        heard={"content_type": {"music": 200, "speech": 50, "mixed": 18}},
    )


def entries_of(shards: int) -> list[FileEntry]:
    """Files of so many shards."""
    names = [(table, f"{table}/run_id=20260101T000000-0123/{i:06d}-0123456789ab.parquet")
             for table in TABLES_OF["tag"] for i in range(shards)]  # fmt: skip
    return [FileEntry(table=table, name=name, rows=48 * SHARD_TRACKS, size_bytes=1_800_000) for table, name in names]


def shard(folder: Path, *, quick: bool) -> Figures:
    """A shard's rows in files of a local warehouse: seconds for a track."""
    sizes = (17, 67) if quick else (67, SHARD_TRACKS)
    make_manifest(folder / "tracks.parquet", sizes[1])
    plan = make_plan(list_tracks(str(folder / "tracks.parquet")), shard_tracks=4000, shard_bytes=2**40)
    rng = np.random.default_rng(0)

    def tables(tracks: int) -> dict[str, pa.Table]:
        made = tables_of(plan.slice(0, tracks), run_id="r", segments=True)
        segments = made["segments"]
        peaks = np.sort(rng.integers(0, 2**15, (segments.num_rows, PEAKS), np.int16), axis=1).reshape(-1)
        offsets = pa.array(np.arange(segments.num_rows + 1, dtype=np.int32) * PEAKS)
        listed = pa.ListArray.from_arrays(offsets, pa.array(peaks), type=FINGERPRINTS.field("peaks").type)
        columns = {name: segments[name] for name in ("track_id", "run_id", "start_s")}
        return made | {"fingerprints": pa.table({**columns, "peaks": listed}, schema=FINGERPRINTS)}

    made = {size: tables(size) for size in sizes}
    store = Store(folder / "warehouse")

    def write(tracks: int) -> None:
        write_shard(store, run_id="r", summary=summary_of(tracks), tables=made[tracks])

    return {"write_track_s": slope(lambda n: cpu_of(lambda: write(n)), sizes)}


def commit(folder: Path, *, quick: bool) -> Figures:
    """The manifest of so many shards, and a commit of empty files in a local warehouse."""
    sizes = (50, 150) if quick else (1000, 4000)
    runs = {shards: manifest_of(f"run{shards}", entries_of(shards)) for shards in sizes}
    texts = {shards: run.to_json() for shards, run in runs.items()}

    def plain(shards: int) -> None:
        run = runs[shards]
        json.dumps({**vars(run), "files": [vars(file) for file in run.files]})

    def committed(shards: int) -> float:
        name = f"{shards}-{time.monotonic_ns()}"
        files = [replace(file, name=file.name.replace("20260101T000000-0123", name)) for file in entries_of(shards)]
        for file in files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return clock_of(lambda: commit_run(Store(folder), manifest_of(name, files)))

    tables = len(TABLES_OF["tag"])
    return {
        "entry_s": slope(lambda n: cpu_of(runs[n].to_json), sizes) / tables,
        "plain_entry_s": slope(lambda n: cpu_of(lambda: plain(n)), sizes) / tables,
        "read_entry_s": slope(lambda n: cpu_of(lambda: RunManifest.from_json(texts[n], place="")), sizes) / tables,
        "entry_bytes": float(np.polyfit(sizes, [len(texts[n]) for n in sizes], 1)[0]) / tables,
        "commit_shard_on_disk_s": slope(committed, sizes),
    }


def manifest_of(run_id: str, files: list[FileEntry]) -> RunManifest:
    """A committed run of those files."""
    tracks = len(files) * SHARD_TRACKS // len(TABLES_OF["tag"])
    moment = "2026-01-01T00:00:00"
    counts = {"tracks": tracks, "tagged": tracks, "quarantined": 0, "segments": 48 * tracks, "up_to_date": 0}
    of_all: dict[str, Any] = {"versions": {}, "config": {}, "quarantined_by_code": {}, "workers": {}, **counts}
    of_all |= {"started_at": moment, "committed_at": moment, "source": "s3://catalogue/audio", "bundles": BUNDLES}
    return RunManifest(run_id=run_id, files=files, audio_s=240.0 * tracks, wall_s=1.0, **of_all)


def current(folder: Path, *, quick: bool) -> Figures:
    """What is current, where the warehouse holds every track of the source: CPU for a track."""
    sizes = (2000, 6000) if quick else (20_000, 80_000)
    tracks = {}
    for size in sizes:
        make_manifest(folder / f"{size}.parquet", size)
        fill_warehouse(folder / str(size), str(folder / f"{size}.parquet"), shard_bytes=2**30)
        tracks[size] = list_tracks(str(folder / f"{size}.parquet"))

    def select(n: int) -> None:
        select_changed(tracks[n], Store(folder / str(n)), bundle_ids=BUNDLES, source=str(folder / f"{n}.parquet"))

    return {"current_row_s": slope(lambda n: cpu_of(lambda: select(n)), sizes)}


def make_audio(folder: Path, tracks: int) -> float:
    """Tracks of three, four and five minutes out of a few minutes of composed music; seconds of audio."""
    from catalog_tagger.demo.encode import write_audio
    from catalog_tagger.demo.music import STYLES, compose

    minutes = []
    for style in STYLES[:4]:
        sound = compose(style, seed=0, length_s=60.0, rate_hz=44100)
        path = write_audio(folder / "minute.mp3", sound, sample_rate_hz=44100, codec="mp3", bit_rate_bps=128_000)
        minutes.append(path.read_bytes())
        path.unlink()
    total = 0
    for i in range(tracks):
        count = 3 + i % 3
        (folder / f"{i:04d}.mp3").write_bytes(b"".join(minutes[(i + k) % len(minutes)] for k in range(count)))
        total += count * 60
    return float(total)


def tag(source: Path, warehouse: Path, *, cores: int, shard_bytes: int) -> Figures:
    """One run of the command on so many cores, its clock from the start of the process to its end."""
    mine = sorted(os.sched_getaffinity(0))[:cores]
    if len(mine) < cores:
        raise SystemExit(f"the check needs {cores} cores")
    program = f"import os; os.sched_setaffinity(0, {mine}); from catalog_tagger.cli.main import main; main()"
    options = ["--shard-bytes", str(shard_bytes), "--decoders", str(cores + 1), "--json"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-c", program, "tag", str(source), "-w", str(warehouse), *options]
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    wall_s = time.monotonic() - begun
    out = json.loads(done.stdout)
    shards = [summary for summary, _ in read_shards(Store(warehouse), out["run_id"]).values()]
    actors = len({one.worker for one in shards})
    of_shards = [(one.audio_s, one.wall_s) for one in shards]
    return {"wall_s": wall_s, "audio_s": out["audio_s"], "actors": actors, "shards": of_shards}


def spread_of(shards: Sequence[tuple[float, float]]) -> float:
    """How far a shard's seconds lie from the line through (audio, seconds), relative to their mean."""
    audio_s, wall_s = np.array(shards).T
    return float(np.std(wall_s - np.polyval(np.polyfit(audio_s, wall_s, 1), audio_s)) / wall_s.mean())


def runs(folder: Path, *, quick: bool) -> Figures:
    """Runs of the command: the rate of a core, the start, what a shard costs beside its audio, and the check."""
    del quick  # these take what they take
    sources = {"few": 4, "half": 12, "all": 24}
    for name, tracks in sources.items():
        (folder / name).mkdir()
        make_audio(folder / name, tracks)
    one_each = {"few-1": ("few", 1, 2**30), "all-1": ("all", 1, 2**30), "apart-1": ("all", 1, 1)}
    others = {"half-1": ("half", 1, 2**30), "few-2": ("few", 2, 2**30), "all-2": ("all", 2, 2**30)}
    done = {
        name: tag(folder / source, folder / f"w-{name}", cores=cores, shard_bytes=shard_bytes)
        for name, (source, cores, shard_bytes) in {**one_each, **others}.items()
    }
    few, whole, apart = (done[name] for name in one_each)
    more = len(apart["shards"]) - len(whole["shards"])
    alone_s = max(0.0, (apart["wall_s"] - whole["wall_s"]) / more)
    worked_s = whole["wall_s"] - few["wall_s"] - alone_s * (len(whole["shards"]) - len(few["shards"]))
    core_rate = (whole["audio_s"] - few["audio_s"]) / worked_s

    def start_s(run: Figures, cores: int) -> float:
        return float(run["wall_s"] - run["audio_s"] / core_rate / cores - len(run["shards"]) * alone_s)

    return {
        "core_rate": core_rate,
        "piece_alone_s": alone_s,
        "track_spread": spread_of(apart["shards"]),
        "start_s": start_s(done["few-2"], 2),
        "start_one_core_s": start_s(few, 1),
        "done": done,
    }


STEPS: dict[str, Callable[..., Figures]] = {
    step.__name__: step for step in (listing, planning, driver, shard, commit, current, runs)
}
