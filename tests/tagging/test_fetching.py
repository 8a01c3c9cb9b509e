"""From where a track lies to where it is decoded: what is read, by whom, and what is never read."""

import asyncio
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import BUCKET, S3Server

from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging import fetching
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import fetch_all
from catalog_tagger.tagging.sources import list_tracks


def track(uri: str, **columns: object) -> dict[str, Any]:
    known = {"track_id": uri, "uri": uri, "etag": None, "size_bytes": 1, "container": None, "offset": None}
    return {**known, "fault": None, **columns}


def fetch(row: dict[str, Any], **options: Any) -> Encoded | AudioError:
    ((_, found),) = fetch_all([row], **options)
    return found


def bytes_of(found: Encoded | AudioError) -> bytes:
    assert isinstance(found, Encoded), found
    with found.open() as file:
        return file.read()


def code_of(found: Encoded | AudioError) -> str:
    assert isinstance(found, AudioError)
    return found.code


def put_tar(server: S3Server, name: str, sizes: dict[str, int]) -> dict[str, bytes]:
    """A tar of members of random bytes."""
    archive, members = tar_of(sizes)
    server.put(name, archive)
    return members


def tar_of(sizes: dict[str, int]) -> tuple[bytes, dict[str, bytes]]:
    archive, members = io.BytesIO(), {}
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for member, size in sizes.items():
            members[member] = os.urandom(size)
            header = tarfile.TarInfo(member)
            header.size = size
            tar.addfile(header, io.BytesIO(members[member]))
    return archive.getvalue(), members


# --- local files -----------------------------------------------------------------------------------


def test_local_files_are_left_to_the_decoders(tmp_path: Path) -> None:
    assert fetch(track("/a.mp3")) == Encoded(path="/a.mp3")
    member = track("/a.tar#b.mp3", container="/a.tar", offset=512, size_bytes=99)
    assert fetch(member) == Encoded(path="/a.tar", offset=512, size_bytes=99)
    listed = member | {"etag": "tar's:200+63"}
    assert fetch(listed) == Encoded(path="/a.tar", offset=512, size_bytes=99, etag="tar's")
    assert fetch(member | {"etag": "a manifest's own"}) == fetch(member)


def test_a_tar_member_that_does_not_exist_is_its_tracks_error() -> None:
    assert code_of(fetch(track("/a.tar#b.mp3", container="/a.tar"))) == "not_found"


def test_a_local_tar_that_was_replaced_after_it_was_listed_is_not_cut_at_its_old_places(tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    archive, members = tar_of({"a.mp3": 1_000, "b.mp3": 1_000})
    tar.write_bytes(archive)
    rows = list_tracks(str(tmp_path)).to_pylist()
    assert [bytes_of(found) for _, found in fetch_all(rows)] == list(members.values())
    (tmp_path / "new").write_bytes(tar_of({"b.mp3": 1_000, "a.mp3": 1_000})[0])
    os.utime(tmp_path / "new", ns=(0, tar.stat().st_mtime_ns + 1))
    (tmp_path / "new").replace(tar)
    for _, found in fetch_all(rows):
        assert isinstance(found, Encoded)
        with pytest.raises(AudioError, match=r"the tar changed since it was listed .*; run the job again") as caught:
            found.open()
        assert caught.value.code == "unreadable"


def test_a_damaged_tar_is_quarantined_without_being_opened() -> None:
    error = fetch(track("s3://no-such-bucket/a.tar", container="s3://no-such-bucket/a.tar", fault="ends at byte 7"))
    assert (code_of(error), str(error)) == ("damaged_tar", "ends at byte 7")


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 5), st.integers(1, 100))
def test_everything_fetched_comes_out_once_and_in_order(sizes: list[int], requests: int, ahead: int) -> None:
    rows = [track(f"/{i}.mp3", size_bytes=size) for i, size in enumerate(sizes)]
    found = list(fetch_all(rows, requests=requests, ahead_bytes=ahead))
    assert [row for row, _ in found] == rows
    assert [encoded.path for _, encoded in found] == [row["uri"] for row in rows]  # type: ignore[union-attr]


