"""What the processes of a job do when, as events that chrome://tracing and Perfetto open.

    CATALOG_TAGGER_TRACE=/tmp/trace catalog-tagger tag ~/Music --warehouse tags
    python -m catalog_tagger.tracing /tmp/trace --out trace.json

Off unless the environment variable names a folder when a process imports this module; then every process appends to
a file of its own there, ``<pid>-<nanoseconds of the import>.jsonl``, one complete event (``"ph": "X"``) a line,
when a span ends::

    {"name": "decode", "ph": "X", "pid": 71, "tid": 71, "ts": 1024000.5, "dur": 350.25, "args": {"uri": "a.mp3"}}

``ts`` and ``dur`` are microseconds of the machine's monotonic clock, which all its processes share: a trace is of one
machine. Kinds of spans (`KINDS`): ``fetch``, a read of an object or of a part of a tar, from its turn to its last
byte; ``decode``, a track in its decoder, with what the decoder reads by itself and its waits for the actor to take
blocks; ``score``, a batch in its thread; ``write``, the files of a piece.

Failure rule: a line is written by one call, so that a process that dies loses the spans it is in, and at most the one
line that it was writing, which `merged` leaves out. A trace that cannot be written ends there, and the job goes on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias, TypedDict

VARIABLE: Final = "CATALOG_TAGGER_TRACE"
KINDS: Final = ("fetch", "decode", "score", "write")
_SCORE: Final = "score"
_UNDER_IT: Final = ("fetch", "decode")
#: more than the number of any thread: spans of one thread that overlap are shown as so many threads
_LANE: Final = 1 << 23

Event: TypeAlias = dict[str, Any]
Intervals: TypeAlias = list[tuple[float, float]]

#: in names of files, since numbers of processes are given out again
_IMPORTED_NS: Final = time.monotonic_ns()
_target = SimpleNamespace(folder=os.environ.get(VARIABLE), observer=None)
_OFF: Final[AbstractContextManager[None]] = nullcontext()


class Overlap(TypedDict):
    """What went on at a time."""

    active_s: dict[str, float]
    """Kind -> seconds in which at least one of its spans was under way."""
    during: dict[str, dict[str, float]]
    """Kind -> other kind -> share of the first one's seconds in which the other was under way, too."""
    score_with_both: float
    """Share of the scoring time in which a fetch and a decode were under way; 0 where nothing was scored."""


def span(kind: str, **about: object) -> AbstractContextManager[None]:
    """What the block does, as one event; `about` is shown with it."""
    return _Span(kind, about) if _target.folder or _target.observer else _OFF


def observe(observer: Callable[[str, float], None] | None) -> None:
    """Let somebody know of every span that ends in this process: its kind, and its seconds."""
    _target.observer = observer


class _Span(AbstractContextManager[None]):
    def __init__(self, kind: str, about: Mapping[str, object]) -> None:
        self._kind, self._about = kind, about

    def __enter__(self) -> None:
        self._begun_ns = time.monotonic_ns()

    def __exit__(self, *_: object) -> None:
        ended_ns = time.monotonic_ns()
        if _target.observer is not None:
            _target.observer(self._kind, (ended_ns - self._begun_ns) / 1e9)
        _append(
            {
                "name": self._kind,
                "ph": "X",
                "pid": os.getpid(),
                "tid": threading.get_native_id(),
                "ts": self._begun_ns / 1000,
                "dur": (ended_ns - self._begun_ns) / 1000,
                "args": self._about,
            }
        )


def _append(event: Event) -> None:
    if _target.folder:
        try:
            os.write(_file(_target.folder, os.getpid()), f"{json.dumps(event, default=str)}\n".encode())
        except OSError:
            _target.folder = None


