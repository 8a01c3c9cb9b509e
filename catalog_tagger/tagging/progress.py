"""How far a run has come, and which pieces of it kill their actors: one small board knows both.

The board is a Ray actor without resources on the driver's node. Actors report to it without waiting,
at most twice a second; the driver looks at the sum. A piece that is begun again starts its counts anew,
so that what was done twice counts once.

An actor also says when it begins a piece. A piece that was begun before and not ended has lost its
actor: by itself when that actor's node is alive, else with the node, which counts for nothing.

Failure rule: a board that dies is started again and knows nothing; the display restarts, deaths are
counted anew, and the run goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

REPORT_EVERY_S: Final = 0.5
#: actors that a piece may kill before it is taken apart
MOST_DEATHS: Final = 2
#: until Ray has noticed that a node is gone
NODE_LOSS_S: Final = 20.0
_ASK_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run at one moment; what a resumed run found finished is counted in."""

    run_id: str
    tracks: int
    tracks_total: int
    quarantined: int
    audio_s: float
    """Audio tagged since this process started."""
    size_bytes: int
    size_bytes_total: int
    resumed_bytes: int
    elapsed_s: float

    @property
    def times_real_time(self) -> float:
        """Seconds of audio per second, since this process started."""
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Expected seconds to the end, by the bytes that are left; None before there is a rate."""
        done = self.size_bytes - self.resumed_bytes
        if done <= 0 or self.elapsed_s <= 0:
            return None
        return (self.size_bytes_total - self.size_bytes) * self.elapsed_s / done


@dataclass(kw_only=True)
class Counts:
    """What an actor has done since its last report."""

    tracks: int = 0
    quarantined: int = 0
    audio_s: float = 0.0
    size_bytes: int = 0

    def plus(self, other: Counts, *, sign: int = 1) -> Counts:
        """The sum, or the difference, of each figure."""
        return Counts(**{name: value + sign * getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Deaths:
    """Earlier actors of a piece that died by themselves."""

    count: int = 0
    reason: str = ""
    """What the last of them said, where it could."""
    elsewhere: bool = False
    """Whether one was on another node than the actor that asks: that node may be lost, and nobody knows yet."""


class Board:
    """The sum of all reports, and who has begun what."""

    def __init__(self) -> None:
        self._total = Counts()
        self._of_piece: dict[str, Counts] = {}
        self._begun_on: dict[str, list[str]] = {}
        self._reasons: dict[str, str] = {}

    def begin(self, piece: str, node_id: str) -> Deaths:
        """An actor on a node takes a piece up, perhaps again; returns `deaths`."""
        self._begun_on.setdefault(piece, []).append(node_id)
        self._total = self._total.plus(self._of_piece.pop(piece, Counts()), sign=-1)
        return self.deaths(piece)

    def blame(self, piece: str, reason: str) -> None:
        """An actor is about to die of a piece and says why."""
        self._reasons[piece] = reason

    def deaths(self, piece: str) -> Deaths:
        """Actors of a piece that died while their nodes lived on."""
        *earlier, here = self._begun_on.get(piece, [""])
        alive = _alive_nodes() if earlier else set()
        on = [node_id for node_id in earlier if node_id in alive]
        elsewhere = any(node_id != here for node_id in on)
        return Deaths(count=len(on), reason=self._reasons.get(piece, ""), elsewhere=elsewhere)

    def add(self, piece: str, counts: Counts) -> None:
        """Take a report."""
        self._total = self._total.plus(counts)
        self._of_piece[piece] = self._of_piece.get(piece, Counts()).plus(counts)

    def end(self, piece: str) -> None:
        """A piece is done: its counts can no longer be taken back."""
        self._of_piece.pop(piece, None)
        self._begun_on.pop(piece, None)
        self._reasons.pop(piece, None)

    def total(self) -> Counts:
        """The sum of all pieces."""
        return self._total


def _alive_nodes() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def make_board() -> Any:
    """A new board on this node; keep the handle as long as it is needed."""
    import ray  # here, so that showing progress does not need it
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Board).remote()


@dataclass(kw_only=True)
class Reporter:
    """An actor's way to the board, for one piece at a time."""

    board: Any
    piece: str = ""
    _held: Counts = field(default_factory=Counts)
    _sent_at: float = 0.0

    def begin(self, piece: str, *, node_id: str) -> Deaths:
        """Take a piece up; returns which actors have died of it so far, none where the board is gone."""
        self.piece, self._held = piece, Counts()
        deaths = self._ask("begin", piece, node_id)
        if deaths.count >= MOST_DEATHS and deaths.elsewhere:
            time.sleep(NODE_LOSS_S)
            deaths = self._ask("deaths", piece)
        return deaths

    def blame(self, reason: str) -> None:
        """Say why this process is about to end, and be sure that it was heard."""
        self._ask("blame", self.piece, reason)

    def end(self) -> None:
        """The piece's rows are written."""
        self.flush()
        self.board.end.remote(self.piece)

    def add(self, *, quarantined: bool, size_bytes: int) -> None:
        """Count one finished track."""
        self._held.tracks += 1
        self._held.quarantined += quarantined
        self._held.size_bytes += size_bytes
        self.heard(0.0)

    def heard(self, audio_s: float) -> None:
        """Count audio of a track that is still under way."""
        self._held.audio_s += audio_s
        if time.monotonic() - self._sent_at >= REPORT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        self.board.add.remote(self.piece, self._held)
        self._held, self._sent_at = Counts(), time.monotonic()

    def _ask(self, method: str, *arguments: str) -> Deaths:
        import ray
        import ray.exceptions

        try:
            answer: Deaths | None = ray.get(getattr(self.board, method).remote(*arguments), timeout=_ASK_S)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            answer = None
        return answer or Deaths()
