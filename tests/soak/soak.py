"""Kill everything, again and again, and compare what is left with a run that nobody disturbed.

    python tests/soak/soak.py --kills 60 --seed 1

A small catalogue is tagged once in peace. Then it is tagged in several more runs, each through many
drivers, while processes are killed by SIGKILL: drivers, tagging actors, decoders, the progress board,
raylets, Ray's control store, whole nodes of a cluster of three, and processes that are just about to
store a file or have just stored one (so also between data and manifest). A run is started again until it
is committed. Then every row of every table must be what the undisturbed run has, each once, and no file
may be left that the manifest does not list. Scores are compared within 1e-3 of the sums' order, all else
exactly but for times. Exits 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from audio_files import glide, wav_bytes, write  # noqa: E402
from processes import command_line, descendants  # noqa: E402

from catalog_tagger.storage import Store  # noqa: E402
from catalog_tagger.tables.commit import read_manifest  # noqa: E402
from catalog_tagger.tables.views import query  # noqa: E402

#: where a process dies by its own hand: which writes of the driver, and whether before or after ...
EARLY_WRITES = (
    "before runs/.*/lease/0001",
    "after runs/.*/lease/0001",
    "before runs/.*/plan-",
    "after runs/.*/plan-",
    "before job.json",
    "after job.json",
)
#: ... of the tagging actors, and of the driver at the end
ACTOR_WRITES = ("before segments/", "after segments/", "before tracks/", "after tracks/")
LAST_WRITES = ("before manifest.json", "after manifest.json")
#: which processes are killed from outside, by what their command line holds
PROCESSES = {
    "actor": "ray::MapWorker",
    "decoder": "ray::_decode_task",
    "board": "ray::Board",
    "raylet": "raylet/raylet",
    "control store": "gcs_server",
}
#: a track whose decoder dies three times in one sitting is quarantined, as it should be: do not cause that
MOST_DECODERS_PER_SITTING = 2
PATIENCE_S = 240.0
COLUMNS = (
    "track_id, uri, audio_etag, size_bytes, status, error_code, error_message, codec, sample_rate_hz, channels, "
    "duration_s, scanned_s, speech_fraction, music_fraction, content_type, bundles, attempts"
)


class Failed(Exception):
    """The product lost, doubled or changed something, or hung."""


def make_catalogue(folder: Path, *, tracks: int, seed: int, most_minutes: int = 30) -> Path:
    """Tracks of half a second to so many minutes, every eighth of them broken."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    minute = write(folder / "minute.mp3", glide(60.0, rate_hz=22050), rate_hz=22050, codec="mp3")
    data = minute.read_bytes()
    minute.unlink()
    for i in range(tracks):
        if i % 8 == 7:
            (folder / f"{i:03d}-broken.mp3").write_bytes(b"<html>" * int(rng.integers(1, 200)))
        elif i % 8 == 3:
            noise = rng.normal(0, 3000, int(rng.integers(8000, 1_000_000))).astype(np.int16)
            (folder / f"{i:03d}.wav").write_bytes(wav_bytes(noise))
        else:
            (folder / f"{i:03d}.mp3").write_bytes(data * int(rng.integers(1, most_minutes)))
    return folder


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Soak:
    folder: Path
    source: Path
    bundle: str | None
    rng: random.Random
    shard_tracks: int = 4
    kills: Counter[str] = field(default_factory=Counter)
    sittings: int = 0
    reads: int = 0
    """Times that a reader looked at a run that was being worked on."""
    run_ids: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    @property
    def tracks(self) -> int:
        return sum(path.is_file() for path in self.source.iterdir())

    def start(self, run_id: str, *, deadly: Sequence[str] = (), address: str | None = None) -> subprocess.Popen[bytes]:
        """A driver on a run; for each of `deadly`, one of its processes will kill itself at a write."""
        tokens = self.folder / "kill-at"
        shutil.rmtree(tokens, ignore_errors=True)
        tokens.mkdir()
        for number, line in enumerate(deadly):
            (tokens / str(number)).write_text(line)
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        environment |= {"PYTHONPATH": str(HERE / "hook"), "SOAK_KILL": str(tokens), "OMP_NUM_THREADS": "1"}
        program = [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"]
        command = [*program, "tag", str(self.source), "-w", str(self.folder / run_id), "--run-id", "r", "--json"]
        command += ["--precision", "float32"]  # the order of sums shows in bfloat16
        command += ["--shard-tracks", str(self.shard_tracks)]
        command += ["--bundle", self.bundle] if self.bundle else []
        command += ["--ray-address", address] if address else []
        self.sittings += 1
        log = (self.folder / "drivers.log").open("ab")
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)

    def wait(self, driver: subprocess.Popen[bytes], run_id: str) -> int:
        """The driver's end; one that does not come is a failure. Readers look in meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while (code := driver.poll()) is None:
            self._read(run_id)
            if time.monotonic() > deadline:
                for pid in [driver.pid, *descendants(driver.pid)]:
                    kill(pid)
                raise Failed(f"a driver hung for {PATIENCE_S:.0f} s, after {dict(self.kills)}")
            time.sleep(0.5)
        self._read(run_id)
        return code

    def _read(self, run_id: str) -> None:
        """A reader sees nothing of a run, or all of it."""
        committed = (self.folder / run_id / "runs/r/manifest.json").exists()
        if (self.folder / run_id / "runs").exists():
            (row,) = query(Store(self.folder / run_id), "SELECT count(*) AS n FROM tracks_history").to_pylist()
            self.reads += 1
            if row["n"] not in ({self.tracks} if committed else {0, self.tracks}):
                raise Failed(f"{run_id}: a reader saw {row['n']} of {self.tracks} rows")

    def finish(self, run_id: str) -> None:
        """Run until committed, in peace."""
        code = self.wait(self.start(run_id), run_id)
        if code not in (0, 3):
            raise Failed(f"run {run_id}: an undisturbed driver ended with {code}; see {self.folder}/drivers.log")

    def die_at_writes(self, run_id: str, *deadly: str) -> None:
        """One sitting in which processes end at writes: an actor is replaced, and a driver is the end."""
        self.wait(self.start(run_id, deadly=deadly), run_id)
        for number, line in enumerate(deadly):
            if not (self.folder / "kill-at" / str(number)).exists():
                self.kills[f"process {line}"] += 1

    def kill_processes(self, run_id: str, kinds: list[str]) -> None:
        """One sitting in which processes are killed while it works, in this order."""
        driver = self.start(run_id)
        try:
            for kind in kinds:
                if not self.kill_one(driver, kind, driver.pid):
                    break
            self.wait(driver, run_id)
        finally:
            kill(driver.pid)

    def kill_one(self, driver: subprocess.Popen[bytes], kind: str, root: int) -> bool:
        """Wait for a process of a kind below `root`, and a little longer, and kill one; False when the driver ended."""
        pattern = PROCESSES.get(kind, "ray::_decode_task")
        deadline = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < deadline:
            if [pid for pid in descendants(root) if pattern in command_line(pid)]:
                break
            time.sleep(0.05)
        time.sleep(self.rng.uniform(0.0, 2.5))
        if driver.poll() is not None:
            return False
        if kind == "driver":
            self.kills[kind] += kill(driver.pid)
            return False
        found = [pid for pid in descendants(root) if pattern in command_line(pid)]
        if found and kill(self.rng.choice(found)):
            self.kills[kind] += 1
        return True

    def compare(self, run_id: str) -> None:
        """Rows and files of a run against those of the undisturbed one."""
        mine, other = Store(self.folder / run_id), Store(self.folder / "undisturbed")
        manifest = read_manifest(mine, "r")
        if manifest is None:
            raise Failed(f"{run_id}: not committed")
        question = f"SELECT {COLUMNS} FROM tracks_history ORDER BY track_id"
        found, expected = query(mine, question).to_pylist(), query(other, question).to_pylist()
        if found != expected:
            differing = [(a, b) for a, b in zip(found, expected, strict=False) if a != b][:3]
            raise Failed(f"{run_id}: {len(found)} rows instead of {len(expected)}, or others: {differing}")
        question = "SELECT track_id, start_s, end_s, p_speech, p_music FROM segments_history ORDER BY track_id, start_s"
        rows, wanted = query(mine, question), query(other, question)
        if rows.select([0, 1, 2]) != wanted.select([0, 1, 2]):
            raise Failed(f"{run_id}: {rows.num_rows} segments instead of {wanted.num_rows}, or others")
        for column in ("p_speech", "p_music"):
            if not np.allclose(rows[column].to_numpy(), wanted[column].to_numpy(), atol=1e-3):
                raise Failed(f"{run_id}: scores differ in {column}")
        listed = {file.name for file in manifest.files}
        tables = [
            path
            for table in ("tracks", "segments")
            for path in (self.folder / run_id / table).rglob("*.parquet")
            if path.parent.name != "run_id=none"  # where engines find the columns
        ]
        left = {str(path.relative_to(self.folder / run_id)) for path in tables} - listed
        if left:
            raise Failed(f"{run_id}: files that the manifest does not list: {sorted(left)[:3]}")
        if manifest.tracks != manifest.tagged + manifest.quarantined or manifest.tracks != len(found):
            raise Failed(f"{run_id}: {manifest.tracks} planned, {len(found)} rows")
        self.run_ids.append(run_id)


CLUSTER = """
import os, sys, time, pathlib
import catalog_tagger.tagging.cluster
from ray.cluster_utils import Cluster
folder = pathlib.Path(sys.argv[1])
options = dict(num_cpus=1, object_store_memory=2 * 10**8, include_dashboard=False)
cluster = Cluster(initialize_head=True, head_node_args=options)
nodes = [cluster.add_node(**options) for _ in range(2)]
(folder / "address.new").write_text(cluster.address)
(folder / "address.new").rename(folder / "address")
while os.getppid() == int(sys.argv[2]):
    if (folder / "lose-node").exists():
        (folder / "lose-node").unlink()
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        time.sleep(3)
        nodes.append(cluster.add_node(**options))
        (folder / "lost").write_text("")
    time.sleep(0.1)
