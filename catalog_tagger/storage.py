"""Folders and object storage behind one small interface.

A `Store` is a root (``/data/warehouse``, ``s3://bucket/prefix``) with names below it. Credentials,
region and endpoint come from the standard AWS chain and environment (``AWS_PROFILE``,
``AWS_ENDPOINT_URL``, ...), never from arguments, and appear in no message.

Failure rule: a name either holds a whole object or does not exist. Locally a write goes to a
temporary file in the same folder and is renamed; on S3 an object appears when its upload ends.
Every refusal of the store ends as one `StorageError` that names the place and the remedy.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from catalog_tagger.errors import StorageError, UsageError

_TEMPORARY = ".partial-"


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One stored object as a listing tells it."""

    uri: str
    size_bytes: int
    etag: str
    """S3's ETag; for files, size and modification time in nanoseconds."""


class Store:
    """Objects below one root.

    Parameters
    ----------
    uri
        A local path or ``s3://bucket[/prefix]``.

    Raises
    ------
    UsageError
        A scheme other than a path, ``file`` or ``s3``.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        text = os.fspath(uri)
        scheme = text.split("://", 1)[0] if "://" in text else "file"
        if scheme not in ("file", "s3"):
            raise UsageError(f"{text}: unknown scheme {scheme!r}; use a local path or s3://bucket/prefix")
        with explained(text):
            # not url_to_fs: it takes "::" in a name for a chain of file systems
            self.fs = fsspec.filesystem(scheme, **_client_options(scheme))
            root = self.fs._strip_protocol(text)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.root = str(root).rstrip("/") or "/"
        self.uri = self.root if self.is_local else f"s3://{self.root}"

    def path(self, name: str) -> str:
        """The name as the file system object wants it."""
        return f"{self.root}/{name}" if name else self.root

    def uri_of(self, name: str) -> str:
        """The name as people and SQL engines write it."""
        return f"{self.uri}/{name}" if name else self.uri

    def exists(self, name: str) -> bool:
        """Whether the object or folder exists now."""
        with explained(self.uri_of(name)):
            return bool(self.fs.exists(self.path(name)))

    def read(self, name: str, *, start: int | None = None, end: int | None = None) -> bytes:
        """The object, or its bytes ``[start, end)``; FileNotFoundError where there is none."""
        with explained(self.uri_of(name), missing_is_error=False):
            return bytes(self.fs.cat_file(self.path(name), start=start, end=end))

    @contextmanager
    def open(self, name: str, *, ahead_bytes: int | None = None) -> Iterator[IO[bytes]]:
        """The object as a seekable binary file.

        `ahead_bytes` is what a small read fetches beyond itself from object storage; by default 50 MB.
        """
        options = {} if self.is_local or ahead_bytes is None else {"cache_type": "readahead", "block_size": ahead_bytes}
        path = self.path(name)
        with explained(self.uri_of(name), missing_is_error=False), self.fs.open(path, "rb", **options) as file:
            yield file

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put the object whole, replacing what had the name."""
        with explained(self.uri_of(name)):
            path = self.path(name)
            if not self.is_local:
                self.fs.pipe_file(path, bytes(data))
                return
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def children(self, name: str) -> list[str]:
        """Names directly below a folder, sorted; empty where there is none."""
        with explained(self.uri_of(name)):
            try:
                found = self.fs.ls(self.path(name), detail=False)
            except FileNotFoundError:
                return []
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(child for child in names if not child.startswith(_TEMPORARY))

    def walk(self) -> list[ObjectInfo]:
        """Every object below the root, sorted by uri; a link that leads nowhere has size 0 and no etag."""
        with explained(self.uri):
            if self.is_local:
                found = [self._info({"name": path}) for path in _local_files(self.root)]
            else:
                found = [self._info(entry) for entry in self.fs.find(self.root, detail=True).values()]
        return sorted(found, key=lambda info: info.uri)

    def info(self, name: str) -> ObjectInfo:
        """One object's size and etag; FileNotFoundError where there is none."""
        with explained(self.uri_of(name), missing_is_error=False):
            return self._info(self.fs.info(self.path(name)))

    def _info(self, entry: dict[str, Any]) -> ObjectInfo:
        if self.is_local:
            path = str(entry["name"])
            try:
                stat = Path(path).stat()  # fsspec rounds mtime to a float
            except FileNotFoundError:
                return ObjectInfo(uri=path, size_bytes=0, etag="")
            return ObjectInfo(uri=path, size_bytes=stat.st_size, etag=f"{stat.st_size:x}-{stat.st_mtime_ns:x}")
        size = int(entry.get("size") or 0)
        return ObjectInfo(uri=f"s3://{entry['name']}", size_bytes=size, etag=str(entry.get("ETag", "")).strip('"'))


def _client_options(scheme: str) -> dict[str, Any]:
    """How object storage is talked to.

    Listings are never taken from a cache: a driver that lives for days must see what changed. Checksums
    are asked for only where S3 demands them, with servers other than AWS, unless the environment says
    otherwise: some answer a ranged read with the checksum of the whole object, or refuse such uploads.
    """
    if scheme != "s3":
        return {}
    options: dict[str, Any] = {"use_listings_cache": False}
    if any(f"AWS_ENDPOINT_URL{suffix}" in os.environ for suffix in ("", "_S3")):
        names = ("request_checksum_calculation", "response_checksum_validation")
        wanted = {name: "when_required" for name in names if f"AWS_{name.upper()}" not in os.environ}
        options["config_kwargs"] = wanted
    return options


def _local_files(root: str) -> Iterator[str]:
    """Files below a folder, through links to folders too, each folder once; a refused folder is an error."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise error

    if Path(root).is_file():
        yield root
        return
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (f"{folder.rstrip('/')}/{name}" for name in files)


@contextmanager
def explained(place: str, *, missing_is_error: bool = True) -> Iterator[None]:
    """Turn what a store can refuse into one `StorageError` that names the place and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        if not missing_is_error:
            raise
        raise StorageError(f"{place}: not found; check the path, bucket and endpoint") from error
    except PermissionError as error:
        message = f"{place}: access denied; check the permissions and credentials in use"
        raise StorageError(message, systemic=True) from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise StorageError(f"{place}: not a folder, or a file is in the way") from error
    except OSError as error:
        raise StorageError(f"{place}: {error.strerror or type(error).__name__}") from error
    except Exception as error:
        found = _boto_reason(error)
        if found is None:
            raise
        reason, systemic = found
        raise StorageError(f"{place}: {reason}", systemic=systemic) from error


def _boto_reason(error: Exception) -> tuple[str, bool] | None:
    """What an AWS client error means to a user, and whether it is systemic; None for anything else."""
    kind = type(error)
    if not kind.__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
        return None
    if "Credentials" in kind.__name__ or "Token" in kind.__name__:
        return "no usable AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", True
    if "Connect" in kind.__name__ or "Endpoint" in kind.__name__:
        return "the object store cannot be reached; check AWS_ENDPOINT_URL and the network", True
    return f"the object store answered with {kind.__name__}", False
