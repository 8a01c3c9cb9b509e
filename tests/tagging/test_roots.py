"""What a manifest may name: below the roots, by whole names, whatever the uri looks like."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import BUCKET, S3Server

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging.roots import first_outside
from catalog_tagger.tagging.sources import list_tracks


def inside(uri: str, *roots: str) -> bool:
    return first_outside(pa.chunked_array([[uri]]), roots) is None


@pytest.mark.parametrize(
    ("uri", "root", "allowed"),
    [
        ("/music/a.mp3", "/music", True),
        ("/music/a/b.mp3", "/music/", True),
        ("/music/a.mp3", "file:///music", True),
        ("/music/a.mp3", "/music/../music", True),
        ("/music/a.mp3", "/", True),
        ("/musical/a.mp3", "/music", False),
        ("/music", "/music", True),
        ("/mus", "/music", False),
        ("s3://music/a.mp3", "/music", False),
        ("s3://b/music/a.mp3", "s3://b/music", True),
        ("s3://b/music/a.mp3", "s3://b/music/", True),
        ("s3://b/music/a.mp3", "s3://b", True),
        ("s3://b/musical/a.mp3", "s3://b/music", False),
        ("s3://bb/a.mp3", "s3://b", False),
        ("s3://b/music/../a.mp3", "s3://b/music", False),
        ("s3://b/music/../../c/a.mp3", "s3://b", False),
        ("s3://b/music/../music/a.mp3", "s3://b/music", True),
        ("s3://b/music/./a.mp3", "s3://b/music", True),
        ("s3://b/other/../music/a.mp3", "s3://b/music", False),
        ("/music/s.tar#../../x.mp3", "/music", True),
        ("/other/s.tar#/music/x.mp3", "/music", False),
    ],
)
def test_a_root_holds_what_lies_below_it_by_whole_names(uri: str, root: str, allowed: bool) -> None:
    assert inside(uri, root) is allowed


names = st.lists(st.sampled_from(["a", "b", "ab", ".", "..", "music"]), max_size=6).map("/".join)


@given(key=names, root=st.sampled_from(["", "/a", "/a/b", "/music"]))
def test_no_key_leaves_its_bucket_and_root_on_a_server_that_keeps_files(key: str, root: str) -> None:
    uri = f"s3://bucket{root}/{key}/x.mp3"
    depth, low = 0, 0
    for part in key.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        low = min(low, depth)
    if low == 0:
        assert inside(uri, f"s3://bucket{root}")
    elif depth < 0:
        assert not inside(uri, f"s3://bucket{root}")


def test_the_first_uri_outside_all_roots_is_found_among_many() -> None:
    uris = [f"/a/{i}.mp3" for i in range(500)] + [f"s3://b/{i}.mp3" for i in range(500)]
    assert first_outside(pa.chunked_array([uris]), ["/a", "s3://b"]) is None
    uris[700] = "/c/x.mp3"
    assert first_outside(pa.chunked_array([uris[:600], uris[600:]]), ["/a", "s3://b"]) == 700


@pytest.mark.parametrize("uri", ["/etc/passwd.mp3", "../x.mp3", "sub/../../x.mp3", "file:///etc/x.mp3", "s3://b/x.mp3"])
def test_a_manifest_that_leaves_the_roots_is_one_error_with_its_row(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    manifest = folder / "m.csv"
    manifest.write_text(f"track_id,uri\na,a.mp3\nb,sub/../b.mp3\nc,{uri}\n")
    with pytest.raises(UsageError) as caught:
        list_tracks(str(manifest), roots=[str(folder)])
    assert str(caught.value) == (
        f"{manifest}: row 3: uri '{uri}' lies outside the roots {folder}; correct it or add its root"
    )
    if not uri.startswith("s3://"):
        assert list_tracks(str(manifest), roots=["/srv", "/"]).num_rows == 3


def test_a_local_manifest_may_name_anything_where_no_roots_are_set(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("track_id,uri\na,/elsewhere/a.mp3\n")
    assert list_tracks(f"{tmp_path}/m.csv")["uri"].to_pylist() == ["/elsewhere/a.mp3"]


def test_a_folder_outside_the_roots_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.mp3", arcname="../../escape.mp3")
    assert list_tracks(str(tmp_path), roots=[str(tmp_path)]).num_rows == 2, "members' names are only names"
    with pytest.raises(UsageError, match=rf"{tmp_path}: {tmp_path}/a\.mp3 lies outside the roots /srv"):
        list_tracks(str(tmp_path), roots=["/srv"])


@pytest.mark.parametrize("uri", ["/etc/x.mp3", "file:///etc/x.mp3", "/music/s.tar#a.mp3"])
def test_a_manifest_in_a_bucket_names_no_local_path_unless_roots_allow_it(s3: S3Server, uri: str) -> None:
    place = f"s3://{BUCKET}/lists"
    Store(place).write("m.csv", f"track_id,uri\na,a.mp3\nb,{uri}\n".encode())
    with pytest.raises(UsageError) as caught:
        list_tracks(f"{place}/m.csv")
    assert str(caught.value).startswith(
        f"{place}/m.csv: row 2: uri '{uri}' is a path, and a manifest in object storage"
    )
    assert str(caught.value).endswith("set roots")
    tracks = list_tracks(f"{place}/m.csv", roots=["/etc", "/music", place])
    assert tracks["uri"].to_pylist() == [f"{place}/a.mp3", uri.removeprefix("file://")]
