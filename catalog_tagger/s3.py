"""s3fs with one retry policy of its own, and with reads that check what they got.

Every request (an object's bytes, its head, a page of a listing, an upload, a removal) goes through
`RetryPolicy`; botocore and s3fs, which would each try again by themselves, try once. An attempt at
reading bytes ends with the last byte of its body, not with its headers: a body that stalls, breaks
off or is shorter than was asked for is taken up again at the byte where it ended, if the object is
still the same.

Faults that may pass: no connection, a broken one, no byte for the read timeout, a body that is not
whole, HTTP 408, 429, 500, 502, 503, 504, and S3's codes for throttling and conflicts. Everything
else is s3fs's exception: ``FileNotFoundError``, ``PermissionError``, ``OSError``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import botocore.exceptions as boto
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.etags import CHANGED
from catalog_tagger.retrying import Fault, RetryPolicy, read_timeout_s
from catalog_tagger.storage import ACCESS_DENIED

#: HTTP statuses and codes of S3 that may pass
_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_CODES: Final = frozenset(
    {
        *("InternalError", "InternalServerError", "ServiceUnavailable", "IncompleteBody", "XAmzContentSHA256Mismatch"),
        *("SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded"),
        *("TooManyRequests", "BandwidthLimitExceeded", "RequestTimeout"),
        *("OperationAborted", "ConditionalRequestConflict"),
    }
)
_NO_CONNECTION: Final = (
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
    aiohttp.ClientConnectorError,
    ConnectionRefusedError,
    socket.gaierror,
)


class _UnsoundAnswerError(Exception):
    """An answer that looks complete and is not what was asked for."""


#: kinds of errors -> what was met; the first that fits
_KINDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((boto.ReadTimeoutError, asyncio.TimeoutError, TimeoutError), "an answer that stalled"),
    ((boto.HTTPClientError, boto.ConnectionError, aiohttp.ClientError, ConnectionError), "a broken connection"),
    ((boto.IncompleteReadError, boto.ResponseStreamingError), "an answer that broke off"),
    ((boto.FlexibleChecksumError,), "an answer that fails its checksum"),
    ((_UnsoundAnswerError,), "an answer that is not what was asked for"),
    ((ResponseParserError,), "an answer that is not S3's"),
)
_BAD_TOKENS: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_CONNECT_TIMEOUT_S: Final = 10
_CONNECTIONS: Final = 32
#: of a body at a time: all that aiohttp has, usually less
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Bytes of an object, and what they are bytes of."""

    data: bytes | bytearray | None
    """None where the object is larger than the caller wants at once."""
    etag: str
    size_bytes: int
    """Of the whole object; 0 where the bytes asked for begin beyond its end."""


