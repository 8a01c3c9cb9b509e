"""Listings and manifests as the world has them: one clear error, or one track, never a lost neighbour."""

import os
import tarfile
from pathlib import Path

import pytest
from audio_files import tone, write

from catalog_tagger.errors import UsageError
from catalog_tagger.tagging.sources import list_tracks


def song(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, tone(0.5, rate_hz=16000), rate_hz=16000, codec="wav")
    return path


def test_a_link_that_leads_nowhere_is_a_track_without_bytes(tmp_path: Path) -> None:
    song(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone.txt")
    rows = list_tracks(str(tmp_path)).sort_by("track_id").to_pylist()
    assert [(row["track_id"], row["etag"] is None) for row in rows] == [("a.wav", False), ("b.wav", True)]


def test_folders_behind_links_are_walked_once(tmp_path: Path) -> None:
    song(tmp_path / "real" / "x.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(root)
    assert list_tracks(str(root))["track_id"].to_pylist() == ["linked/x.wav"]


def test_names_that_are_not_text_are_named_in_one_error(tmp_path: Path) -> None:
    song(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", os.fsencode(tmp_path) + b"/caf\xe9.wav")  # noqa: PTH104 - paths have no bytes
    with pytest.raises(UsageError, match=r"caf.*\.wav: the name is not valid UTF-8"):
        list_tracks(str(tmp_path))


def test_a_double_colon_in_a_name_is_a_name(tmp_path: Path) -> None:
    song(tmp_path / "a::b" / "x.wav")
    assert list_tracks(str(tmp_path / "a::b"))["track_id"].to_pylist() == ["x.wav"]


def test_a_damaged_header_inside_a_tar_loses_nothing_in_silence(tmp_path: Path) -> None:
    tar = tmp_path / "s.tar"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for i in range(3):
            archive.add(song(tmp_path / f"{i}.wav"), arcname=f"{i}.wav")
    with tarfile.open(tar) as archive:
        second = archive.getmembers()[1].offset
    data = bytearray(tar.read_bytes())
    assert list_tracks(str(tar)).num_rows == 3
    data[second + 100] ^= 1
    tar.write_bytes(data)
    rows = list_tracks(str(tar)).to_pylist()
    assert [(row["track_id"], row["fault"]) for row in rows] == [
        ("s.tar#0.wav", None),
        ("s.tar", f"damaged header at byte {second}"),
    ]


@pytest.mark.parametrize("uri", ["http://host/x.mp3", "gs://bucket/x.mp3", "x\x00.mp3", "file:///x%00.mp3"])
def test_uris_that_no_store_serves_are_refused_with_their_row(uri: str, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"track_id,uri\na,a.mp3\nb,{uri}\n")
    with pytest.raises(UsageError, match=r"m\.csv: row 2: uri .* is neither a path nor s3://bucket/key"):
        list_tracks(str(manifest))


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("track_id,uri,uri\na,a.mp3,b.mp3\n")
    with pytest.raises(UsageError, match="column 'uri' comes more than once"):
        list_tracks(str(manifest))


def test_local_uris_are_found_however_they_are_written(tmp_path: Path) -> None:
    song(tmp_path / "in side" / "x.wav")
    manifest = tmp_path / "m.csv"
    plain = tmp_path / "in side" / "x.wav"
    uris = [str(plain), "in side/../in side//x.wav", "./in side/x.wav", plain.as_uri()]
    manifest.write_text("track_id,uri\n" + "".join(f"{i},{uri}\n" for i, uri in enumerate(uris)))
    rows = list_tracks(str(manifest)).to_pylist()
    assert {row["uri"] for row in rows} == {str(plain)}
    assert all(row["etag"] for row in rows)


def test_a_manifest_with_sizes_alone_still_gets_etags(tmp_path: Path) -> None:
    song(tmp_path / "x.wav")
    manifest = tmp_path / "m.csv"
    manifest.write_text("track_id,uri,size_bytes\na,x.wav,7\n")
    (row,) = list_tracks(str(manifest)).to_pylist()
    assert row["size_bytes"] == 7
    assert row["etag"]
