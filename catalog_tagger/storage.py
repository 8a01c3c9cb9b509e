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
            self.fs, root = fsspec.core.url_to_fs(text, **_client_options(scheme))
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
            self.fs.invalidate_cache()
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
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(self.path(name), detail=False)
            except FileNotFoundError:
                return []
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(child for child in names if not child.startswith(_TEMPORARY))

    def walk(self, name: str = "") -> list[ObjectInfo]:
        """Every object below a folder, sorted by uri."""
        with explained(self.uri_of(name)):
            self.fs.invalidate_cache()
            found = self.fs.find(self.path(name), detail=True)
        return sorted((self._info(entry) for entry in found.values()), key=lambda info: info.uri)

    def info(self, name: str) -> ObjectInfo:
        """One object's size and etag; FileNotFoundError where there is none."""
        with explained(self.uri_of(name), missing_is_error=False):
            return self._info(self.fs.info(self.path(name)))

    def _info(self, entry: dict[str, Any]) -> ObjectInfo:
        size = int(entry.get("size") or 0)
        if self.is_local:
            stat = Path(entry["name"]).stat()  # fsspec rounds mtime to a float
            return ObjectInfo(uri=str(entry["name"]), size_bytes=size, etag=f"{stat.st_size:x}-{stat.st_mtime_ns:x}")
        return ObjectInfo(uri=f"s3://{entry['name']}", size_bytes=size, etag=str(entry.get("ETag", "")).strip('"'))


def _client_options(scheme: str) -> dict[str, Any]:
    """Checksums only where S3 demands them, with servers other than AWS, unless the environment says otherwise.

    Some of them answer a ranged read with the checksum of the whole object, or refuse such uploads.
    """
    if scheme != "s3" or not any(f"AWS_ENDPOINT_URL{suffix}" in os.environ for suffix in ("", "_S3")):
        return {}
    names = ("request_checksum_calculation", "response_checksum_validation")
    return {"config_kwargs": {name: "when_required" for name in names if f"AWS_{name.upper()}" not in os.environ}}


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
        raise StorageError(f"{place}: access denied; check the permissions and credentials in use") from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise StorageError(f"{place}: not a folder, or a file is in the way") from error
    except OSError as error:
        raise StorageError(f"{place}: {error.strerror or type(error).__name__}") from error
    except Exception as error:
        reason = _boto_reason(error)
        if reason is None:
            raise
        raise StorageError(f"{place}: {reason}") from error


def _boto_reason(error: Exception) -> str | None:
    """What an AWS client error means to a user; None for anything else."""
    kind = type(error)
    if not kind.__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
        return None
    if "Credentials" in kind.__name__ or "Token" in kind.__name__:
        return "no usable AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "Connect" in kind.__name__ or "Endpoint" in kind.__name__:
        return "the object store cannot be reached; check AWS_ENDPOINT_URL and the network"
    return f"the object store answered with {kind.__name__}"
