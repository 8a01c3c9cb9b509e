"""A tagging run on many nodes as a discrete-event simulation, and where what all nodes share ends.

A run is a serial head (listing, planning, handing the pieces to Ray, starting the actors), the map
phase, and a serial end (the statuses that are left, the commit). The map phase has four servers:

- actors, one or several per node: each does one piece at a time, for as long as the cores need for the
  audio, or object storage for the bytes, and alone for the requests and the tables of the piece; some
  pieces are slower than others, and a node may be lost, which costs what it had of its piece and the
  time until another is there;
- the driver's loop, which works in steps, as Ray Data's does: it waits until all tasks have ended, or
  0.1 s, looks at every actor, takes in the pieces that have ended and hands out as many;
- the reader of statuses, one after the other;
- the board, which every actor reports to, and waits for when it begins a piece.

What is taken for granted, and how the model was checked, `bench_scaling` says.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from catalog_tagger.tagging.progress import _ASK_S, REPORT_EVERY_S

PAGE = 1000  # objects of one answer to a listing
TABLES = 3
PLAN_WRITERS = 8
FILES_READ_AT_ONCE = 16
OBJECTS_FETCHED_AT_ONCE = 8
LOOP_WAIT_S = 0.1  # Ray Data's, for tasks that end
BYTES_PER_S = 16_000.0  # of audio, MP3 at 128 kb/s
#: what the planner does with catalogues far below its limits
LEAST_SHARDS, LEAST_SHARD_BYTES = 16, 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of one core, each measured; what is per object, track, piece or entry grows with their number."""

    core_rate: float
    """Seconds of audio that a core tags in a second."""
    start_s: float
    """From the command to the first piece, on a cluster that is there."""
    piece_alone_s: float
    """Of an actor for a piece of any size, its other cores idle: filling and emptying the pipeline."""
    track_spread: float
    """Standard deviation of a track's seconds, relative to their mean for its length."""
    write_track_s: float
    """Of an actor for a track's rows in the three tables."""
    list_object_s: float
    list_file_s: float
    """Of a local folder."""
    request_s: float
    """Of the client for a small object."""
    read_track_s: float
    """Of a manifest in Parquet."""
    plan_track_s: float
    write_plan_track_s: float
    setup_piece_s: float
    """To hand a piece to Ray Data, before anything runs."""
    driver_piece_s: float
    """Of the driver's loop for a piece."""
    driver_actor_s: float
    """Of the driver's loop for an actor in each step."""
    status_s: float
    """Of the driver for a status."""
    board_call_s: float
    entry_s: float
    """To write a file's entry in ``manifest.json``."""
    plain_entry_s: float
    """The same, without indentation and without copying the entry."""
    entry_bytes: float
    read_entry_s: float
    current_row_s: float
    """For a row of the warehouse and a track of the source, to tell whether it is current."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A catalogue and where it is tagged."""

    tracks: int
    track_s: float = 240.0
    nodes: int = 1
    cores: int = 16
    actors_per_node: int = 1
    node_spread: float = 0.05
    """Of how fast machines of one kind are at a moment, relative to their mean."""
    shard_bytes: float = 2.0**30
    latency_s: float = 0.1
    """From a request to the first byte of its answer."""
    connection_bytes_per_s: float = 80e6
    gets_per_s: float = 5500.0
    puts_per_s: float = 3500.0
    """Both of a prefix of object storage."""
    prefixes: int = 1
    losses_per_hour: float = 0.0
    """Of a node."""
    replaced_s: float = 120.0
    """From the loss of a node until another one works."""
    listed: bool = True
    """Whether the source is a prefix; otherwise a manifest with ETags and sizes."""

    @property
    def actors(self) -> int:
        """Of all nodes."""
        return self.nodes * self.actors_per_node

    @property
    def audio_s(self) -> float:
        """Of the whole catalogue."""
        return self.tracks * self.track_s


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes of the program, off as it is."""

    listers: int = 1
    """Processes that list prefixes side by side."""
    one_listing: bool = False
    """Commit and sweep share one listing of each table, and the manifest has plain entries."""
    boards: int = 1
    pieces_per_actor: int = 0
    """Shards are cut so small, or made so large, that an actor has about so many; 0: by `Place.shard_bytes`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a simulated run took, in seconds of the clock."""

    nodes: int
    pieces: int
    wall_s: float
    list_s: float
    plan_s: float
    setup_s: float
    start_s: float
    map_s: float
    tail_s: float
    """Of the map phase, from the first actor without a piece to the last one's end."""
    collect_s: float
    """From the end of the last piece to the last status."""
    commit_s: float
    rate: float
    """Seconds of audio per second."""
    driver_load: float
    """Share of the map phase that the driver's loop works."""
    board_load: float
    lost: int
    """Pieces that were begun again."""


