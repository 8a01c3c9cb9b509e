"""Spans of a job's processes: written by whoever does the work, joined later, and never in its way."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger import tracing
from catalog_tagger.tracing import Event, merged, overlap, span


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process's spans go during a test."""
    monkeypatch.setattr(tracing._target, "folder", str(tmp_path / "trace"))
    return tmp_path / "trace"


def event(name: str, begin_s: float, end_s: float, *, tid: int = 1) -> Event:
    return {"name": name, "ph": "X", "pid": 1, "tid": tid, "ts": begin_s * 1e6, "dur": (end_s - begin_s) * 1e6}


def spans(events: list[Event]) -> list[Event]:
    return [event for event in events if event["ph"] == "X"]


def run(code: str, **environment: str) -> str:
    known = {key: value for key, value in os.environ.items() if key != tracing.VARIABLE}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=known | environment, capture_output=True, text=True, check=True).stdout


# --- writing ---------------------------------------------------------------------------------------


def test_nothing_is_written_unless_a_folder_is_named(tmp_path: Path) -> None:
    assert span("decode", uri="a.mp3") is span("score"), "one object that does nothing"
    code = "from catalog_tagger.tracing import span\nwith span('decode'): pass"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_every_thread_of_every_process_is_heard(tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from catalog_tagger.tracing import span
def work(number):
    with span("decode", uri=f"{number}.mp3"):
        pass
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(200)))
"""
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: run(code, CATALOG_TAGGER_TRACE=str(tmp_path / "trace")), range(3)))
    assert len(list((tmp_path / "trace").iterdir())) == 3
    found = spans(merged(tmp_path / "trace"))
    assert sorted(event["args"]["uri"] for event in found) == sorted(3 * [f"{number}.mp3" for number in range(200)])
    assert len({event["pid"] for event in found}) == 3
    assert [event["ts"] for event in found] == sorted(event["ts"] for event in found)


def test_a_forked_process_has_a_file_of_its_own(tmp_path: Path) -> None:
    code = """
import os
from catalog_tagger.tracing import span
with span("score"):
    if os.fork() == 0:
        with span("decode"):
            pass
        os._exit(0)
    os.wait()
"""
    run(code, CATALOG_TAGGER_TRACE=str(tmp_path))
    decoding, scoring = sorted(spans(merged(tmp_path)), key=lambda event: str(event["name"]))
    assert decoding["pid"] != scoring["pid"]
    assert len(list(tmp_path.iterdir())) == 2
    assert scoring["ts"] <= decoding["ts"]
    assert decoding["ts"] + decoding["dur"] <= scoring["ts"] + scoring["dur"]


def test_a_span_ends_with_what_its_block_raises(folder: Path) -> None:
    with pytest.raises(ValueError, match="the block's own"), span("score", segments=3):
        raise ValueError("the block's own")
    (found,) = spans(merged(folder))
    assert (found["name"], found["args"], found["tid"]) == ("score", {"segments": 3}, threading.get_native_id())


def test_a_line_that_a_crash_cut_is_left_out(folder: Path) -> None:
    for _ in range(3):
        with span("decode"):
            pass
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert len(spans(merged(folder))) == 2


def test_a_trace_that_cannot_be_written_ends_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(tracing._target, "folder", str(tmp_path / "file" / "below"))
    done = []
    for number in range(2):
        with span("decode"):
            done.append(number)
    assert done == [0, 1]
    assert tracing._target.folder is None


# --- merging ---------------------------------------------------------------------------------------

moments = st.integers(0, 100)
intervals = st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair)))
kinds = st.dictionaries(st.sampled_from(["fetch", "decode", "score", "write"]), st.lists(intervals, max_size=8))


@given(st.lists(st.tuples(intervals, st.integers(1, 2)), max_size=12))
def test_spans_of_one_thread_nest_or_follow_each_other(drawn: list[tuple[tuple[int, int], int]]) -> None:
    events = [event("fetch", begin, end, tid=tid) for (begin, end), tid in drawn]
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    tracing._spread(events)
    for number, one in enumerate(events):
        for other in events[number + 1 :]:
            if one["tid"] == other["tid"]:
                ends = one["ts"] + one["dur"], other["ts"] + other["dur"]
                assert other["ts"] >= ends[0] or ends[1] <= ends[0]
    assert {event["tid"] % tracing._LANE for event in events} == {tid for _, tid in drawn}


def test_processes_and_threads_are_named_by_what_they_do(folder: Path) -> None:
    with span("score"), span("write"):
        pass
    names = {event["name"]: event["args"]["name"] for event in merged(folder) if event["ph"] == "M"}
    assert names == {"process_name": "score write", "thread_name": "score write"}


# --- overlap ---------------------------------------------------------------------------------------


def test_overlap_of_some_spans_by_hand() -> None:
    found = overlap(
        [
            *(event("fetch", 0, 4), event("fetch", 3, 6), event("fetch", 20, 21)),
            *(event("decode", 2, 5), event("decode", 8, 12)),
            event("score", 4, 10),
            {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "fetch"}},
        ]
    )
    assert found["active_s"] == {"fetch": 7, "decode": 7, "score": 6, "write": 0}
    assert found["during"]["score"] == pytest.approx({"fetch": 2 / 6, "decode": 3 / 6, "write": 0})
    assert found["during"]["fetch"] == pytest.approx({"decode": 3 / 7, "score": 2 / 7, "write": 0})
    assert found["score_with_both"] == pytest.approx(1 / 6)


@given(kinds)
def test_overlap_is_what_counting_moments_gives(drawn: dict[str, list[tuple[int, int]]]) -> None:
    found = overlap([event(kind, begin, end) for kind, pairs in drawn.items() for begin, end in pairs])
    active = {kind: {at for begin, end in pairs for at in range(begin, end)} for kind, pairs in drawn.items()}
    for kind in tracing.KINDS:
        moments_of = active.get(kind, set())
        assert found["active_s"][kind] == pytest.approx(len(moments_of))
        for other, share in found["during"][kind].items():
            common = moments_of & active.get(other, set())
            assert share == pytest.approx(len(common) / len(moments_of) if moments_of else 0)
    scored = active.get("score", set())
    both = scored & active.get("fetch", set()) & active.get("decode", set())
    assert found["score_with_both"] == pytest.approx(len(both) / len(scored) if scored else 0)


# --- the command -----------------------------------------------------------------------------------


def test_the_command_merges_and_prints_a_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with span("score"):
        pass
    out = tmp_path / "trace.json"
    tracing.main([str(folder), "--out", str(out)])
    written: dict[str, Any] = json.loads(out.read_text())
    assert [event["name"] for event in written["traceEvents"]] == ["process_name", "thread_name", "score"]
    printed = capsys.readouterr().out
    assert printed.startswith("of the time of     seconds     fetch too  decode too   score too   write too\nfetch")
    assert printed.endswith("score with fetch and decode under way: 0%\n")


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        tracing.main([str(tmp_path / "nowhere")])
    assert "nowhere: no such folder" in capsys.readouterr().err
