"""The report as a page served on loopback, with decisions and with audio from wherever it lies.

Every address begins with a token that is made anew for each session; without it, or by another name than this machine's
own (``Host``), there is nothing. Below it:

- ``GET /<token>/``: the page;
- ``GET /<token>/audio/<number of a track>``: its audio, by ranges of bytes: a file, a tar's member, or an object. Only
  tracks of the page have one, and of those only what lies, links resolved, below the catalogue's roots;
- ``GET /<token>/decisions``: what is decided and holds, ``{"<flag>": ["<decision>", "<reviewer>"]}``: what reviewers
  said that no comparison has taken in yet, and before it what the last one kept and the flag still is about;
- ``POST /<token>/decisions``: ``{"flag": ..., "decision": "accepted" | "dismissed" | "withdrawn"}``, answered as above
  once the warehouse has it (`catalog_tagger.reconcile.reviewed`).

Failure rule: a decision that could not be kept is answered with 503 and its reason, which the page shows.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from catalog_tagger.errors import AudioError, CatalogTaggerError, StorageError
from catalog_tagger.reconcile.reviewed import WORDS, Reviewed, Session, latest, read_reviewed, taken_in
from catalog_tagger.report.collect import PLAYED, Report
from catalog_tagger.report.grams import encoded_of, tar_of
from catalog_tagger.report.page import render
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, RunManifest, committed_runs
from catalog_tagger.tagging.manifests import EXTENSIONS
from catalog_tagger.tagging.roots import normal_root

_OWN_NAMES: Final = ("127.0.0.1", "localhost")
_LONGEST_BODY: Final = 10_000
_PIECE: Final = 1 << 16
#: bytes of one answer to a request for a range: players that were paused must not hold their connections
_MOST_AT_ONCE: Final = 1 << 22
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)$")


def catalogue_roots(runs: Iterable[RunManifest]) -> tuple[str, ...]:
    """Below which the tracks of runs lie: their roots, else the source, or the folder of a manifest or pattern."""
    found: dict[str, None] = {}
    for run in runs:
        if run.kind == TAG:
            for root in run.config.get("roots") or [_folder_of(run.source)]:
                found[normal_root(root) or "/"] = None
    return tuple(found)


def _folder_of(source: str) -> str:
    """A source if it is a folder or a prefix; else the folder that its files are listed from."""
    name = source.rpartition("/")[2].lower()
    if any(sign in source for sign in "*?"):
        return re.split(r"[*?]", source, maxsplit=1)[0].rpartition("/")[0]
    is_file = name.endswith((*EXTENSIONS, ".tar"))
    return source.rpartition("/")[0] if is_file else source


def is_within(uri: str, roots: Sequence[str]) -> bool:
    """Whether a track's file, or the tar that it is a member of, lies below one of the roots."""
    place = tar_of(uri) or uri
    if "://" in place:
        parts = place.split("/")
        return ".." not in parts and any(place.startswith(f"{root}/") for root in roots if "://" in root)
    real = os.path.realpath(place)
    return any(real.startswith(os.path.realpath(root).rstrip("/") + "/") for root in roots if "://" not in root)


