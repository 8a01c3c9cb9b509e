"""Folders and object storage behind one small interface.

A `Store` is a root (``/data/warehouse``, ``s3://bucket/prefix``) with names below it. Credentials,
region and endpoint come from the standard AWS chain and environment (``AWS_PROFILE``,
``AWS_ENDPOINT_URL``, ...), never from arguments, and appear in no message.

Failure rule: a name either holds a whole object or does not exist. Locally a write goes to a
temporary file in the same folder and is renamed; on S3 an object appears when its upload ends.
What object storage answers in a bad moment is tried again (see `catalog_tagger.retrying`). Every
refusal that stays ends as one `StorageError` that names the place and the remedy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from catalog_tagger.errors import CatalogTaggerError, StorageError, UsageError
from catalog_tagger.etags import file_etag
from catalog_tagger.retrying import ExhaustedError

if TYPE_CHECKING:
    from catalog_tagger.ranged import RangedFile
    from catalog_tagger.s3 import Answer

_TEMPORARY = ".partial-"
#: what folders that know no hard links (some mounted buckets and shares) answer
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_NO_BUCKET = "no such bucket; check its name and AWS_ENDPOINT_URL"
ACCESS_DENIED = "access denied; check the permissions and credentials in use"


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
            self.fs: Any = _s3_files() if scheme == "s3" else fsspec.filesystem(scheme)
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

        `ahead_bytes` is what is fetched from object storage at a time; by default 4 MiB.
        """
        with explained(self.uri_of(name), missing_is_error=False):
            part = {} if self.is_local or ahead_bytes is None else {"part_bytes": ahead_bytes}
            opened: Any = self.fs.open(self.path(name), "rb", **part)
            with opened as file:
                yield file

    def open_range(
        self,
        name: str,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        etag: str | None = None,
        sparse: bool = False,
    ) -> RangedFile:
        """An object of object storage, or `size_bytes` of it from `offset` on, as a file in bounded memory.

        `etag` is what the object must be; by default whatever it is when it is opened. `sparse` says that a few
        places of it are wanted.
        """
        from catalog_tagger.ranged import RangedFile

        with explained(self.uri_of(name), missing_is_error=False):
            return RangedFile(self.fs, self.path(name), offset=offset, size_bytes=size_bytes, etag=etag, sparse=sparse)

    def fetch(self, name: str, start: int, end: int | None, **options: Any) -> Future[Answer]:
        """Begin to read an object of object storage; see `catalog_tagger.s3.S3Files.fetch`."""
        fetched: Future[Answer] = self.fs.fetch(self.path(name), start, end, **options)
        return fetched

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put the object whole, replacing what had the name."""
        with explained(self.uri_of(name)):
            path = self.path(name)
            if not self.is_local:
                self.fs.pipe_file(path, bytes(data))
                return
            with _written(Path(path), data) as temporary:
                temporary.replace(path)

    def create(self, name: str, data: bytes | memoryview) -> bool:
        """Put the object whole, unless something has the name; whether this call made it.

        Of several that create the same name at once exactly one is told that it did, locally and where
        the object store honours ``If-None-Match`` (AWS does). A store that ignores it keeps the last
        writer's object and tells each that it did: read back after a while to see who that was. So does
        a folder that knows neither hard links nor locks that hold between the machines that share it.

        An upload whose answer was lost counts by what lies there afterwards, so `data` must be of this
        caller alone (hold a random number, say) where it matters which of two callers made it.
        """
        with explained(self.uri_of(name)):
            path = self.path(name)
            if not self.is_local:
                return bool(self.fs.create_file(path, bytes(data)))
            with _written(Path(path), data) as temporary:
                return _link(temporary, Path(path))

    def remove(self, name: str) -> None:
        """Remove the object; no error where there is none."""
        with explained(self.uri_of(name)), suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_below(self, name: str) -> None:
        """Remove a folder with all that is in it; no error where there is none. The root itself is refused."""
        if not name.strip("/"):
            raise ValueError("a whole store is not removed")
        with explained(self.uri_of(name)), suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)

    def sweep(self, name: str) -> None:
        """Remove from a local folder what writers that were killed left half-written; nobody may be writing there."""
        if self.is_local:
            with explained(self.uri_of(name)):
                for left in Path(self.path(name)).glob(f"{_TEMPORARY}*"):
                    left.unlink(missing_ok=True)

    def children(self, name: str) -> list[str]:
        """Names directly below a folder, sorted; empty where there is none, an error where there is no bucket."""
        with explained(self.uri_of(name)):
            try:
                found = self.fs.ls(self.path(name), detail=False)
            except FileNotFoundError as error:
                if _lacks_bucket(error):
                    raise
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
            return ObjectInfo(uri=path, size_bytes=stat.st_size, etag=file_etag(stat))
        size = int(entry.get("size") or 0)
        return ObjectInfo(uri=f"s3://{entry['name']}", size_bytes=size, etag=str(entry.get("ETag", "")).strip('"'))


def _s3_files() -> Any:
    from catalog_tagger.s3 import s3_files  # s3fs takes a third of a second that local folders do not need

    return s3_files()


@contextmanager
def _written(target: Path, data: bytes | memoryview) -> Iterator[Path]:
    """The data in a complete temporary file beside its target, which is removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, target: Path) -> bool:
    """Give a complete file its name unless that is taken; whether it has it now."""
    try:
        try:
            target.hardlink_to(temporary)  # unlike a rename it never replaces
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _rename(temporary, target)
    except FileExistsError:
        return False
    return True