cluster.shutdown()
"""


def with_cluster(soak: Soak, run_id: str, *, losses: int) -> None:
    """One run on a cluster of three nodes, of which one after the other is lost and replaced."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    (soak.folder / "address").unlink(missing_ok=True)
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(soak.folder), str(os.getpid())],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=(soak.folder / "cluster.log").open("ab"),
    )
    try:
        deadline = time.monotonic() + 90
        while not (soak.folder / "address").exists():
            if time.monotonic() > deadline or cluster.poll() is not None:
                raise Failed(f"the cluster did not start; see {soak.folder}/cluster.log")
            time.sleep(0.2)
        address = (soak.folder / "address").read_text()
        driver = soak.start(run_id, address=address)
        while sum(PROCESSES["actor"] in command_line(pid) for pid in descendants(cluster.pid)) < 2:
            if driver.poll() is not None:
                raise Failed(f"{run_id}: one node did all the work")
            time.sleep(0.05)
        for _ in range(losses):
            if not soak.kill_one(driver, "decoder", cluster.pid):
                break
            (soak.folder / "lose-node").write_text("")
            while not (soak.folder / "lost").exists() and cluster.poll() is None:
                time.sleep(0.1)
            (soak.folder / "lost").unlink(missing_ok=True)
            soak.kills["whole node"] += 1
        code = soak.wait(driver, run_id)
        if code not in (0, 3):
            raise Failed(f"{run_id}: the driver ended with {code} when a node was lost")
    finally:
        below = descendants(cluster.pid)
        cluster.terminate()
        cluster.wait(timeout=30)
        for pid in below:
            kill(pid)
    soak.compare(run_id)


