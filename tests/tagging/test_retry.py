"""The manifest of quarantined tracks: which rows it has, that it stays, and where it may lead."""

import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from servers import BUCKET, S3Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from warehouse import put_run, track_row

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging.retry import RetryManifest, retry_source
from catalog_tagger.tagging.sources import list_tracks


def broken(name: str, code: str, *, run_id: str = "r", minute: int = 1, **columns: Any) -> dict[str, Any]:
    return track_row(name, run_id=run_id, minute=minute, status="quarantined", error_code=code, **columns)


def ids(manifest: RetryManifest) -> list[str]:
    found: list[str] = manifest.rows["track_id"].to_pylist()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "w")
    rows = [broken("a", "not_audio"), broken("b", "truncated"), broken("c", "truncated")]
    put_run(store, "r", [*rows, track_row("good", run_id="r", minute=1)])
    put_run(store, "s", [track_row("c", run_id="s", minute=2), broken("d", "empty", run_id="s", minute=2)])
    return store


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["all"], ["a", "b", "d"]),
        (["truncated"], ["b"]),
        (["truncated", "empty"], ["b", "d"]),
        (["unreadable"], []),
    ],
)
def test_current_quarantined_rows_are_taken_by_code(codes: list[str], expected: list[str], store: Store) -> None:
    assert ids(RetryManifest.find(store, run_id="new", codes=codes)) == expected


def test_a_manifest_that_is_there_stays_what_it_was(store: Store) -> None:
    RetryManifest.find(store, run_id="new", codes=["all"]).write(store)
    put_run(store, "t", [track_row("a", run_id="t", minute=5)])
    resumed = RetryManifest.find(store, run_id="new", codes=["all"])
    assert ids(resumed) == ["a", "b", "d"]
    resumed.write(store)
    assert list_tracks(retry_source(store, "new"))["track_id"].to_pylist() == ["a", "b", "d"]
    assert ids(RetryManifest.find(store, run_id="newer", codes=["all"])) == ["b", "d"]


def test_what_roots_refused_is_left_out_unless_there_are_roots(store: Store) -> None:
    put_run(store, "t", [broken("link", "outside_roots", run_id="t", minute=3)])
    assert ids(RetryManifest.find(store, run_id="new", codes=["all"])) == ["a", "b", "d"]
    with pytest.raises(UsageError, match=r"outside_roots need roots .*; add --root"):
        RetryManifest.find(store, run_id="new", codes=["empty", "outside_roots"])
    assert ids(RetryManifest.find(store, run_id="new", codes=["outside_roots"], roots=["/srv"])) == ["link"]
    allowed = RetryManifest.find(store, run_id="new", codes=["all"], roots=["/srv"])
    assert ids(allowed) == ["a", "b", "d", "link"]
    allowed.write(store)
    with pytest.raises(UsageError, match="run new retries tracks of code outside_roots; add the --root"):
        RetryManifest.find(store, run_id="new", codes=["all"])
    assert ids(RetryManifest.find(store, run_id="new", codes=["all"], roots=["/srv"])) == ids(allowed)


def test_the_name_of_a_run_of_another_kind_is_refused(store: Store) -> None:
    store.write("runs/r/job.json", b"{}")
    with pytest.raises(UsageError, match="run r does not retry quarantined tracks; choose another --run-id"):
        RetryManifest.find(store, run_id="r", codes=["all"])
    assert store.children("runs/r") == ["job.json", "manifest.json"]


def test_what_is_not_written_lists_the_same_as_what_is(store: Store) -> None:
    manifest = RetryManifest.find(store, run_id="new", codes=["all"])
    before = manifest.tracks(store, roots=())
    manifest.write(store)
    assert before.equals(list_tracks(retry_source(store, "new")))


def test_a_bucket_that_tagged_local_files_may_lead_to_them_again(s3: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/{tmp_path.name}")
    put_run(store, "r", [broken("a", "not_audio"), broken("b", "empty", uri=f"s3://{BUCKET}/b.mp3")])
    manifest = RetryManifest.find(store, run_id="new", codes=["all"])
    assert manifest.roots(store) == ("/", f"s3://{BUCKET}")
    manifest.write(store)
    tracks = list_tracks(retry_source(store, "new"), roots=manifest.roots(store))
    assert tracks["uri"].to_pylist() == ["/audio/a", f"s3://{BUCKET}/b.mp3"]
    objects_alone = RetryManifest.find(store, run_id="other", codes=["empty"])
    assert objects_alone.roots(store) == ()


def test_a_damaged_tar_is_listed_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "w")
    tar = tmp_path / "s.tar"
    (tmp_path / "a.mp3").write_bytes(b"x" * 700)
    put_run(store, "r", [broken("s.tar", "damaged_tar", uri=str(tar))])
    manifest = RetryManifest.find(store, run_id="new", codes=["damaged_tar"])
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "a.mp3", arcname="a.mp3")
        archive.add(tmp_path / "a.mp3", arcname="b.mp3")
    whole = tar.read_bytes()
    for data, expected in [(b"nothing", ["s.tar"]), (whole[:3000], ["s.tar#a.mp3", "s.tar"])]:
        tar.write_bytes(data)
        assert manifest.tracks(store, roots=())["track_id"].to_pylist() == expected
    tar.write_bytes(whole)
    mended = manifest.tracks(store, roots=()).to_pylist()
    assert [(row["track_id"], row["fault"]) for row in mended] == [("s.tar#a.mp3", None), ("s.tar#b.mp3", None)]
