"""A proxy on loopback in front of an S3 server that does to answers what networks and busy stores do.

It rewrites nothing that is signed: requests go on with the Host header that the client sent, which both
servers take for their own. What it did is counted, and what it does is decided by a rule: a function of
the request, so that the same requests meet the same faults.

Faults: ``refuse`` (the connection is reset and none is taken for a moment), ``reset`` (before the
request reaches the server), ``lost`` (the server has answered, the client never learns), ``500``,
``503``, ``403``, ``404``, and for answers with a body ``reset_body``, ``stall``, ``short`` (the
connection ends early) and ``shorter`` (a complete answer for fewer bytes than were asked for).

Apart from faults, every answer of the server may come `FaultProxy.delay_s` later, as over a long way.
"""

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from servers import S3Server, free_port

TRANSIENT = ("refuse", "reset", "lost", "500", "503", "reset_body", "stall", "short", "shorter")
#: faults of an answer's body
OF_BODY = ("reset_body", "stall", "short", "shorter")
_ANSWERS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Service Unavailable", "SlowDown"),
    "403": ("403 Forbidden", "AccessDenied"),
    "404": ("404 Not Found", "NoSuchKey"),
}
_REFUSED_S = 0.05
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """With its query."""
    first: int
    last: int | None
    """Of the range that is asked for."""
    nth: int
    """How often the same was asked for before; what is taken up in the middle counts as the same."""

    @property
    def is_read(self) -> bool:
        return self.method == "GET" and "?" not in self.path


Rule = Callable[[Request], str | None]


def each_once(fault: str, *, only: Callable[[Request], bool] = lambda _: True) -> Rule:
    """The fault the first time that anything is asked for."""
    return lambda request: fault if request.nth == 0 and only(request) else None


def at_random(seed: int, *, rate: float, faults: Iterable[str] = TRANSIENT, most: int = 4) -> Rule:
    """Any of the faults for a share of the requests, but never more than `most` times for the same one."""
    kinds = tuple(faults)

    def rule(request: Request) -> str | None:
        draw = random.Random(f"{seed} {request.method} {request.path} {request.last} {request.nth}")
        if request.nth >= most or draw.random() >= rate:
            return None
        return draw.choice(kinds if request.is_read else [kind for kind in kinds if kind not in OF_BODY])

    return rule


class FaultProxy:
    """Running from `fault_proxy`; `server` is what clients are to be pointed at."""

    def __init__(self, target: S3Server) -> None:
        self.port = free_port()
        self.server = S3Server(target.kind, f"http://127.0.0.1:{self.port}")
        self.rule: Rule = lambda _: None
        self.delay_s = 0.0
        self._target = urlsplit(target.endpoint)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self.forget()

    def forget(self) -> None:
        """Count from nothing."""
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        """Bytes of bodies by path, as far as they went."""
        self._seen: Counter[tuple[object, ...]] = Counter()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def figures(self) -> str:
        """What was injected, in one line."""
        counts = ", ".join(f"{count} {fault}" for fault, count in sorted(self.faults.items()))
        return f"{self.requests.total()} requests, {self.faults.total()} faults: {counts}"

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        await self._listen()
        self._ready.set()
        await self._stopped.wait()
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._listener: asyncio.Server | None = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, limit=1 << 20, reuse_address=True
        )

    async def _refuse_for_a_moment(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            await asyncio.sleep(_REFUSED_S)
            await self._listen()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream = None
        try:
            upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
            while await self._exchange(reader, writer, *upstream):
                pass
        except (OSError, EOFError, asyncio.CancelledError):  # either side is gone
            pass
        finally:
            self._tasks.discard(task)
            for side in (writer, *([upstream[1]] if upstream else [])):
                with suppress(OSError, RuntimeError):
                    side.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        above: asyncio.StreamReader,
        up: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        headers = _headers(head)
        if headers.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = self._decide(method, path, headers.get("range", ""))
        if fault == "reset":
            return _reset(writer)
        if fault == "refuse":
            refusing = asyncio.create_task(self._refuse_for_a_moment())
            self._tasks.add(refusing)
            refusing.add_done_callback(self._tasks.discard)
            return _reset(writer)
        if fault in _ANSWERS:
            writer.write(_answer(*_ANSWERS[fault], with_body=method != "HEAD"))
            await writer.drain()
            return True
        up.write(head + body)
        answer = await above.readuntil(b"\r\n\r\n")
        await asyncio.sleep(self.delay_s)
        if fault == "lost":
            return _reset(writer)
        return await self._relay(method, path, answer, above, writer, fault=fault)

    def _decide(self, method: str, path: str, wanted: str) -> str | None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        first, last = (int(match[1]), int(match[2]) if match[2] else None) if match else (0, None)
        key = (method, path, last)
        fault = self.rule(Request(method, path, first, last, self._seen[key]))
        self._seen[key] += 1
        self.requests[method] += 1
        if fault is not None:
            self.faults[fault] += 1
        return fault

    async def _relay(
        self,
        method: str,
        path: str,
        answer: bytes,
        above: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        fault: str | None,
    ) -> bool:
        headers = _headers(answer)
        status = int(answer.split(b" ", 2)[1])
        if headers.get("transfer-encoding") == "chunked":
            body = await _chunks(above)
            answer = re.sub(rb"(?i)transfer-encoding: chunked", b"Content-Length: %d" % len(body), answer)
            writer.write(answer + body)
            await writer.drain()
            return True
        length = 0 if method == "HEAD" or status in (204, 304) else int(headers.get("content-length", 0))
        whole = length
        if fault in OF_BODY and length:
            length //= 2
        if fault == "shorter":
            answer = _for_fewer_bytes(answer, length)
        writer.write(answer)
        left = whole
        while left and (piece := await above.read(min(left, _PIECE_BYTES))):
            passed = piece[: max(0, length - (whole - left))]
            left -= len(piece)
            if passed:
                self.sent[path] += len(passed)
                writer.write(passed)
                await writer.drain()
        if fault == "stall":
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._stopped.wait()), 3600 if length < whole else 0)
        if fault == "reset_body":
            return _reset(writer)
        return fault not in ("short", "stall") and headers.get("connection", "").lower() != "close"


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


def _for_fewer_bytes(answer: bytes, length: int) -> bytes:
    """The head of an answer whose body is the first bytes alone."""

    def end(match: re.Match[bytes]) -> bytes:
        return b"%s%d/" % (match[1], int(match[2]) + length - 1)

    answer = re.sub(rb"(?i)(content-range: bytes (\d+)-)\d+/", end, answer)
    return re.sub(rb"(?i)(content-length: )\d+", rb"\g<1>%d" % length, answer)


def _answer(status: str, code: str, *, with_body: bool) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by the proxy</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return head + (body if with_body else b"")


async def _chunks(above: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await above.readline(), 16):
        body += await above.readexactly(size)
        await above.readline()
    while (await above.readline()).strip():
        pass
    return body


def _reset(writer: asyncio.StreamWriter) -> bool:
    """End a connection as a crash does: no farewell, and nothing more of what was sent."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


@contextmanager
def fault_proxy(target: S3Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


@contextmanager
def proxied(target: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that this process's clients, made from now on, talk to."""
    with fault_proxy(target) as proxy, monkeypatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", proxy.server.endpoint)
        yield proxy


def soon_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take an answer for stalled after a second; a busy machine's then may be, too."""
    monkeypatch.setenv("CATALOG_TAGGER_READ_TIMEOUT_S", "1")
