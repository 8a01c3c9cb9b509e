"""Folders, tar files and manifests to the same table of tracks."""

import io
import os
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog_tagger.errors import CatalogTaggerError, UsageError
from catalog_tagger.tagging.sources import list_tracks
from catalog_tagger.tagging.track_list import AUDIO_EXTENSIONS, TRACK_LIST


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return folder


def put_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def put_csv(path: Path, **columns: list[object]) -> str:
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


def ids(source: Path | str) -> list[str]:
    found: list[str] = list_tracks(str(source))["track_id"].to_pylist()
    return found


# --- folders ---------------------------------------------------------------------------------------


def test_every_audio_file_below_a_folder_is_a_track(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3", "b/c.flac", "b/d/e.M4A", "UPPER.WAV", "cover.jpg", "notes.txt", "noext", "mp3", ".mp3x")
    tracks = list_tracks(str(tmp_path))
    assert tracks.schema.equals(TRACK_LIST)
    assert sorted(tracks["track_id"].to_pylist()) == ["UPPER.WAV", "a.mp3", "b/c.flac", "b/d/e.M4A"]
    for row in tracks.to_pylist():
        assert row["uri"] == f"{tmp_path}/{row['track_id']}"
        assert row["size_bytes"] == len(row["track_id"])
        assert row["etag"]
        assert row["container"] is None


@pytest.mark.parametrize("extension", sorted(AUDIO_EXTENSIONS))
def test_every_known_extension_is_found(extension: str, tmp_path: Path) -> None:
    assert ids(put(tmp_path, f"a.{extension}")) == [f"a.{extension}"]


def test_odd_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["a b.mp3", "a,b.mp3", "Ünï/çø∂é.mp3", "it's.mp3", "#1 [live]*.mp3", "100%.mp3", "a..mp3", "日本.mp3"]
    assert sorted(ids(put(tmp_path, *names))) == sorted(names)


def test_the_name_of_a_relative_folder_does_not_enter_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "music/a.mp3")
    monkeypatch.chdir(tmp_path)
    for source in ("music", "./music", "music/", str(tmp_path / "music"), f"file://{tmp_path}/music"):
        tracks = list_tracks(source).to_pylist()
        assert [(row["track_id"], row["uri"]) for row in tracks] == [("a.mp3", f"{tmp_path}/music/a.mp3")]