@lru_cache(maxsize=8)
def _file(folder: str, pid: int) -> int:
    """A process's file, open for appending; after a fork the child has one of its own.

    Threads that come at once may open it twice, which is as good.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return os.open(f"{folder}/{pid}-{_IMPORTED_NS}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def merged(folder: str | os.PathLike[str]) -> list[Event]:
    """The events of all processes by time, after those that name processes and threads by what they did.

    Spans of one thread that overlap and do not nest (coroutines) are given to threads that are made up, since
    viewers cannot show them otherwise.
    """
    events: list[Event] = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:  # the process died on it
                continue
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    _spread(events)
    return [*_names(events), *events]


def _spread(events: Iterable[Event]) -> None:
    """Give every span the first lane of its thread where it comes after, or lies within, what is there."""
    lanes: defaultdict[tuple[int, int], list[list[float]]] = defaultdict(list)
    for event in events:
        begin, end = event["ts"], event["ts"] + event["dur"]
        of_thread = lanes[event["pid"], event["tid"]]
        for open_until in of_thread:
            while open_until and open_until[-1] <= begin:
                open_until.pop()
        fitting = (i for i, open_until in enumerate(of_thread) if not open_until or end <= open_until[-1])
        lane = next(fitting, len(of_thread))
        if lane == len(of_thread):
            of_thread.append([])
        of_thread[lane].append(end)
        event["tid"] += _LANE * lane


def _names(events: Iterable[Event]) -> Iterator[Event]:
    kinds: defaultdict[tuple[int, int | None], set[str]] = defaultdict(set)
    for event in events:
        for tid in (None, event["tid"]):
            kinds[event["pid"], tid].add(event["name"])
    for (pid, tid), of in kinds.items():
        name = {"args": {"name": " ".join(sorted(of))}, "ph": "M", "pid": pid}
        yield {"name": "process_name", **name} if tid is None else {"name": "thread_name", "tid": tid, **name}


def overlap(events: Iterable[Event], names: Sequence[str] = KINDS) -> Overlap:
    """How long each kind of span was under way, and what else was at the same time."""
    spans: dict[str, Intervals] = {name: [] for name in names}
    for event in events:
        if event["ph"] == "X" and event["name"] in spans:
            spans[event["name"]].append((event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6))
    active = {name: _union(found) for name, found in spans.items()}
    both = _common(*(active.get(name, []) for name in _UNDER_IT))
    return {
        "active_s": {name: _length(found) for name, found in active.items()},
        "during": {
            name: {other: _share(found, active[other]) for other in names if other != name}
            for name, found in active.items()
        },
        "score_with_both": _share(active.get(_SCORE, []), both),
    }


def _union(found: Iterable[tuple[float, float]]) -> Intervals:
    """Intervals that do not touch, ascending."""
    out: Intervals = []
    for begin, end in sorted(found):
        if out and begin <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((begin, end))
    return out


def _common(one: Intervals, other: Intervals) -> Intervals:
    """What lies in both, each ascending without overlaps."""
    out: Intervals = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if begin < end:
            out.append((begin, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return out


def _length(found: Intervals) -> float:
    return sum(end - begin for begin, end in found)


def _share(of: Intervals, during: Intervals) -> float:
    whole = _length(of)
    return _length(_common(of, during)) / whole if whole else 0.0


def overlap_table(found: Overlap) -> str:
    """For people: a line a kind."""
    names = list(found["active_s"])
    lines = ["of the time of     seconds  " + "".join(f"{f'{name} too':>12}" for name in names)]
    for name in names:
        cells = (f"{found['during'][name][other]:12.0%}" if other != name else f"{'':12}" for other in names)
        lines.append(f"{name:<16}{found['active_s'][name]:10.2f}  {''.join(cells)}")
    both = " and ".join(_UNDER_IT)
    return "\n".join([*lines, f"{_SCORE} with {both} under way: {found['score_with_both']:.0%}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Merge a folder's files."""
    import argparse  # decoders do without

    parser = argparse.ArgumentParser(prog="python -m catalog_tagger.tracing", description="Merge the trace of a job.")
    parser.add_argument("folder", type=Path, help=f"what {VARIABLE} named")
    parser.add_argument("--out", type=Path, help="write one file here, for chrome://tracing or ui.perfetto.dev")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder}: no such folder")
    events = merged(given.folder)
    if given.out:
        given.out.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
    print(overlap_table(overlap(events)))


if __name__ == "__main__":
    main()
