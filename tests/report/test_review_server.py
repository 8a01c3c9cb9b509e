"""The review server gives the page to whoever has its address, audio by ranges, and loses no decision."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import five_questions
import pytest
from audio_files import wav_bytes

from catalog_tagger.reconcile.reviewed import latest, read_reviewed
from catalog_tagger.report.collect import collect
from catalog_tagger.report.review import ReviewServer, is_within
from catalog_tagger.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    audio = tmp_path / "audio"
    audio.mkdir()
    import numpy as np

    (audio / "a").write_bytes(b"")
    for name in ("a.wav", "show.wav"):
        (audio / name).write_bytes(wav_bytes(np.arange(16000, dtype=np.int16)))
    (tmp_path / "secret.wav").write_bytes(b"secret")
    store = Store(tmp_path / "tags")
    five_questions.make(store, place=str(audio), extension=".wav")
    return store


def serving(store: Store, *, reviewer: str, root: Path) -> ReviewServer:
    report = collect(store, page=None, most_flags=100, most_shows=100)
    server = ReviewServer(store, report, roots=[str(root)], reviewer=reviewer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def server(store: Store, tmp_path: Path) -> Iterator[ReviewServer]:
    one = serving(store, reviewer="ada", root=tmp_path / "audio")
    yield one
    one.shutdown()
    one.server_close()


def ask(
    server: ReviewServer, place: str, *, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, place, body=None if body is None else json.dumps(body), headers=given)
    answer = connection.getresponse()
    found = (answer.status, dict(answer.headers), answer.read())
    connection.close()
    return found


def test_only_who_has_the_address_sees_anything(server: ReviewServer) -> None:
    status, headers, page = ask(server, f"/{server.token}/")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert b'"review":true' in page
    for place in (
        "/",
        "/wrong/",
        f"/{server.token}",
        f"/{server.token}x/",
        f"/{server.token}/../etc/passwd",
        "/%2e%2e/",
    ):
        assert ask(server, place)[0] == 404
    assert ask(server, f"/{server.token}/", Host="evil.example")[0] == 404
    assert ask(server, f"/{server.token}/decisions", method="POST", body={}, Origin="http://evil.example")[0] == 404


def audio_of(server: ReviewServer, track_id: str) -> str:
    page = ask(server, f"/{server.token}/")[2].decode()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    (track,) = [track for track in data["tracks"] if track["i"] == track_id]
    return f"/{server.token}/{track['a']}"


def test_audio_comes_by_ranges(server: ReviewServer, tmp_path: Path) -> None:
    wanted = (tmp_path / "audio" / "a.wav").read_bytes()
    place = audio_of(server, "a")
    status, headers, body = ask(server, place)
    assert (status, headers["Content-Type"], body) == (200, "audio/wav", wanted)
    size = len(wanted)
    for asked, first, last in (
        ("0-99", 0, 99),
        ("100-", 100, size - 1),
        ("-10", size - 10, size - 1),
        ("5-9999999", 5, size - 1),
    ):
        status, headers, body = ask(server, place, Range=f"bytes={asked}")
        assert (status, body) == (206, wanted[first : last + 1]), asked
        assert headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    assert ask(server, place, Range=f"bytes={size}-")[0] == 416


def test_nothing_outside_the_roots_is_served(server: ReviewServer, store: Store, tmp_path: Path) -> None:
    outside = serving(store, reviewer="eve", root=tmp_path / "elsewhere")
    try:
        data = ask(outside, f"/{outside.token}/")[2].decode()
        assert '"a":"audio/' not in data
        assert ask(outside, f"/{outside.token}/audio/0")[0] == 404
    finally:
        outside.shutdown()
        outside.server_close()
    assert ask(server, f"/{server.token}/audio/99999")[0] == 404
    link = tmp_path / "audio" / "link.wav"
    link.symlink_to(tmp_path / "secret.wav")
    assert not is_within(str(link), [str(tmp_path / "audio")])
    assert is_within(str(tmp_path / "audio" / "x.tar") + "#m.mp3", [str(tmp_path / "audio")])
    assert not is_within("s3://bucket/audio/../other/a.mp3", ["s3://bucket/audio"])
    assert not is_within("s3://bucket/audios/a.mp3", ["s3://bucket/audio"])


def decide(server: ReviewServer, flag: str, decision: str) -> tuple[int, bytes]:
    status, _, body = ask(
        server, f"/{server.token}/decisions", method="POST", body={"flag": flag, "decision": decision}
    )
    return status, body


def test_two_reviewers_keep_all_their_decisions(server: ReviewServer, store: Store, tmp_path: Path) -> None:
    other = serving(store, reviewer="ben", root=tmp_path / "audio")
    try:
        flags = sorted(server.flags)
        threads = [
            threading.Thread(target=decide, args=(one, flag, word))
            for one, word in ((server, "accepted"), (other, "dismissed"))
            for flag in flags
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert decide(other, flags[0], "accepted")[0] == 200
        assert decide(other, flags[1], "withdrawn")[0] == 200
    finally:
        other.shutdown()
        other.server_close()
    rows, counts = read_reviewed(store)
    assert sorted(counts.values()) == [len(flags), len(flags) + 2]
    assert latest(rows)[flags[0]].reviewer == "ben"
    found = json.loads(ask(server, f"/{server.token}/decisions")[2])
    assert found[flags[0]] == ["accepted", "ben"]
    assert found[flags[1]] == ["withdrawn", "ben"]


def test_what_is_no_decision_is_refused(server: ReviewServer) -> None:
    assert decide(server, "nobody", "accepted")[0] == 400
    assert decide(server, sorted(server.flags)[0], "maybe")[0] == 400
    assert ask(server, f"/{server.token}/decisions", method="POST", body="text")[0] == 400
    assert ask(server, f"/{server.token}/decisions", method="POST", body="x" * 20_000)[0] == 413
    assert read_reviewed(server.store) == ([], {})


def test_a_decision_that_cannot_be_kept_is_said(server: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog_tagger.errors import StorageError

    def full(*_: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Store, "write", full)
    assert decide(server, sorted(server.flags)[0], "accepted") == (503, b"not kept: the disk is full")