def test_the_etag_follows_the_content(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3", "b.mp3")
    before = dict(zip(*list_tracks(str(tmp_path)).select(["track_id", "etag"]).to_pydict().values(), strict=True))
    (tmp_path / "a.mp3").write_bytes(b"other")
    after = dict(zip(*list_tracks(str(tmp_path)).select(["track_id", "etag"]).to_pydict().values(), strict=True))
    assert before["a.mp3"] != after["a.mp3"]
    assert before["b.mp3"] == after["b.mp3"]


@pytest.mark.parametrize(
    ("prepare", "source", "message"),
    [
        (lambda folder: None, "nowhere", "nowhere: no such file or folder"),
        (lambda folder: put(folder, "only.txt"), "", "no tracks found; audio files end in aac, aif"),
        (lambda folder: put(folder, "one.mp3"), "one.mp3", "a single file; SOURCE is a folder"),
        (lambda folder: None, "none.tar", "not found"),
        (lambda folder: None, "none-*.tar", "no tracks found"),
        (lambda folder: None, "none.csv", "none.csv: no such manifest"),
        (lambda folder: None, "none/none.parquet", "no such manifest"),
    ],
)
def test_a_source_that_is_not_there_is_one_error(prepare: object, source: str, message: str, tmp_path: Path) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(CatalogTaggerError, match=message) as caught:
        list_tracks(f"{tmp_path}/{source}".rstrip("/"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


# --- tar files -------------------------------------------------------------------------------------


def test_members_with_audio_extensions_are_tracks_and_their_siblings_are_not(tmp_path: Path) -> None:
    tar = put_tar(
        tmp_path / "s.tar",
        [("000.mp3", b"abc"), ("000.json", b"{}"), ("sub/001.FLAC", b"defgh"), ("001.txt", b"t"), ("002.cls", b"1")],
    )
    tracks = list_tracks(str(tar)).to_pylist()
    assert [row["track_id"] for row in tracks] == ["s.tar#000.mp3", "s.tar#sub/001.FLAC"]
    data = tar.read_bytes()
    for row, content in zip(tracks, (b"abc", b"defgh"), strict=True):
        assert row["container"] == str(tar)
        assert data[row["offset"] : row["offset"] + row["size_bytes"]] == content
    assert tracks[0]["etag"] != tracks[1]["etag"]


def test_a_pattern_a_folder_and_names_one_by_one_give_the_same_tracks(tmp_path: Path) -> None:
    for i in range(3):
        put_tar(tmp_path / "tars" / f"s-{i:03d}.tar", [(f"{i}.mp3", b"x")])
    put_tar(tmp_path / "tars" / "other.tar", [("o.mp3", b"x")])
    expected = [f"s-{i:03d}.tar#{i}.mp3" for i in range(3)]
    assert ids(tmp_path / "tars" / "s-*.tar") == expected
    assert ids(tmp_path / "tars" / "s-00?.tar") == expected
    assert sorted(ids(tmp_path / "tars")) == ["other.tar#o.mp3", *expected]
    assert [name for i in range(3) for name in ids(tmp_path / "tars" / f"s-{i:03d}.tar")] == expected


def test_a_folder_may_hold_files_and_tars(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3")
    put_tar(tmp_path / "b.tar", [("a.mp3", b"x")])
    assert sorted(ids(tmp_path)) == ["a.mp3", "b.tar#a.mp3"]


def test_a_member_that_comes_twice_is_the_later_one(tmp_path: Path) -> None:
    tar = put_tar(tmp_path / "s.tar", [("a.mp3", b"old"), ("b.mp3", b"b"), ("a.mp3", b"newer")])
    tracks = {row["track_id"]: row for row in list_tracks(str(tar)).to_pylist()}
    assert set(tracks) == {"s.tar#a.mp3", "s.tar#b.mp3"}
    assert tracks["s.tar#a.mp3"]["size_bytes"] == len(b"newer")


def test_folders_and_links_in_a_tar_are_no_tracks(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        folder, link = tarfile.TarInfo("folder.mp3"), tarfile.TarInfo("link.mp3")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(folder)
        archive.addfile(link)
        good = tarfile.TarInfo("good.mp3")
        archive.addfile(good, io.BytesIO())
    assert ids(tmp_path / "s.tar") == ["s.tar#good.mp3"]


def test_long_names_in_a_tar_are_kept(tmp_path: Path) -> None:
    name = "/".join(["ünï" * 20] * 5) + ".mp3"
    assert ids(put_tar(tmp_path / "s.tar", [(name, b"x")])) == [f"s.tar#{name}"]


# --- manifests -------------------------------------------------------------------------------------


def test_relative_uris_start_at_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "lists/near.mp3", "lists/sub/x.mp3", "far.mp3")
    absolute = str(tmp_path / "far.mp3")
    uris = ["near.mp3", "./sub/x.mp3", absolute, f"file://{absolute}"]
    manifest = put_csv(tmp_path / "lists/m.csv", track_id=["1", "2", "3", "4"], uri=uris)
    monkeypatch.chdir(tmp_path)
    for source in (manifest, "lists/m.csv"):
        tracks = list_tracks(source).to_pylist()
        expected = [f"{tmp_path}/lists/near.mp3", f"{tmp_path}/lists/sub/x.mp3", absolute, absolute]
        assert [row["uri"] for row in tracks] == expected
        assert [row["size_bytes"] for row in tracks] == [len("lists/near.mp3"), len("lists/sub/x.mp3"), 7, 7]
        assert all(row["etag"] for row in tracks)


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3", "b.mp3", "c.mp3", "d.mp3")
    odd = ["007", "1e5", "NaN", "true"]
    (tmp_path / "m.csv").write_text(
        "track_id,uri\n" + "".join(f"{i},{c}.mp3\n" for i, c in zip(odd, "abcd", strict=True))
    )
    assert ids(tmp_path / "m.csv") == odd


def test_csv_and_parquet_manifests_are_the_same(tmp_path: Path) -> None:
    put(tmp_path, "a, b.mp3", "ü.mp3")
    frame = pd.DataFrame({"track_id": ["x", "y"], "uri": ["a, b.mp3", "ü.mp3"], "title": ["t", None], "year": [1, 2]})
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame.to_parquet(tmp_path / "m.parquet")
    assert list_tracks(f"{tmp_path}/m.csv").equals(list_tracks(f"{tmp_path}/m.parquet"))


def test_a_csv_as_excel_writes_it(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3")
    (tmp_path / "m.csv").write_bytes('\ufefftrack_id,uri,title\r\n1,a.mp3,"x, y"\r\n'.encode())
    assert ids(tmp_path / "m.csv") == ["1"]


def test_whole_numbers_as_ids_in_parquet_become_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"track_id": [1, 22], "uri": ["a.mp3", "b.mp3"]}), tmp_path / "m.parquet")
    assert ids(tmp_path / "m.parquet") == ["1", "22"]


def test_etags_and_sizes_of_the_manifest_are_taken_as_given(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3", "b.mp3")
    (tmp_path / "m.csv").write_text("track_id,uri,etag,size_bytes\n1,a.mp3,0123,99\n2,b.mp3,,\n")
    first, second = list_tracks(f"{tmp_path}/m.csv").to_pylist()
    assert (first["etag"], first["size_bytes"]) == ("0123", 99)
    assert (second["size_bytes"], bool(second["etag"])) == (len("b.mp3"), True)


def test_tar_members_in_a_manifest_are_located(tmp_path: Path) -> None:
    tar = put_tar(tmp_path / "s.tar", [("a.mp3", b"abc"), ("b.mp3", b"defg")])
    uris = ["s.tar#b.mp3", f"{tar}#a.mp3", "s.tar#nowhere.mp3", "missing.tar#a.mp3"]
    tracks = list_tracks(put_csv(tmp_path / "m.csv", track_id=list("1234"), uri=uris)).to_pylist()
    data = tar.read_bytes()
    for row, content in zip(tracks[:2], (b"defg", b"abc"), strict=True):
        assert data[row["offset"] : row["offset"] + row["size_bytes"]] == content
    assert [row["container"] for row in tracks] == [str(tar), str(tar), str(tar), f"{tmp_path}/missing.tar"]
    assert [row["offset"] for row in tracks[2:]] == [None, None], "their turn comes, and each is quarantined by itself"


def test_names_in_a_tar_are_literal_and_the_way_to_it_is_a_path(tmp_path: Path) -> None:
    names = ["d//x.mp3", "b/../y.mp3", "./z.mp3", "b/./w.mp3", "/v.mp3", "in.tar#d//u.mp3"]
    tar = put_tar(tmp_path / "in" / "A.TAR", [(name, name.encode()) for name in names])
    put(tmp_path, "y.mp3")
    listed = [uri for uri in list_tracks(str(tar))["uri"].to_pylist()]
    assert listed == [f"{tar}#{name}" for name in names]
    for way in (f"{tmp_path}/in", f"{tmp_path}//other/.././in", "in", "./in", "other/../in"):
        uris = [f"{way}/A.TAR#{name}" for name in names]
        tracks = list_tracks(put_csv(tmp_path / "m.csv", track_id=names, uri=uris)).to_pylist()
        assert [row["uri"] for row in tracks] == listed
        data = tar.read_bytes()
        spans = [data[row["offset"] :][: row["size_bytes"]].decode() for row in tracks]
        assert spans == names


def test_what_is_missing_stays_in_the_list_to_be_quarantined(tmp_path: Path) -> None:
    put(tmp_path, "a.mp3")
    uris = ["a.mp3", "gone.mp3", "no/folder/x.mp3", "a.mp3/below.mp3"]
    tracks = list_tracks(put_csv(tmp_path / "m.csv", track_id=list("1234"), uri=uris)).to_pylist()
    assert [row["size_bytes"] is None for row in tracks] == [False, True, True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track_id,url\n1,a.mp3\n", r"column 'uri' is missing; it has track_id, url"),
        ("id;uri\n1;a.mp3\n", r"column 'track_id' is missing; it has id;uri"),
        (
            "track_id,uri\n1,a.mp3\n2,b.mp3\n1,c.mp3\n",
            r"duplicate track_id '1' in rows 1, 3; every track needs its own",
        ),
        ("track_id,uri\n1,a.mp3\n ,b.mp3\n", r"row 2 has no track_id"),
        ("track_id,uri\n1,a.mp3\n2,\n", r"row 2 has no uri"),
        ("track_id,uri,size_bytes\n1,a.mp3,big\n", r"column 'size_bytes' is not int64"),
        ("track_id,uri\n", r"no tracks found"),
        ("", r"not a readable manifest"),
        ("track_id,uri\n1,a.mp3,extra\n", r"not a readable manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        list_tracks(f"{tmp_path}/m.csv")
    assert str(caught.value).startswith(f"{tmp_path}/m.csv: ")


def test_bytes_that_are_no_parquet_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(os.urandom(1000))
    with pytest.raises(UsageError, match=r"m\.parquet: not a readable manifest"):
        list_tracks(f"{tmp_path}/m.parquet")