class S3Files(S3FileSystem):  # type: ignore[misc]
    """The file system that `Store` uses for ``s3://``.

    Listings are never taken from a cache: a driver that lives for days must see what changed. Checksums
    are asked for only where S3 demands them, with servers other than AWS, unless the environment says
    otherwise: some answer a ranged read with the checksum of the whole object, or refuse such uploads.

    Parameters
    ----------
    environment
        Tells clients made under different AWS settings apart; see `s3_files`.

    Raises
    ------
    UsageError
        An endpoint or a bound in the environment is not usable; an endpoint is not shown, since it may hold
        a password.
    """

    retries = 1  # s3fs's own loop

    def __init__(self, *, environment: str = "", **options: Any) -> None:
        config: dict[str, Any] = {
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": read_timeout_s(),
            "max_pool_connections": _CONNECTIONS,
        }
        if any([_has_endpoint(variable) for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")]):
            names = ("request_checksum_calculation", "response_checksum_validation")
            config |= {name: "when_required" for name in names if f"AWS_{name.upper()}" not in os.environ}
        super().__init__(use_listings_cache=False, config_kwargs=config, **options)
        self.environment = environment
        self.policy = RetryPolicy.from_environment()

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        call = super()._call_s3
        if method == "get_object":  # an attempt ends with its body: `_fetch` tries again
            return await call(method, *arguments, **options)
        return await self.policy.retry(lambda: call(method, *arguments, **options), fault_of=fault_of)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        if (start or 0) < 0 or (end or 0) < 0:
            size = (await self._info(path))["size"]
            start, end = (None if at is None else max(0, at + size) if at < 0 else at for at in (start, end))
        return bytes((await self._fetch(path, start or 0, end)).data or b"")

    async def _create_file(self, path: str, data: bytes) -> bool:
        """Put an object unless there is one; whether it is there now by these bytes."""
        call = super()._call_s3
        bucket, key, _ = self.split_path(path)

        async def attempt() -> bool:
            try:
                await call("put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            except OSError as error:
                if "PreconditionFailed" not in _codes(error) and 412 not in _statuses(error):
                    raise
                # an upload whose answer was lost may have made it: aiohttp, too, sends one again unseen
                try:
                    return (await self._fetch(path, 0, None, most_bytes=len(data))).data == data
                except FileNotFoundError:
                    raise _UnsoundAnswerError from error
            return True

        return await self.policy.retry(attempt, fault_of=fault_of)

    create_file = sync_wrapper(_create_file)

    async def _fetch(
        self,
        path: str,
        start: int,
        end: int | None,
        *,
        etag: str | None = None,
        most_bytes: int | None = None,
        limit: AbstractAsyncContextManager[Any] | None = None,
    ) -> Answer:
        if end is not None and end <= start:
            return Answer(data=b"", etag=etag or "", size_bytes=0)
        reading = _Reading(start=start, end=end, etag=etag)
        bucket, key, _ = self.split_path(path)
        call = super()._call_s3

        async def attempt() -> Answer:
            condition = {"IfMatch": f'"{reading.etag}"'} if reading.etag else {}
            try:
                found = await call("get_object", Bucket=bucket, Key=key, Range=reading.range, **condition)
            except OSError as error:
                codes, statuses = _codes(error), _statuses(error)
                if reading.etag and (codes & {"PreconditionFailed", "InvalidRange"} or statuses & {412, 416}):
                    raise _Changed from error
                if codes & {"InvalidRange", "RequestedRangeNotSatisfiable"} or 416 in statuses:
                    return Answer(data=b"", etag="", size_bytes=0)  # an empty object has no first byte
                raise
            body = found["Body"]
            try:
                left = reading.accept(found)
                if most_bytes is not None and left > most_bytes:
                    return reading.answer(data=None)
                while left > 0 and (piece := await body.read(_PIECE_BYTES)):
                    reading.add(piece[:left], left)
                    left -= min(left, len(piece))
            finally:
                body.close()
            if left:
                raise _UnsoundAnswerError
            return reading.answer(data=reading.data)

        async def attempt_at_one_object() -> Answer:
            try:
                return await attempt()
            except _Changed:
                if etag is not None:
                    raise StorageError(f"s3://{path}: {CHANGED}") from None
                reading.restart()
                raise _UnsoundAnswerError from None

        async with limit or nullcontext():
            return await self.policy.retry(attempt_at_one_object, fault_of=fault_of)

    def fetch(self, path: str, start: int, end: int | None, **options: Any) -> Future[Answer]:
        """Begin to read bytes ``[start, end)`` of an object; what it can raise, `explained` explains.

        Parameters
        ----------
        end
            None: to the end of the object.
        etag
            What the object must still be; by default whatever it is.
        most_bytes
            Bytes from `start` to `end` that are more are not read; by default all are.
        limit
            To be held while bytes come, such as a semaphore.
        """
        return asyncio.run_coroutine_threadsafe(self._fetch(path, start, end, **options), self.loop)

    def _open(self, path: str, mode: str = "rb", part_bytes: int | None = None, **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        from catalog_tagger.ranged import PART_BYTES, RangedFile

        return RangedFile(self, path, part_bytes=part_bytes or PART_BYTES)


def s3_files() -> S3Files:
    """This process's client; one for each state of the environment, since a client keeps what it was made in."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(os.environ):
        if key.startswith(("AWS_", "CATALOG_TAGGER_")):
            digest.update(f"{key}={os.environ[key]}\n".encode(errors="surrogateescape"))
    return S3Files(environment=digest.hexdigest())


def _has_endpoint(variable: str) -> bool:
    """Whether a variable of the environment sets an endpoint; a `UsageError` where it is none."""
    if variable not in os.environ:
        return False
    try:
        url = urlsplit(os.environ[variable])
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        usable = False
    if not usable and os.environ[variable]:
        raise UsageError(f"{variable}: not the address of a server; use http://host:port or https://host") from None
    return True


class _Changed(Exception):
    """The object is not the one that was begun."""


@dataclass(kw_only=True)
class _Reading:
    """How far a read over several attempts has come."""

    start: int
    end: int | None
    etag: str | None
    total: int = 0
    data: bytearray = field(default_factory=bytearray)
    done: int = 0

    @property
    def range(self) -> str:
        """The ``Range`` header for what is still missing."""
        return f"bytes={self.start + self.done}-{'' if self.end is None else self.end - 1}"

    def accept(self, found: dict[str, Any]) -> int:
        """Check the headers of an answer; the bytes that its body must hold."""
        etag = str(found.get("ETag", "")).strip('"')
        if self.etag and etag != self.etag:
            raise _Changed
        at, length = self.start + self.done, found.get("ContentLength")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", found.get("ContentRange") or "")
        if length is None or (match is None and at):
            raise _UnsoundAnswerError
        first, total = (int(match[1]), int(match[2])) if match else (0, int(length))
        left = (total if self.end is None else min(self.end, total)) - at
        if first != at or (match is not None and length != left):
            raise _UnsoundAnswerError
        self.etag, self.total = etag, total
        return left

    def add(self, piece: bytes, left: int) -> None:
        """Keep bytes of a body that still had so many to come."""
        if not self.data:
            self.data = bytearray(self.done + left)
        self.data[self.done : self.done + len(piece)] = piece
        self.done += len(piece)

    def restart(self) -> None:
        """Forget what was read."""
        self.data, self.done, self.etag = bytearray(), 0, None

    def answer(self, *, data: bytearray | None) -> Answer:
        """What was read of the object."""
        return Answer(data=data, etag=self.etag or "", size_bytes=self.total)


def fault_of(error: BaseException) -> Fault | None:
    """What a failed request met if it may pass; None otherwise."""
    found = client_error(error)
    if found is not None:
        passes = _codes(found) & _CODES or _statuses(found) & _STATUSES
        return Fault(reason=answered(found)) if passes else None
    for cause in _causes(error):
        # aiobotocore calls it so, too, when a connection that was there is reset
        origin = cause.kwargs.get("error") if isinstance(cause, boto.EndpointConnectionError) else cause
        if isinstance(origin, _NO_CONNECTION):
            return Fault(reason="no connection", no_connection=True)
        for kinds, reason in _KINDS:
            if isinstance(cause, kinds):
                return Fault(reason=reason)
    return None


def answered(error: boto.ClientError) -> str:
    """An error of the server by its status and code alone: messages may repeat the request."""
    words = [str(status) for status in _statuses(error)] + [code for code in _codes(error) if not code.isdecimal()]
    return " ".join(words) or "an error"


def refused(error: Exception) -> tuple[str, bool]:
    """What an error that no further attempt can mend means to a user, and whether no object is to blame."""
    found = client_error(error)
    if found is not None:
        if _statuses(found) & {401, 403} or _codes(found) & _BAD_TOKENS:
            return ACCESS_DENIED, True
        return f"the object store answered {answered(found)}", False
    kind = type(error).__name__
    if any(word in kind for word in ("Credential", "Token", "Profile", "SSO")):
        return "no usable AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", True
    return f"the object store cannot be used: {kind}", False


def lacks_bucket(error: BaseException) -> bool:
    """Whether an object is missing because its bucket is."""
    return "NoSuchBucket" in _codes(error)


def client_error(error: BaseException) -> boto.ClientError | None:
    """The server's error among the causes of an exception."""
    return next((cause for cause in _causes(error) if isinstance(cause, boto.ClientError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _codes(error: BaseException) -> set[str]:
    found = client_error(error)
    code = str(found.response.get("Error", {}).get("Code", "")) if found else ""
    return {code} if re.fullmatch(r"[A-Za-z0-9]{1,64}", code) else set()


def _statuses(error: BaseException) -> set[int]:
    found = client_error(error)
    status = found.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if found else None
    return set() if status is None else {int(status)}