def piece_sizes(place: Place, changes: Changes, rng: np.random.Generator) -> np.ndarray:
    """Seconds of audio of every piece: shards are cut by bytes, where the next track would not fit."""
    total = place.audio_s * BYTES_PER_S
    limit = min(place.shard_bytes, max(total / LEAST_SHARDS, LEAST_SHARD_BYTES))
    if changes.pieces_per_actor:
        limit = max(LEAST_SHARD_BYTES, total / (place.actors * changes.pieces_per_actor))
    limit_s = max(limit / BYTES_PER_S, place.track_s)
    count = max(1, math.ceil(place.audio_s / max(limit_s - place.track_s / 2, place.track_s)))
    sizes = limit_s - place.track_s * rng.random(count) if count > 1 else np.ones(1)
    return np.asarray(sizes * (place.audio_s / sizes.sum()))


def piece_s(costs: Costs, place: Place, audio_s: float) -> float:
    """How long an actor is busy with a piece where nobody else asks anything of object storage.

    Actors of a node share its cores: while one is alone with its requests and tables, the others have them all.
    """
    tracks = audio_s / place.track_s
    compute = audio_s / (costs.core_rate * place.cores)
    fetch = place.latency_s + place.track_s * BYTES_PER_S / place.connection_bytes_per_s
    alone = costs.piece_alone_s + tracks * costs.write_track_s + 2 * TABLES * place.latency_s
    return max(place.actors_per_node * compute, compute + alone, tracks * fetch / OBJECTS_FETCHED_AT_ONCE + alone)


def commit_seconds(costs: Costs, place: Place, changes: Changes, pieces: int) -> float:
    """Checking that all files are there, writing the manifest, sweeping."""
    listings = TABLES * (1 if changes.one_listing else 2)
    listed = listings * (pieces * costs.list_object_s + math.ceil(pieces / PAGE) * place.latency_s)
    entry = costs.plain_entry_s if changes.one_listing else costs.entry_s
    written = TABLES * pieces * (entry + costs.entry_bytes / place.connection_bytes_per_s)
    return listed + written + 4 * place.latency_s


def next_run_seconds(costs: Costs, place: Place, changes: Changes = Changes()) -> dict[str, float]:
    """What a run has to do before it starts where the warehouse holds the catalogue already, by part."""
    pieces = len(piece_sizes(place, changes, np.random.default_rng(0)))
    return {
        "list": list_seconds(costs, place, changes),
        "manifest": TABLES * pieces * costs.read_entry_s,
        "files": pieces * max(costs.request_s, place.latency_s / FILES_READ_AT_ONCE),
        "rows": place.tracks * costs.current_row_s,
    }


def list_seconds(costs: Costs, place: Place, changes: Changes) -> float:
    """The source to a table of tracks."""
    if not place.listed:
        return place.tracks * costs.read_track_s
    pages = math.ceil(place.tracks / PAGE)
    return (pages * place.latency_s + place.tracks * costs.list_object_s) / changes.listers


def simulate(costs: Costs, place: Place, changes: Changes = Changes(), *, seed: int = 0) -> Run:
    """One run, from the command to its manifest."""
    rng = np.random.default_rng(seed)
    sizes = piece_sizes(place, changes, rng)
    pieces = len(sizes)
    plan_s = place.tracks * (costs.plan_track_s + costs.write_plan_track_s)
    plan_s += math.ceil(pieces / 64) * place.latency_s / PLAN_WRITERS
    parts = {
        "list_s": list_seconds(costs, place, changes),
        "plan_s": plan_s,
        "setup_s": pieces * costs.setup_piece_s,
        "start_s": costs.start_s,
        "commit_s": commit_seconds(costs, place, changes, pieces),
    }
    mapped = _Map(costs, place, changes, sizes, rng).run()
    wall_s = sum(parts.values()) + mapped["map_s"] + mapped["collect_s"]
    figures = {**parts, **mapped, "lost": int(mapped["lost"])}
    return Run(nodes=place.nodes, pieces=pieces, wall_s=wall_s, rate=place.audio_s / wall_s, **figures)  # type: ignore[arg-type]