def test_a_link_out_of_the_roots_is_not_followed(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.mp3"
    root.mkdir()
    secret.write_bytes(b"not for you")
    (root / "good.mp3").write_bytes(b"good")
    (root / "inner.mp3").symlink_to("good.mp3")
    (root / "outer.mp3").symlink_to(secret)
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "a.mp3").write_bytes(b"a neighbour whose name begins alike")
    (tmp_path / "way").symlink_to(root)  # the root itself may be reached through a link
    roots = (str(tmp_path / "way"),)
    for name in ("good.mp3", "inner.mp3"):
        assert bytes_of(fetch(track(f"{tmp_path}/way/{name}"), roots=roots)) == b"good"
    for place in (root / "outer.mp3", root / "folder" / "secret.mp3", tmp_path / "root-2" / "a.mp3"):
        error = fetch(track(str(place)), roots=roots)
        assert code_of(error) == "outside_roots"
        assert str(tmp_path) not in str(error)
    member = track("x", container=str(root / "outer.mp3"), offset=0, size_bytes=3)
    assert code_of(fetch(member, roots=roots)) == "outside_roots"
    assert code_of(fetch(track("s3://bucket/a.mp3"), roots=roots)) == "outside_roots"
    assert code_of(fetch(track("s3://bucket/audio-2/a.mp3"), roots=("s3://bucket/audio",))) == "outside_roots"
    assert fetch(track(str(root / "outer.mp3"))) == Encoded(path=str(root / "outer.mp3")), "no roots: anywhere"


# --- object storage --------------------------------------------------------------------------------


def test_small_objects_come_as_bytes_and_missing_ones_as_errors(s3: S3Server) -> None:
    data = {f"small/{i}.mp3": os.urandom(100 * i) for i in range(40)}
    s3.put_all(data)
    rows = [
        track(f"s3://{BUCKET}/{name}", size_bytes=None if i % 3 == 0 else len(content))
        for i, (name, content) in enumerate(data.items())
    ]
    rows.insert(7, track(f"s3://{BUCKET}/small/gone.mp3", size_bytes=7))
    found = list(fetch_all(rows, requests=3, ahead_bytes=2000))
    assert [row["uri"] for row, _ in found] == [row["uri"] for row in rows]
    error = found.pop(7)[1]
    assert (code_of(error), str(error)) == ("not_found", "no such object")
    for (_, encoded), content in zip(found, data.values(), strict=True):
        assert isinstance(encoded, Encoded)
        assert encoded.data is not None
        assert bytes_of(encoded) == content