def sittings_of(rng: random.Random) -> list[list[str]]:
    """What is killed in the sittings of one run; the last kill of a sitting ends its driver."""
    decoders = ["decoder"] * MOST_DECODERS_PER_SITTING
    return [
        ["decoder", "actor", "decoder", "driver"],
        [*decoders, "board", "actor", "driver"],
        ["actor", rng.choice(["raylet", "control store"])],
        ["decoder", "actor", "board", "driver"],
    ]


def soak_through(soak: Soak, *, kills: int, nodes: int) -> None:
    """Disturb runs until so many kills have hit."""
    soak.finish("undisturbed")
    if nodes:
        with_cluster(soak, "nodes", losses=nodes)
    number = 0
    while soak.total < kills:
        run_id, number = f"disturbed-{number}", number + 1
        for deadly in sorted(soak.rng.sample(EARLY_WRITES, 3), key=EARLY_WRITES.index):  # each comes further
            soak.die_at_writes(run_id, deadly)
        for kinds in soak.rng.sample(sittings_of(soak.rng), 4):
            soak.kill_processes(run_id, kinds)
        soak.die_at_writes(run_id, *soak.rng.sample(ACTOR_WRITES, 2), LAST_WRITES[number % 2])
        soak.finish(run_id)
        soak.compare(run_id)
        print(f"{run_id}: the same; {soak.total} kills in {soak.sittings} sittings so far", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=4, help="nodes of a cluster that are lost")
    parser.add_argument("--tracks", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", help="model to run; by default the one that ships")
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        source = make_catalogue(folder / "audio", tracks=arguments.tracks, seed=arguments.seed)
        soak = Soak(folder, source, arguments.bundle, random.Random(arguments.seed))
        started = time.monotonic()
        try:
            soak_through(soak, kills=arguments.kills, nodes=arguments.nodes)
        except Failed as error:
            print(f"FAILED: {error}")
            return 1
        figures = {
            "kills": dict(sorted(soak.kills.items())),
            "total": soak.total,
            "sittings": soak.sittings,
            "runs": len(soak.run_ids),
            "reads": soak.reads,
            "tracks": arguments.tracks,
            "seed": arguments.seed,
            "wall_s": round(time.monotonic() - started),
        }
    for kind, count in sorted(soak.kills.items()):
        print(f"{count:4d}  {kind}")
    print(
        f"{soak.total} kills in {soak.sittings} sittings of {len(soak.run_ids)} runs over {arguments.tracks} tracks: "
        f"every run ended with exactly the rows of the undisturbed one, "
        f"and {soak.reads} looks in between saw none or all of them ({figures['wall_s']} s)"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
