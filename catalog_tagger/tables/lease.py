"""Who is working on a run: at most one driver at a time.

Layout: ``runs/<run>/lease/<n>.json``, numbered from 1; the highest number holds the run. A driver takes
a run by creating the next number, which succeeds for one of several where the store honours conditional
writes, and rewrites its file every ten seconds: `beat` counts up, so that another driver sees life
without trusting its clock. A lease is free when its driver ended it, when its process is known to be
gone (the same machine), or when `beat` has stood still for 45 s.

The files also are the run's record of machine time, by which ``runs`` tells what it cost.

Failure rule: a driver that lost its lease, say after its machine slept, finds a higher number and stops
before it commits. Where a store ignores conditional writes, two drivers that start within the same
moment may both go on, until one finds the other's name in its lease at its next beat. What they write
does not mix: files of different plans have different names, a manifest lists the files of one plan
alone, is written only while none is there and all its files are. The price is work done twice.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from catalog_tagger.errors import CatalogTaggerError, RunError, StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import Session, run_folder

BEAT_S: Final = 10.0
STALE_S: Final = 45.0
_END_S: Final = 5.0
#: a lease whose clock is this far behind is dead whatever the two clocks differ by
_LONG_DEAD: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One ``lease/<n>.json``."""

    number: int
    owner: str
    """Random, so that a driver knows its own."""
    machine: str
    """Host, boot and process namespace, between which process ids mean nothing."""
    process: str
    """Id and start of the process there."""
    beat: int
    ended: bool
    session: Session

    def to_json(self) -> bytes:
        """The file's bytes."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, place: str) -> Lease:
        """Read the file back; `StorageError` where it is not one."""
        try:
            content = json.loads(data)
            return cls(**{**content, "session": Session(**content["session"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{place}: not a lease ({error}); remove the file") from error


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a session has of a cluster at one moment."""

    nodes: int
    cpus: int
    gpus: int