class ReviewServer(ThreadingHTTPServer):
    """Serves one report to whoever has its `url`."""

    daemon_threads = True

    def __init__(self, store: Store, report: Report, *, roots: Sequence[str], reviewer: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.store, self.roots = store, tuple(roots)
        self.session = Session(store, reviewer)
        self.token = secrets.token_urlsafe(18)
        self.flags = {flag["i"]: flag["x"] for flag in report.flags}
        self.audio = [(track["u"], etag) for track, etag in zip(report.tracks, report.etags, strict=True)]
        for number, track in enumerate(report.tracks):
            kind = os.path.splitext(track["u"].lower())[1]  # noqa: PTH122
            track["a"] = f"audio/{number}" if kind in PLAYED and is_within(track["u"], self.roots) else None
        self.page = render(report, review=True).encode(errors="replace")
        self.held = {flag: [decision, "an earlier run"] for flag, decision in report.decided.items()}
        self._taken = taken_in(next((run for run in reversed(committed_runs(store)) if run.kind == "reconcile"), None))
        self.decided = 0

    def said(self) -> dict[str, Reviewed]:
        """Flag of the page -> what reviewers have said of it last, that no comparison has taken in."""
        rows, _ = read_reviewed(self.store, taken=self._taken)
        return {flag: row for flag, row in latest(rows).items() if flag in self.flags}

    def decide(self, flag: str, decision: str) -> None:
        """Keep a decision, as one that comes after all that are known, whatever this machine's clock says."""
        before = self.said().get(flag)
        self.session.decide(flag, self.flags[flag], decision, after=None if before is None else before.decided_at)
        self.decided += 1

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version = "catalog_tagger"
    sys_version = ""

    def log_message(self, *_: Any) -> None:
        """Nothing: addresses hold the token."""

    def do_GET(self) -> None:
        place = self._place()
        if place == "":
            self._answer(200, self.server.page, "text/html; charset=utf-8")
        elif place == "decisions":
            self._decisions()
        elif place is not None and re.fullmatch(r"audio/\d{1,9}", place):
            self._audio(int(place.partition("/")[2]))
        else:
            self._refuse(404, "nothing here")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        size = int(length) if length.isdigit() else -1
        if not 0 <= size <= _LONGEST_BODY:
            self.close_connection = True
            self._refuse(413, "too long")
            return
        body = self.rfile.read(size)
        origin = self.headers.get("Origin")
        if self._place() != "decisions" or (origin is not None and origin != f"http://{self.headers.get('Host')}"):
            self._refuse(404, "nothing here")
            return
        try:
            asked = json.loads(body)
            flag, decision = asked["flag"], asked["decision"]
            known = flag in self.server.flags and decision in WORDS
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            self._refuse(400, f"expected a flag of this page and one of {', '.join(WORDS)}")
            return
        try:
            self.server.decide(flag, decision)
        except CatalogTaggerError as error:
            self._refuse(503, f"not kept: {error}")
            return
        self._decisions()

    def _place(self) -> str | None:
        """What follows the token; None for whoever does not know it."""
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        token, slash, place = self.path.partition("?")[0].removeprefix("/").partition("/")
        right = hmac.compare_digest(token.encode(), self.server.token.encode())
        return place if host in _OWN_NAMES and right and slash else None

    def _decisions(self) -> None:
        try:
            said = self.server.said()
        except CatalogTaggerError as error:
            self._refuse(503, str(error))
            return
        found = {**self.server.held, **{flag: [row.decision, row.reviewer] for flag, row in said.items()}}
        self._answer(200, json.dumps(found).encode(), "application/json")

    def _audio(self, number: int) -> None:
        if number >= len(self.server.audio) or not is_within(self.server.audio[number][0], self.server.roots):
            self._refuse(404, "nothing here")
            return
        uri, etag = self.server.audio[number]
        kind = PLAYED.get(os.path.splitext(uri.lower())[1], "application/octet-stream")  # noqa: PTH122
        try:
            file = encoded_of(uri, etag).open(sparse=True)
        except (AudioError, StorageError, OSError) as error:
            self._refuse(404, str(error))
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            first, last, status = 0, size - 1, 200
            asked = self.headers.get("Range")
            if asked is not None and (match := _RANGE.match(asked)) and match.group() != "bytes=-":
                begin, end = match.groups()
                first = int(begin) if begin else max(0, size - int(end))
                last = min(size - 1, int(end)) if begin and end else size - 1
                last = min(last, first + _MOST_AT_ONCE - 1)
                status = 206
                if first > last:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(last - first + 1))
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self._common_headers()
            self.end_headers()
            file.seek(first)
            left = last - first + 1
            try:
                while left > 0 and (piece := file.read(min(_PIECE, left))):
                    self.wfile.write(piece)
                    left -= len(piece)
            except (OSError, StorageError):  # the browser has gone, or the store has: either way less comes than said
                left = max(left, 1)
            if left:
                self.close_connection = True

    def _refuse(self, status: int, reason: str) -> None:
        self._answer(status, reason.encode(errors="replace"), "text/plain; charset=utf-8")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self._common_headers()
        self.end_headers()
        self.wfile.write(body)

    def _common_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
