"""Folders and object storage behind one interface: whole objects or none, and one clear error for each refusal."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from servers import BUCKET, S3Server

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import Store, explained


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def no_links(*_: object, **__: object) -> None:
    """`os.link` in a mounted bucket or share."""
    raise OSError(errno.ENOTSUP, "Operation not supported")


def files_in(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.root).iterdir())


def test_what_is_written_is_read_back_whole_and_in_parts(store: Store) -> None:
    store.write("a/b.bin", bytes(range(100)))
    assert store.read("a/b.bin") == bytes(range(100))
    assert store.read("a/b.bin", start=10, end=20) == bytes(range(10, 20))
    with store.open("a/b.bin") as file:
        file.seek(95)
        assert file.read() == bytes(range(95, 100))
    store.write("a/b.bin", memoryview(b"new"))
    assert store.read("a/b.bin") == b"new"


def test_an_interrupted_write_leaves_the_old_object_and_no_trace(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"a: No space left on device"):
        store.write("a", b"new")
    with pytest.raises(StorageError, match="No space left"):
        store.write("b", b"new")
    assert store.read("a") == b"old"
    assert files_in(store) == ["a"]


def test_a_reader_never_sees_half_an_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a", b"old")
    seen = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.append((store.read("a"), store.children(""), len(files_in(store))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    store.write("a", b"new" * 1000)
    assert seen == [(b"old", ["a"], 2)], "the temporary file is there, and no listing shows it"
    assert store.read("a") == b"new" * 1000


def test_a_name_is_created_once_and_never_replaced(store: Store) -> None:
    assert store.create("a/lease", b"mine")
    assert not store.create("a/lease", b"another's")
    assert not store.create("a/lease", b"mine"), "the same bytes of another call are not this call's"
    assert store.read("a/lease") == b"mine"
    assert files_in(Store(store.path("a"))) == ["lease"], "no temporary file is left"


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_create_one_name_one_does(store: Store, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for round_ in range(20):
        made: dict[int, bool] = {}
        start = threading.Barrier(8)

        def create(i: int, name: str, start: threading.Barrier = start, made: dict[int, bool] = made) -> None:
            start.wait()
            made[i] = store.create(name, b"%d" % i)

        threads = [threading.Thread(target=create, args=(i, f"lease-{round_}")) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [i for i, created in made.items() if created]
        assert store.read(f"lease-{round_}") == b"%d" % winner
    assert files_in(store) == sorted(f"lease-{i}" for i in range(20)), "neither temporary files nor locks are left"


def test_a_creator_that_dies_leaves_the_name_free(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a folder without hard links, wherever it dies."""
    dies = (
        "import errno, os, signal, sys; from pathlib import Path; from catalog_tagger.storage import Store\n"
        "def no_links(*_, **__): raise OSError(errno.ENOTSUP, 'Operation not supported')\n"
        "os.link, Path.replace = no_links, lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store(sys.argv[1]).create('lease', b'lost')"
    )
    assert subprocess.run([sys.executable, "-c", dies, store.root], check=False).returncode == -signal.SIGKILL
    assert not store.exists("lease")
    assert store.children("") == []
    monkeypatch.setattr(os, "link", no_links)
    assert store.create("lease", b"mine")
    assert not store.create("lease", b"another's")
    assert store.read("lease") == b"mine"


