"""Tars as the world has them: whole, cut short, damaged, hostile; readable members are never lost with others."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import BUCKET, S3Server

from catalog_tagger.storage import ObjectInfo, Store
from catalog_tagger.tagging.sources import list_tracks
from catalog_tagger.tagging.tars import read_tar

NAMES = [f"{i}.mp3" for i in range(5)]


def tar_bytes(
    names: list[str] = NAMES, *, size: int = 700, format: int = tarfile.PAX_FORMAT, pax: dict[str, str] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = size
            info.pax_headers = pax or {}
            archive.addfile(info, io.BytesIO(bytes([65 + i]) * size))
    return buffer.getvalue()


def put(path: Path, data: bytes) -> list[dict[str, Any]]:
    path.write_bytes(data)
    rows: list[dict[str, Any]] = list_tracks(str(path)).to_pylist()
    return rows


def starts(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [member.offset for member in archive]


def test_a_whole_tar_has_no_row_of_its_own(tmp_path: Path) -> None:
    rows = put(tmp_path / "s.tar", tar_bytes())
    assert [row["track_id"] for row in rows] == [f"s.tar#{name}" for name in NAMES]
    assert all(row["fault"] is None for row in rows)


def test_a_tar_cut_within_a_member_loses_that_member_alone(tmp_path: Path) -> None:
    data = tar_bytes()
    third = starts(data)[2]
    *members, own = put(tmp_path / "s.tar", data[: third + 512 + 100])
    assert [row["track_id"] for row in members] == ["s.tar#0.mp3", "s.tar#1.mp3"]
    assert own == {
        "track_id": "s.tar",
        "uri": f"{tmp_path}/s.tar",
        "etag": Store(tmp_path).info("s.tar").etag,
        "size_bytes": 0,
        "container": None,
        "offset": None,
        "fault": f"cut short at byte {third + 612}, within the member whose header is at byte {third}",
    }


@pytest.mark.parametrize(("cut", "fault"), [(100, "damaged header at byte {}"), (512 + 700 + 1, "damaged at byte {}")])
def test_a_tar_cut_beside_a_member_keeps_what_is_there(cut: int, fault: str, tmp_path: Path) -> None:
    data = tar_bytes()
    *members, own = put(tmp_path / "s.tar", data[: starts(data)[2] + cut])
    assert len(members) == 2 + (cut > 512)
    assert own["fault"].startswith(fault.format(starts(data)[len(members)]))


@pytest.mark.parametrize("data", [b"", b"x", b"no tar " * 1000, b"\xff" * 5000, bytes(100)])
def test_bytes_that_are_no_tar_are_one_row_that_says_so(data: bytes, tmp_path: Path) -> None:
    (own,) = put(tmp_path / "s.tar", data)
    assert own["track_id"] == "s.tar"
    assert own["fault"].startswith("not a tar file: ")


@pytest.mark.parametrize("cut", [0, 100, 700, 1536, 1536 + 512 + 100, 1536 + 512 + 710, 20_000])
def test_a_tar_in_a_bucket_is_read_as_one_on_a_disk(cut: int, s3: S3Server, tmp_path: Path) -> None:
    data = tar_bytes()[:cut]
    on_disk = put(tmp_path / "s.tar", data)
    place = f"s3://{BUCKET}/{tmp_path.name}"
    Store(place).write("s.tar", data)
    in_bucket = list_tracks(f"{place}/s.tar").to_pylist()
    for name in ("track_id", "size_bytes", "offset", "fault"):
        assert [row[name] for row in in_bucket] == [row[name] for row in on_disk]


def test_damage_in_one_tar_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    for name in ("a.tar", "c.tar"):
        (tmp_path / name).write_bytes(tar_bytes(["x.mp3"]))
    (tmp_path / "b.tar").write_bytes(b"nothing")
    assert list_tracks(str(tmp_path))["track_id"].to_pylist() == ["a.tar#x.mp3", "b.tar", "c.tar#x.mp3"]


def test_names_within_a_tar_are_only_names(tmp_path: Path) -> None:
    names = ["/etc/a.mp3", "../../b.mp3", "a/../../c.mp3", "./d.mp3"]
    rows = put(tmp_path / "s.tar", tar_bytes(names))
    assert [row["track_id"] for row in rows] == [f"s.tar#{name}" for name in names]
    assert {row["container"] for row in rows} == {f"{tmp_path}/s.tar"}


def with_size(data: bytes, at: int, field: bytes) -> bytes:
    """Another size in the header at a byte, its checksum made right."""
    header = bytearray(data[at : at + 512])
    header[124:136] = field.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512 :]


@pytest.mark.parametrize(
    "field",
    [
        b"\xff" * 11 + b"\x00",  # minus 256, which would lead back to where it came from
        b"\xff" * 10 + b"\xfe\x00",  # minus 512
        b"\x80" + b"\x7f" * 11,  # more than any disk holds
        b"77777777777",
    ],
)
def test_a_size_that_cannot_be_ends_the_reading(field: bytes, tmp_path: Path) -> None:
    data = tar_bytes(format=tarfile.USTAR_FORMAT)
    at = starts(data)[2]
    *members, own = put(tmp_path / "s.tar", with_size(data, at, field))
    assert [row["track_id"] for row in members] == ["s.tar#0.mp3", "s.tar#1.mp3"]
    assert f"at byte {at}" in own["fault"]


@pytest.mark.parametrize("size", ["-512", "-1024", "99999999999999999999"])
def test_a_size_in_an_extended_header_is_not_believed_either(size: str, tmp_path: Path) -> None:
    data = tar_bytes(["0.mp3"]) + b""
    bad = tar_bytes(["1.mp3"], pax={"size": size})
    *members, own = put(tmp_path / "s.tar", data[: 512 + 1024] + bad)
    assert [row["track_id"] for row in members] == ["s.tar#0.mp3"]
    assert "byte" in own["fault"]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_gigabytes_is_not_read(kind: bytes, tmp_path: Path) -> None:
    data = tar_bytes(["0.mp3"], format=tarfile.USTAR_FORMAT)[: 512 + 1024]
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 2**33
    path = tmp_path / "s.tar"
    path.write_bytes(data + header.tobuf(tarfile.GNU_FORMAT))
    with path.open("r+b") as file:
        file.truncate(2**33 + 10**6)  # the disk holds a hole
    *members, own = list_tracks(str(path)).to_pylist()
    assert [row["track_id"] for row in members] == ["s.tar#0.mp3"]
    assert own["fault"] == f"damaged at byte {len(data)}: a header claims {2**33} bytes"


def test_headers_that_follow_each_other_without_end_are_damage(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    block = header.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    (own,) = put(tmp_path / "s.tar", block * 5000)
    assert own["fault"].startswith("not a tar file")


@given(at=st.integers(0, 5 * 1536 - 1), value=st.integers(0, 255), cut=st.integers(0, 20_000))
@settings(deadline=None, max_examples=300)
def test_whatever_happens_to_a_tar_what_is_listed_lies_within_it(
    at: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(tar_bytes())
    data[at] = value
    folder = tmp_path_factory.mktemp("t")
    (folder / "s.tar").write_bytes(data[:cut])
    found = read_tar(Store(folder).info("s.tar"))
    rows = found.members.to_pylist()
    assert all(row["offset"] > 0 and row["offset"] + row["size_bytes"] <= cut for row in rows)
    intact = cut >= len(data) and bytes(data) == tar_bytes()
    assert not intact or (len(rows), found.fault) == (5, None)
    (folder / "s.tar").unlink()


# --- tars that a manifest names --------------------------------------------------------------------


def manifest(folder: Path, **uris: str) -> list[dict[str, Any]]:
    path = folder / "m.csv"
    path.write_text("track_id,uri\n" + "".join(f"{name},{uri}\n" for name, uri in uris.items()))
    rows: list[dict[str, Any]] = list_tracks(str(path)).to_pylist()
    return rows


def test_a_row_that_names_a_tar_stands_for_its_members(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar_bytes(["a.mp3", "b.mp3"]))
    rows = manifest(tmp_path, album="s.tar", other="x.mp3")
    assert [(row["track_id"], row["uri"]) for row in rows] == [
        ("other", f"{tmp_path}/x.mp3"),
        ("album#a.mp3", f"{tmp_path}/s.tar#a.mp3"),
        ("album#b.mp3", f"{tmp_path}/s.tar#b.mp3"),
    ]
    assert rows[1]["container"] == f"{tmp_path}/s.tar"


def test_a_row_that_names_a_damaged_tar_carries_its_fault(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar_bytes()[:2000])
    rows = manifest(tmp_path, album="s.tar", gone="missing.tar")
    assert [(row["track_id"], row["fault"] is None) for row in rows] == [
        ("album#0.mp3", True),
        ("album", False),
        ("gone", True),
    ]


def test_a_member_lost_in_a_damaged_tar_says_so_and_a_readable_one_is_a_track(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar_bytes()[:2000])
    (tmp_path / "w.tar").write_bytes(tar_bytes())
    rows = manifest(tmp_path, a="s.tar#0.mp3", b="s.tar#4.mp3", c="w.tar#none.mp3", d="missing.tar#0.mp3")
    assert [(row["track_id"], row["offset"], row["fault"]) for row in rows] == [
        ("a", 512, None),
        ("b", None, "damaged tar: damaged header at byte 1536"),
        ("c", None, None),
        ("d", None, None),
    ]


def test_an_etag_follows_the_tar(tmp_path: Path) -> None:
    info = ObjectInfo(uri=str(tmp_path / "s.tar"), size_bytes=len(tar_bytes()), etag="abc")
    (tmp_path / "s.tar").write_bytes(tar_bytes())
    first = read_tar(info).members["etag"][0].as_py()
    assert first == f"abc:{512:x}+{700:x}"