def _rename(temporary: Path, target: Path) -> bool:
    """As `_link` for folders without hard links: a lock, which ends with its process, keeps renames apart."""
    lock = target.with_name(f"{_TEMPORARY}{target.name}.lock")
    while True:
        with lock.open("ab") as held:
            with suppress(OSError):  # no locks either: a store without conditions
                fcntl.flock(held, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(os.fstat(held.fileno()), lock.stat()):
                    continue  # another held it meanwhile, and took it away
            except FileNotFoundError:
                continue
            try:
                if os.path.lexists(target):
                    return False
                temporary.replace(target)
                return True
            finally:
                lock.unlink(missing_ok=True)


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
    except CatalogTaggerError:
        raise
    except FileNotFoundError as error:
        if _lacks_bucket(error):
            raise StorageError(f"{place}: {_NO_BUCKET}", systemic=True) from error
        if not missing_is_error:
            raise
        raise StorageError(f"{place}: not found; check the path, bucket and endpoint") from error
    except PermissionError as error:
        raise StorageError(f"{place}: {ACCESS_DENIED}", systemic=True) from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise StorageError(f"{place}: not a folder, or a file is in the way") from error
    except ExhaustedError as error:
        if error.fault.no_connection:
            message = f"{place}: the object store cannot be reached; check AWS_ENDPOINT_URL and the network"
        else:
            message = f"{place}: the object store {error}"
        raise StorageError(message, systemic=error.fault.no_connection, transient=True) from error
    except Exception as error:
        if _is_bad_endpoint(error):  # unseen, since what botocore says of it shows it, with what it may hold
            message = f"{place}: the endpoint is not the address of a server; check endpoint_url in the AWS settings"
            raise StorageError(message, systemic=True) from None
        found = _refusal(error)
        if found is None:
            raise
        reason, systemic = found
        raise StorageError(f"{place}: {reason}", systemic=systemic) from error


def _lacks_bucket(error: FileNotFoundError) -> bool:
    """Whether no object of this place can be there."""
    if error.__cause__ is None or not type(error.__cause__).__module__.startswith("botocore"):
        return False
    from catalog_tagger.s3 import lacks_bucket

    return lacks_bucket(error)


def _is_bad_endpoint(error: Exception) -> bool:
    """Whether botocore, which raises ValueError for it, found no use for an address."""
    if not isinstance(error, ValueError) or error.__traceback__ is None:
        return False
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "invalid" in str(error).lower() and any(name.startswith(("botocore.", "aiobotocore.")) for name in frames)


def _refusal(error: Exception) -> tuple[str, bool] | None:
    """What an error means to a user, and whether it is systemic; None for a defect of the program."""
    origins = (type(cause) for cause in (error, error.__cause__) if cause is not None)
    kind = next((kind for kind in origins if kind.__module__.startswith(("botocore", "aiobotocore", "aiohttp"))), None)
    if kind is not None:
        from catalog_tagger.s3 import refused

        return refused(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__, False
    return None