def test_what_is_created_is_never_seen_half_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.append(store.exists("a"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    assert store.create("a", b"whole")
    assert seen == [False]


def test_removing_what_is_not_there_is_no_error(store: Store) -> None:
    store.write("a", b"x")
    for _ in range(2):
        store.remove("a")
        assert not store.exists("a")


def test_listings_are_sorted_and_tell_size_and_etag(store: Store) -> None:
    for name in ("b/2", "b/1", "a", "c/d/e"):
        store.write(name, name.encode())
    assert store.children("") == ["a", "b", "c"]
    assert store.children("b") == ["1", "2"]
    assert store.children("nowhere") == []
    walked = store.walk()
    assert [info.uri.removeprefix(store.uri) for info in walked] == ["/a", "/b/1", "/b/2", "/c/d/e"]
    assert [info.size_bytes for info in walked] == [1, 3, 3, 5]
    assert store.info("a") == walked[0]


def test_the_etag_of_a_file_changes_with_size_and_with_time(store: Store) -> None:
    store.write("a", b"one")
    first = store.info("a").etag
    assert store.info("a").etag == first
    os.utime(store.path("a"), ns=(0, 1))
    touched = store.info("a").etag
    store.write("a", b"longer")
    os.utime(store.path("a"), ns=(0, 1))
    assert len({first, touched, store.info("a").etag}) == 3


def test_a_missing_object_is_file_not_found(store: Store) -> None:
    assert not store.exists("a")
    for look in (store.read, store.info):
        with pytest.raises(FileNotFoundError):
            look("a")
    with pytest.raises(FileNotFoundError), store.open("a"):
        pass


def test_a_file_in_the_way_is_named(store: Store) -> None:
    store.write("a", b"")
    with pytest.raises(StorageError, match=r"/a/b: not a folder, or a file is in the way"):
        store.write("a/b", b"")


def test_a_refused_permission_is_named() -> None:
    with pytest.raises(StorageError, match="somewhere: access denied; check the permissions"), explained("somewhere"):
        raise PermissionError(13, "Permission denied")


def test_a_defect_of_the_program_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), explained("somewhere"):
        raise ZeroDivisionError


@pytest.mark.parametrize("uri", ["http://host/a", "gs://bucket/a", "ftp://host"])
def test_an_unknown_scheme_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"unknown scheme '\w+'; use a local path or s3://bucket/prefix"):
        Store(uri)


def test_relative_paths_and_file_uris_are_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store("a").uri == Store(f"file://{tmp_path}/a").uri == Store(tmp_path / "a").uri == str(tmp_path / "a")


# --- object storage --------------------------------------------------------------------------------


def test_objects_are_written_read_and_listed(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/store")
    assert store.children("") == []
    assert not store.exists("runs/a")
    store.write("runs/a", b"0123456789")
    store.write("runs/b/c", b"")
    assert store.exists("runs/a")
    assert store.read("runs/a", start=2, end=5) == b"234"
    assert store.children("runs") == ["a", "b"]
    assert [info.uri for info in store.walk()] == [store.uri_of("runs/a"), store.uri_of("runs/b/c")]
    assert store.info("runs/a").size_bytes == 10
    assert re.fullmatch(r"[0-9a-f]{32}", store.info("runs/a").etag)
    with pytest.raises(FileNotFoundError):
        store.read("runs/nowhere")


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone ignores the condition
def test_an_object_is_created_once_and_never_replaced(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/created")
    assert store.create("lease", b"mine")
    assert not store.create("lease", b"another's")
    assert store.read("lease") == b"mine"
    store.remove("lease")
    store.remove("lease")
    assert store.create("lease", b"another's")


@pytest.mark.parametrize("s3", ["rclone"], indirect=True)
def test_a_store_that_ignores_the_condition_keeps_the_last_writers_object(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/created")
    assert store.create("lease", b"first")
    assert store.create("lease", b"second")
    assert store.read("lease") == b"second"


def test_what_another_writer_put_is_seen_at_once(s3: S3Server) -> None:
    store = Store(f"s3://{BUCKET}/shared")
    assert store.children("") == []
    s3.put("shared/new", b"x")
    assert store.children("") == ["new"]
    assert store.exists("new")


def test_a_missing_bucket_is_one_error(s3: S3Server) -> None:
    store = Store("s3://no-such-bucket/a")
    calls: list[Callable[[], object]] = [store.walk]
    calls += [partial(call, "b") for call in (store.read, store.info, store.children, store.open_range)]
    calls += [partial(call, "b", b"") for call in (store.write, store.create)]
    for call in calls:
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/a(/b)?: no such bucket; check its name") as caught:
            call()
        assert caught.value.systemic, "no object is to blame"


@pytest.mark.parametrize("s3", ["rclone"], indirect=True)  # moto checks no keys
def test_wrong_keys_are_one_error_without_the_keys(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-someone")
    store = Store(f"s3://{BUCKET}/a")
    with pytest.raises(StorageError, match="access denied; check the permissions and credentials") as caught:
        store.read("b")
    assert "wrong-secret" not in str(caught.value)