class HeldLease:
    """A run that this process holds; `require` says whether it still does."""

    def __init__(self, store: Store, run_id: str, lease: Lease) -> None:
        self._store, self._run_id, self._lease = store, run_id, lease
        self._size: Callable[[], Size | None] = lambda: None
        self._lost = False
        self._beaten_at = time.monotonic()
        self._stop = threading.Event()
        self._beating = threading.Lock()
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._thread.start()

    def measure(self, size: Callable[[], Size | None]) -> None:
        """From now on ask `size` at every beat what the session has; None when that cannot be told."""
        self._size = size
        self.beat()

    def require(self) -> None:
        """Make sure that no other driver has taken the run.

        Raises
        ------
        RunError
            One has.
        """
        if not self._lost:
            newest = _newest_number(self._store, self._run_id)
            self._lost = newest > self._lease.number
        self.check()

    def check(self) -> None:
        """As `require` by what the last beat saw: it asks the store nothing, so that it may be called for every shard.

        Raises
        ------
        RunError
            Another driver has the run.
        """
        if self._lost:
            raise RunError(f"run {self._run_id}: another driver has taken it over; finished shards are kept")

    def beat(self) -> None:
        """Give a sign of life now; `StorageError` where the store refuses, `RunError` where the lease is lost."""
        with self._beating:
            self._beat()

    def end(self) -> None:
        """Give the run up; a failure to say so leaves it to be found stale."""
        self._stop.set()
        if not self._beating.acquire(timeout=_END_S):
            return  # the store is in a bad hour, and somebody waits for this process to end
        try:
            self._beat(ended=True)
        except CatalogTaggerError:
            return
        finally:
            self._beating.release()

    def _beat_on(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self.beat()
                self.require()
            except RunError:
                return
            except CatalogTaggerError:
                continue  # the store may be back at the next beat

    def _beat(self, *, ended: bool = False) -> None:
        # a store that ignores conditions may have let another driver take the same number
        try:
            self._lost |= _read(self._store, self._run_id, self._lease.number).owner != self._lease.owner
        except FileNotFoundError:  # somebody has removed the run
            self._lost = True
        if self._lost:
            self.require()
        session, size, now = self._lease.session, self._size(), time.monotonic()
        if size is not None:
            session = replace(
                session,
                nodes=max(session.nodes, size.nodes),
                cpus=max(session.cpus, size.cpus),
                gpus=max(session.gpus, size.gpus),
            )
        nodes = session.nodes if size is None else size.nodes
        node_s = session.node_s + nodes * (now - self._beaten_at)
        session = replace(session, last_seen_at=_now(), node_s=round(node_s, 3))
        self._lease = replace(self._lease, beat=self._lease.beat + 1, ended=ended, session=session)
        self._beaten_at = now
        self._store.write(_name(self._run_id, self._lease.number), self._lease.to_json())


@contextmanager
def hold(store: Store, run_id: str) -> Iterator[HeldLease]:
    """Work on a run alone, for as long as the block lasts.

    Raises
    ------
    RunError
        Another driver is working on the run, or took it at the same moment.
    StorageError
        The store refuses.
    """
    newest = _newest_number(store, run_id)
    if newest:
        _require_free(store, run_id, newest)
    machine, process = this_process()
    session = Session(
        driver=f"{socket.gethostname()}:{os.getpid()}",
        started_at=_now(),
        last_seen_at=_now(),
        nodes=1,
        cpus=0,
        gpus=0,
    )
    lease = Lease(
        number=newest + 1,
        owner=secrets.token_hex(8),
        machine=machine,
        process=process,
        beat=0,
        ended=False,
        session=session,
    )
    name = _name(run_id, lease.number)
    mine = store.create(name, lease.to_json())
    # a store that ignores the condition lets the later one through: as a rule one of the two finds out here
    if not mine or _read(store, run_id, lease.number).owner != lease.owner:
        raise RunError(f"run {run_id}: another driver took it at this moment; let it work")
    held = HeldLease(store, run_id, lease)
    try:
        yield held
    finally:
        held.end()


def read_leases(store: Store, run_id: str) -> list[Lease]:
    """Every lease of a run, in the order they were taken."""
    return [_read(store, run_id, number) for number in _numbers(store, run_id)]


def require_free(store: Store, run_id: str) -> None:
    """Make sure that nobody works on a run; takes up to 45 s where its driver was on another machine.

    Raises
    ------
    RunError
        Somebody does.
    """
    newest = _newest_number(store, run_id)
    if newest:
        _require_free(store, run_id, newest)


def this_process() -> tuple[str, str]:
    """(machine, process) as a lease names them."""
    return _machine(), f"{os.getpid()}/{_started(os.getpid())}"


def _require_free(store: Store, run_id: str, number: int) -> None:
    """Look at the newest lease until it is known to be free, or its driver to be alive."""
    first = _read(store, run_id, number)
    deadline = time.monotonic() + STALE_S
    while not (first.ended or is_gone(first)):
        if time.monotonic() >= deadline:
            return
        time.sleep(1.0)
        now = _read(store, run_id, number)
        if now.ended:
            return
        if now.beat != first.beat:
            raise RunError(
                f"run {run_id} is being worked on by {first.session.driver}; "
                f"let it end, or stop that process and start again"
            )


def is_gone(lease: Lease) -> bool:
    """Whether the holder is known to be dead without waiting for it: its process on this machine, or long ago."""
    if lease.machine == _machine():
        pid, started = lease.process.split("/")
        return _started(int(pid)) != started
    return datetime.now(timezone.utc) - datetime.fromisoformat(lease.session.last_seen_at) > _LONG_DEAD


def _machine() -> str:
    boot = _text("/proc/sys/kernel/random/boot_id")
    namespace = str(Path("/proc/self/ns/pid").readlink()) if Path("/proc/self/ns/pid").is_symlink() else ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _started(pid: int) -> str:
    """When a process of this machine started, in the kernel's ticks; empty where there is none."""
    if not Path("/proc/self").exists():  # elsewhere than Linux
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "alive"
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _numbers(store: Store, run_id: str) -> list[int]:
    stems = (name.removesuffix(".json") for name in store.children(f"{run_folder(run_id)}/lease"))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def _newest_number(store: Store, run_id: str) -> int:
    return max(_numbers(store, run_id), default=0)


def _name(run_id: str, number: int) -> str:
    return f"{run_folder(run_id)}/lease/{number:04d}.json"


def _read(store: Store, run_id: str, number: int) -> Lease:
    name = _name(run_id, number)
    return Lease.from_json(store.read(name), place=store.uri_of(name))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