@pytest.mark.parametrize("planned", ["size", "no size", "an old size"])
def test_a_large_object_is_left_to_its_decoder(s3: S3Server, planned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WHOLE_BYTES", 50_000)
    data = os.urandom(120_000)
    uri = s3.put("large/a.flac", data)
    size = {"size": len(data), "no size": None, "an old size": 40_000}[planned]
    encoded = fetch(track(uri, size_bytes=size))
    assert isinstance(encoded, Encoded)
    assert (encoded.data, encoded.uri) == (None, uri)
    assert bytes_of(pickle.loads(pickle.dumps(encoded))) == data


def test_members_come_out_of_one_pass_over_their_tar(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PART_BYTES", 10_000)
    monkeypatch.setattr(fetching, "_GAP_BYTES", 3_000)
    monkeypatch.setattr(fetching, "WHOLE_BYTES", 40_000)
    sizes = {"a.mp3": 5, "b.mp3": 9_000, "skipped.txt": 2_000, "c.mp3": 35_000, "empty.mp3": 0, "far.json": 90_000}
    members = put_tar(s3, "tar/x.tar", {**sizes, "d.mp3": 700, "large.mp3": 60_000, "e.mp3": 10_000})
    members |= put_tar(s3, "tar/y.tar", {"f.mp3": 12_345})
    rows = list_tracks(f"s3://{BUCKET}/tar").to_pylist()
    assert len(rows) == 8
    doubled = [row for row in rows for _ in range(1 if "c.mp3" in row["uri"] else 2)]  # two tracks of one member
    for ahead in (1, 25_000, 10**9):
        found = list(fetch_all(doubled, ahead_bytes=ahead))
        assert [row for row, _ in found] == doubled
        for row, encoded in found:
            name = row["uri"].partition("#")[2]
            if name == "empty.mp3":
                assert code_of(encoded) == "empty"
            else:
                assert bytes_of(encoded) == members[name]
                assert (encoded.uri is not None) == (name == "large.mp3")  # type: ignore[union-attr]


def test_rows_out_of_order_are_fetched_all_the_same(s3: S3Server) -> None:
    members = put_tar(s3, "order/x.tar", {f"{i}.mp3": 1_000 + i for i in range(6)})
    rows = list_tracks(f"s3://{BUCKET}/order").to_pylist()
    rows.insert(2, track(s3.put("order/between.mp3", b"between"), size_bytes=7))
    rows.reverse()
    for row, encoded in fetch_all(rows):
        assert bytes_of(encoded) == members.get(row["uri"].partition("#")[2], b"between")


def test_an_object_much_larger_than_its_manifest_says_is_left_to_its_decoder(s3: S3Server) -> None:
    grown, wrong = os.urandom(1_000), os.urandom(2**20 + 1)
    uris = s3.put_all({"sizes/grown.mp3": grown, "sizes/wrong.mp3": wrong})
    first, second = (found for _, found in fetch_all([track(uri, size_bytes=1) for uri in uris]))
    assert (bytes_of(first), bytes_of(second)) == (grown, wrong)
    assert isinstance(first, Encoded)
    assert isinstance(second, Encoded)
    assert first.data is not None
    assert (second.data, second.uri) == (None, uris[1]), "not held beyond what it was counted for"


def test_sizes_that_a_manifest_understates_do_not_widen_what_is_held(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = s3.put_all({f"understated/{i:02d}.mp3": bytes(900_000) for i in range(12)})
    begun, real = [], fetching._Read.begin

    def begin(read: fetching._Read, limit: asyncio.Semaphore) -> None:
        begun.append(read.uri)
        real(read, limit)

    monkeypatch.setattr(fetching._Read, "begin", begin)
    fetched = fetch_all([track(uri, size_bytes=1) for uri in uris], ahead_bytes=4 * 2**20)
    next(fetched)
    assert begun == uris[:4]
    assert len(list(fetched)) == 11


@pytest.mark.parametrize("size", [10, 2 * fetching.WHOLE_BYTES])
def test_a_missing_bucket_is_no_tracks_error(s3: S3Server, size: int) -> None:
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/a\.mp3: no such bucket") as caught:
        bytes_of(fetch(track("s3://no-such-bucket/a.mp3", size_bytes=size)))
    assert caught.value.systemic


def test_a_missing_tar_is_an_error_of_each_of_its_tracks(s3: S3Server) -> None:
    put_tar(s3, "gone/x.tar", {"a.mp3": 10, "b.mp3": 20})
    rows = list_tracks(f"s3://{BUCKET}/gone").to_pylist()
    Store(f"s3://{BUCKET}/gone").remove("x.tar")
    assert [code_of(found) for _, found in fetch_all(rows)] == ["not_found"] * 2


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone keeps the ETag of an object overwritten at once
def test_a_tar_that_was_replaced_after_it_was_listed_is_not_cut_at_its_old_places(s3: S3Server) -> None:
    put_tar(s3, "new/x.tar", {"a.mp3": 1_000, "b.mp3": 2_000})
    rows = list_tracks(f"s3://{BUCKET}/new").to_pylist()
    put_tar(s3, "new/x.tar", {"b.mp3": 1_500, "a.mp3": 1_500})
    for _, error in fetch_all(rows):
        assert code_of(error) == "unreadable"
        assert "changed" in str(error)


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # as above
def test_no_more_is_a_large_member_of_it(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WHOLE_BYTES", 500)
    members = put_tar(s3, "large-new/x.tar", {"a.mp3": 1_000, "b.mp3": 1_000})
    rows = list_tracks(f"s3://{BUCKET}/large-new").to_pylist()
    assert [bytes_of(found) for _, found in fetch_all(rows)] == list(members.values())
    put_tar(s3, "large-new/x.tar", {"b.mp3": 1_000, "a.mp3": 1_000})
    for _, found in fetch_all(rows):
        assert isinstance(found, Encoded)
        with pytest.raises(AudioError, match=r"^changed since it was listed .*; run the job again") as caught:
            found.open()
        assert caught.value.code == "unreadable"


def test_a_tar_that_is_shorter_than_was_listed_gives_what_there_is(s3: S3Server) -> None:
    uri = s3.put("short.tar", bytes(range(100)))
    rows = [track(f"{uri}#a", container=uri, offset=90, size_bytes=50)]
    rows.append(track(f"{uri}#b", container=uri, offset=2_000_000, size_bytes=50))
    assert [bytes_of(found) for _, found in fetch_all(rows)] == [bytes(range(90, 100)), b""]


def test_what_comes_is_an_array_of_bytes(s3: S3Server) -> None:
    encoded = fetch(track(s3.put("array.mp3", b"\x00\xff"), size_bytes=2))
    assert isinstance(encoded, Encoded)
    np.testing.assert_array_equal(encoded.data, np.array([0, 255], np.uint8))  # type: ignore[arg-type]
