"""The fault matrix of fetching: every fault, for objects and for tars, at every server; nothing lost, nothing twice."""

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from fault_proxy import OF_BODY, TRANSIENT, FaultProxy, at_random, each_once, proxied, soon_stalled
from servers import BUCKET, S3Server

from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.etags import CHANGED
from catalog_tagger.tagging import fetching
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import StoreHealth, fetch_all
from catalog_tagger.tagging.sources import list_tracks

COUNT = 12
KINDS = ("objects", "tar")


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with proxied(s3, monkeypatch) as running:
        yield running


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small tars have many parts, and some members lie across them."""
    monkeypatch.setattr(fetching, "_PART_BYTES", 64 * 1024)


def put(s3: S3Server, kind: str, prefix: str, *, size: int = 50_000) -> dict[str, bytes]:
    """The same tracks as objects or as members of a tar: what their uris end in -> bytes."""
    tracks = {f"{i:02d}.mp3": os.urandom(size + i) for i in range(COUNT)}
    if kind == "objects":
        s3.put_all({f"{prefix}/{name}": data for name, data in tracks.items()})
        return tracks
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in tracks.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    s3.put(f"{prefix}/x.tar", archive.getvalue())
    return {f"x.tar#{name}": data for name, data in tracks.items()}


def planned(prefix: str) -> list[dict[str, Any]]:
    return list_tracks(f"s3://{BUCKET}/{prefix}").to_pylist()


def assert_all_there(rows: list[dict[str, Any]], tracks: dict[str, bytes]) -> None:
    found = []
    for row, encoded in fetch_all(rows):
        assert isinstance(encoded, Encoded), f"{row['uri']}: {encoded}"
        with encoded.open() as file:
            assert file.read() == tracks[row["track_id"]], row
        found.append(row["track_id"])
    assert found == list(tracks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", TRANSIENT)
def test_no_track_is_lost_in_any_fault(
    s3: S3Server, proxy: FaultProxy, fault: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "stall":
        soon_stalled(monkeypatch)
    tracks = put(s3, kind, f"matrix/{fault}/{kind}")
    rows = planned(f"matrix/{fault}/{kind}")
    proxy.rule = each_once(fault, only=lambda request: request.is_read)
    assert_all_there(rows, tracks)
    print(f"\n{s3.kind}, {kind}: {len(rows)} tracks, {proxy.figures()}")
    assert proxy.faults[fault] >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_no_track_is_lost_in_all_of_them_mixed(
    s3: S3Server, proxy: FaultProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon_stalled(monkeypatch)
    tracks = put(s3, kind, f"mixed/{kind}")
    proxy.rule = at_random(seed=7, rate=0.4)
    rows = planned(f"mixed/{kind}")  # the listing, too
    assert_all_there(rows, tracks)
    print(f"\n{s3.kind}, {kind}: {len(rows)} tracks, {proxy.figures()}")
    assert proxy.faults.total() >= 5


@pytest.mark.parametrize("fault", [None, "500", "reset", "lost", "short"])
def test_no_byte_of_a_tar_is_fetched_twice(s3: S3Server, fault: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = put(s3, "tar", "once", size=100_000)
    rows = planned("once")  # not through the proxy: what the listing reads ahead may still be on its way
    with proxied(s3, monkeypatch) as proxy:
        if fault is not None:
            proxy.rule = each_once(fault)
        assert_all_there(rows, tracks)
    needed = sum(len(data) for data in tracks.values())
    sent = proxy.sent[f"/{BUCKET}/once/x.tar"]
    # after a fault the client may ask once more for what is on its way: a part's rest, never a part twice
    assert needed <= sent <= (1.02 if fault is None else 1.10) * needed
    assert (proxy.faults.total() >= 10) == (fault is not None)
    if fault is None:
        stretch = rows[-1]["offset"] + rows[-1]["size_bytes"] - rows[0]["offset"]
        assert proxy.requests.total() == -(-stretch // (64 * 1024)), "in parts, not member by member"


def test_what_no_track_needs_is_skipped_where_it_is_much(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, size in {
            "a.mp3": 1_000,
            "far.json": 3_000_000,
            "b.mp3": 1_000,
            "near.json": 5_000,
            "c.mp3": 9,
        }.items():
            header = tarfile.TarInfo(name)
            header.size = size
            tar.addfile(header, io.BytesIO(bytes(size)))
    s3.put("gaps/x.tar", archive.getvalue())
    rows = planned("gaps")
    with proxied(s3, monkeypatch) as proxy:
        assert all(isinstance(found, Encoded) for _, found in fetch_all(rows))
    assert proxy.requests.total() == 2
    assert proxy.sent.total() < 10_000


def test_one_object_that_always_fails_is_its_tracks_error(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    tracks = put(s3, "objects", "one")
    rows = planned("one")
    proxy.rule = lambda request: "503" if request.path.endswith("/05.mp3") else None
    found = dict(zip(tracks, (encoded for _, encoded in fetch_all(rows)), strict=True))
    error = found.pop("05.mp3")
    assert isinstance(error, AudioError)
    assert error.code == "unreadable"
    assert str(error) == "the object store failed 2 times in a row, last with 503 SlowDown"
    assert all(isinstance(encoded, Encoded) for encoded in found.values())


def test_a_part_that_always_fails_is_the_error_of_its_members_alone(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    tracks = put(s3, "tar", "part")
    rows = planned("part")
    begin = rows[0]["offset"]
    lost = range(begin + 2 * 64 * 1024, begin + 3 * 64 * 1024)
    proxy.rule = lambda request: "500" if request.is_read and request.first in lost else None
    for row, found in fetch_all(rows):
        is_lost = row["offset"] < lost.stop and row["offset"] + row["size_bytes"] > lost.start
        assert isinstance(found, AudioError) == is_lost, row
        if isinstance(found, Encoded):
            assert found.open().read() == tracks[row["track_id"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_fails_all_the_time_ends_the_job_and_quarantines_no_catalogue(
    s3: S3Server, proxy: FaultProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    put(s3, kind, f"down/{kind}")
    rows = planned(f"down/{kind}")
    proxy.rule = lambda request: "503" if request.is_read else None
    with pytest.raises(StorageError, match=r"503 SlowDown .*4 reads in a row failed; resume the run") as caught:
        list(fetch_all(rows))
    assert (caught.value.systemic, caught.value.transient) == (True, True)
    assert proxy.requests["GET"] < 4 * COUNT


def test_failures_with_successes_between_are_no_outage(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    put(s3, "objects", "patchy")
    rows = planned("patchy")
    good = ("03.mp3", "07.mp3")
    proxy.rule = lambda request: None if request.path.endswith(good) else "500"
    found = [isinstance(encoded, Encoded) for _, encoded in fetch_all(rows[:11])]
    assert found == [i in (3, 7) for i in range(11)]


@pytest.mark.parametrize("whole", [True, False])
def test_good_reads_of_one_kind_do_not_hide_an_outage_of_the_other(whole: bool) -> None:
    health, failed = StoreHealth(), StorageError("s3://bucket/a: failed", transient=True)
    for _ in range(3):
        health.note(failed, whole=whole)
        health.note(None, whole=not whole)
    with pytest.raises(StorageError, match=r"a: failed \(4 reads in a row failed; resume") as caught:
        health.note(failed, whole=whole)
    assert caught.value.systemic


def test_objects_that_changed_are_no_outage() -> None:
    health = StoreHealth()
    for i in range(8):
        health.note(StorageError(f"s3://bucket/x.tar#{i}: {CHANGED}", transient=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_access_ends_the_job_at_once(s3: S3Server, proxy: FaultProxy, kind: str) -> None:
    put(s3, kind, f"refused/{kind}")
    rows = planned(f"refused/{kind}")
    proxy.forget()
    proxy.rule = lambda request: "403" if request.is_read else None
    with pytest.raises(StorageError, match="access denied; check the permissions and credentials") as caught:
        list(fetch_all(rows, requests=3))
    assert caught.value.systemic
    assert proxy.requests.total() <= COUNT, "no request was tried again"


def test_a_refusal_does_not_wait_for_what_stalls(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_TAGGER_READ_TIMEOUT_S", "3600")
    put(s3, "objects", "both")
    rows = planned("both")
    proxy.rule = lambda request: "403" if request.path.endswith("/00.mp3") else "stall" if request.is_read else None
    with pytest.raises(StorageError, match="access denied"):
        list(fetch_all(rows))


def test_a_store_that_is_gone_ends_the_job(s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    put(s3, "objects", "nowhere")
    rows = planned("nowhere")
    proxy.stop()
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        list(fetch_all(rows))
    assert caught.value.systemic


def test_missing_objects_are_not_asked_for_again(s3: S3Server, proxy: FaultProxy) -> None:
    put(s3, "objects", "missing")
    rows = planned("missing")
    proxy.forget()
    proxy.rule = lambda request: "404" if request.is_read else None
    for _, error in fetch_all(rows):
        assert isinstance(error, AudioError)
        assert error.code == "not_found"
    assert proxy.requests.total() == COUNT


@pytest.mark.parametrize("fault", OF_BODY)
def test_a_large_object_is_read_to_its_end_by_its_decoder(
    s3: S3Server, proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WHOLE_BYTES", 10_000)
    if fault == "stall":
        soon_stalled(monkeypatch)
    tracks = put(s3, "objects", "large")
    rows = planned("large")[:3]
    proxy.rule = each_once(fault, only=lambda request: request.is_read)
    assert_all_there(rows, dict(list(tracks.items())[:3]))
    assert proxy.faults[fault] >= 3