class _Map:
    """The map phase."""

    def __init__(
        self, costs: Costs, place: Place, changes: Changes, sizes: np.ndarray, rng: np.random.Generator
    ) -> None:
        self.costs, self.place, self.rng = costs, place, rng
        self.actors = min(place.actors, len(sizes))
        self.left = deque(sizes.tolist())
        self.running: list[tuple[float, bool, float]] = []
        """(End, whether its node is lost then, seconds of audio)."""
        self.board_load = self.actors * costs.board_call_s / REPORT_EVERY_S / changes.boards
        self.board_behind, self.board_at = 0.0, 0.0
        self.status_s = costs.status_s
        self.lost = 0

    def run(self) -> dict[str, float]:
        """Its times and loads, by the names that `Run` gives them."""
        look_s, now, worked, read_until, latest = self.actors * self.costs.driver_actor_s, 0.0, 0.0, 0.0, 0.0
        idle_from = math.inf
        for _ in range(self.actors):
            now += self.costs.driver_piece_s
            latest = max(latest, self._begin(now))
        while self.running:
            first = self.running[0][0]
            step = LOOP_WAIT_S + look_s
            if first > now + step:  # steps in which nothing ends
                skipped = math.floor((first - now) / step)
                worked += skipped * look_s
                now += skipped * step
            now += max(0.0, min(LOOP_WAIT_S, latest - now))
            ended = self._taken(now)
            busy = look_s + len(ended) * self.costs.driver_piece_s
            now, worked = now + busy, worked + busy
            for end in ended:
                read_until = max(read_until, now) + self.status_s
                if self.left:
                    latest = max(latest, self._begin(now))
                else:
                    idle_from = min(idle_from, end)
            if latest < now and self.running:  # a lost node's piece, begun again
                latest = max(end for end, _, _ in self.running)
        return {
            "map_s": now,
            "tail_s": max(0.0, now - idle_from),
            "collect_s": max(0.0, read_until - now),
            "driver_load": worked / now,
            "board_load": self.board_load,
            "lost": self.lost,
        }

    def _taken(self, now: float) -> list[float]:
        """Ends of the pieces that are done by now; those of lost nodes are begun again by Ray itself."""
        ended = []
        while self.running and self.running[0][0] <= now:
            end, is_lost, audio_s = heapq.heappop(self.running)
            if is_lost:
                self.lost += 1
                self._put(end + self.place.replaced_s, audio_s)
            else:
                ended.append(end)
        return ended

    def _begin(self, now: float) -> float:
        """The next piece on the actor that is free; returns its end."""
        self.board_behind = max(0.0, self.board_behind + (now - self.board_at) * (self.board_load - 1.0))
        self.board_at = now
        asked = min(_ASK_S, self.board_behind + self.costs.board_call_s)
        return self._put(now + asked, self.left.popleft())

    def _put(self, begin: float, audio_s: float) -> float:
        length = piece_s(self.costs, self.place, audio_s)
        of_tracks = self.costs.track_spread / math.sqrt(max(1.0, audio_s / self.place.track_s))
        length *= math.exp(self.rng.normal(0.0, math.hypot(of_tracks, self.place.node_spread)))
        busy = min(self.actors, len(self.running) + 1)
        length = max(length, audio_s / self.place.track_s * busy / (self.place.gets_per_s * self.place.prefixes))
        life = math.inf
        if self.place.losses_per_hour:
            life = self.rng.exponential(3600.0 / self.place.losses_per_hour)
        end = begin + min(life, length)
        heapq.heappush(self.running, (end, life < length, audio_s))
        return end


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One thing that all nodes share."""

    resource: str
    saturated_at: float | None
    """Nodes at which it has no time left; None for work that is done once."""
    tenth_at: float | None
    """Nodes at which it takes a tenth of the run; None where it never does among those simulated."""
    change: str
    """What moves the bound; empty: nothing simulated."""
    wall_s: float
    """A run on the most nodes simulated, with this change and those of the bounds before it."""
    efficiency: float
    """Its rate, as a share of so many times one node's as the program is."""


def share_reaches(runs: Sequence[Run], part: Sequence[float], share: float = 0.1) -> float | None:
    """Nodes at which a part takes that share of a run, between those that were simulated."""
    shares = [value / run.wall_s for run, value in zip(runs, part, strict=True)]
    for i, (run, value) in enumerate(zip(runs, shares, strict=True)):
        if value >= share:
            if i == 0:
                return float(run.nodes)
            before = shares[i - 1]
            at = (share - before) / (value - before)
            return float(2 ** (math.log2(runs[i - 1].nodes) * (1 - at) + math.log2(run.nodes) * at))
    return None


def bounds_of(costs: Costs, place: Place, runs: Sequence[Run]) -> list[Bound]:
    """Where each shared thing ends, for the catalogue of `place` and runs on more and more nodes as the program is."""
    per_node = replace(place, nodes=1)
    shard_s = min(place.shard_bytes / BYTES_PER_S, place.audio_s / LEAST_SHARDS)
    pieces = per_node.actors / piece_s(costs, place, shard_s)  # of a node in a second
    tracks = pieces * shard_s / place.track_s
    loop = pieces * costs.driver_piece_s + per_node.actors * costs.driver_actor_s / LOOP_WAIT_S
    board = (per_node.actors / REPORT_EVERY_S + 2 * pieces) * costs.board_call_s
    reads, writes = tracks / (place.gets_per_s * place.prefixes), TABLES * pieces / place.puts_per_s
    boards = math.ceil(runs[-1].nodes * per_node.actors / 256)
    # (resource, share of it that one node takes, parts of a run, change, what of Changes, what of Place)
    rows: list[tuple[str, float, tuple[str, ...], str, dict[str, Any], dict[str, Any]]] = [
        ("the reader of statuses", costs.status_s * pieces, ("collect_s",), "", {}, {}),
        ("listing the source", 0.0, ("list_s",), "16 processes list prefixes", {"listers": 16}, {}),
        ("reads of one prefix of object storage", reads, (), "16 prefixes, read side by side", {}, {"prefixes": 16}),
        ("handing pieces to Ray, start", 0.0, ("setup_s", "start_s"), "", {}, {}),
        ("the last shards", 0.0, ("tail_s",), "shards by the cluster, 16 per actor", {"pieces_per_actor": 16}, {}),
        ("manifest and commit", 0.0, ("commit_s",), "each table listed once, plain entries", {"one_listing": True}, {}),
        ("planning", 0.0, ("plan_s",), "", {}, {}),
        ("the driver's loop", loop, (), "", {}, {}),
        ("the progress board", board, (), "one per 256 actors", {"boards": boards}, {}),
        ("writes of one prefix of object storage", writes, (), "", {}, {}),
    ]  # fmt: skip
    changes, most, run = Changes(), replace(place, nodes=runs[-1].nodes), runs[-1]
    bounds = []
    for resource, share, parts, change, of_changes, of_place in rows:
        if change:
            changes, most = replace(changes, **of_changes), replace(most, **of_place)
            run = simulate(costs, most, changes)
        values = [sum(getattr(one, part) for part in parts) for one in runs]
        bounds.append(
            Bound(
                resource=resource,
                saturated_at=1 / share if share else None,
                tenth_at=share_reaches(runs, values) if parts else None,
                change=change,
                wall_s=run.wall_s,
                efficiency=run.rate / runs[0].rate / run.nodes * runs[0].nodes,
            )
        )
    return bounds


def rows_of(runs: Sequence[Run]) -> list[dict[str, float]]:
    """Runs as JSON holds them, with the share of so many times one node's rate that each has."""
    return [{**asdict(run), "efficiency": run.rate / runs[0].rate / run.nodes * runs[0].nodes} for run in runs]
