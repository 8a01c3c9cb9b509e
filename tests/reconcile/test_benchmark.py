"""The benchmark: its figures on rows made by hand, what it refuses, and a run over a tiny catalogue."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from commands import command
from hand_made import write_csv

from catalog_tagger.audio import SAMPLE_RATE_HZ, read_pcm
from catalog_tagger.demo.encode import SUFFIXES, write_audio
from catalog_tagger.errors import UsageError
from catalog_tagger.reconcile.benchmark import Tables, measure, run_benchmark, show
from catalog_tagger.reconcile.benchmark_catalogue import Copy, Played, read_catalogue, with_copies
from catalog_tagger.reconcile.benchmark_figures import (
    LabelFigures,
    Share,
    SongFigures,
    duplicate_figures,
    label_figures,
    song_figures,
)
from catalog_tagger.tables.schemas import DUPLICATES, FLAG_PRECISION, FLAGS, SEARCHES, SONGS
from catalog_tagger.training.metrics import wilson

sys.path.insert(0, str(Path(__file__).parents[1] / "songs"))

from composed import excerpt, song, voices
from composed import show as a_show

PROGRAM = [sys.executable, "-m", "catalog_tagger.reconcile.benchmark"]
CUT = {"low": 0.6, "high": 1.0}


def labels(*flags: tuple[str, float], errors: str, judged: str = "abcdefghij", cut: Any = CUT) -> LabelFigures:
    """Figures of flags on tracks that a letter names."""
    rows = [{"track_id": track_id, "confidence": confidence} for track_id, confidence in flags]
    return label_figures("content_type", rows, errors=set(errors), judged=set(judged), cut=cut)


def songs(found: Sequence[Played], truth: Sequence[Played], **options: Any) -> SongFigures:
    empty: dict[str, Any] = {"searches": [], "hours": 2.0, "duplicates": [], "copies": []}
    return song_figures(found, truth, **{**empty, **options})


def pair(track_id: str, other: str) -> dict[str, str]:
    return {"track_id": track_id, "other_track_id": other}


def test_precision_and_recall_come_with_numbers_and_intervals() -> None:
    told = labels(("a", 0.99), ("b", 0.98), ("x", 0.97), ("c", 0.9), errors="abd")
    assert (told.errors, told.flags) == (3, 4)
    assert told.precision == Share(2, 3, pytest.approx(2 / 3), wilson(2, 3))  # x is of unknown truth
    assert told.recall == Share(2, 3, pytest.approx(2 / 3), wilson(2, 3))
    assert told.expected == pytest.approx(0.96)
    assert (told.expected_interval, told.inside) == ((0.6, 1.0), True)
    assert (told.wrong, told.missed, told.unjudged) == (("c",), ("d",), ("x",))
    assert told.best is None
    assert str(told.precision) == "66.7 % (2 of 3; 20.8 to 93.9)"


def test_a_precision_outside_of_what_was_expected_is_told() -> None:
    assert labels(("a", 0.9), ("b", 0.9), errors="a").inside is False
    assert labels(("a", 0.9), errors="a", cut=None).inside is None


def test_nothing_flagged_is_no_share() -> None:
    told = labels(errors="")
    assert told.precision == Share(0, 0, None, None)
    assert (told.expected, told.inside, told.best) == (None, None, None)
    assert str(told.recall) == "none to count"


def test_the_best_precision_is_of_the_shortest_list_with_that_recall() -> None:
    told = labels(("a", 0.9), ("c", 0.8), ("b", 0.7), ("d", 0.6), errors="ab")
    assert told.best is not None
    assert told.best.confidence == 0.7
    assert (told.best.precision.right, told.best.precision.of, told.best.recall.share) == (2, 3, 1.0)
    ties = labels(("a", 0.9), ("b", 0.7), ("d", 0.7), errors="ab")
    assert ties.best is not None
    assert ties.best.precision.of == 3, "flags of one confidence come together"


def test_more_than_half_of_the_excerpt_has_to_be_covered() -> None:
    truth = [Played("s", "m1", 10.0, 30.0), Played("s", "m2", 50.0, 70.0, talk_over=True)]
    told = songs([Played("s", "m1", 19.9, 29.0), Played("s", "m2", 50.5, 72.0)], truth)
    assert (told.found.right, told.found.of) == (1, 2), "9.1 of 20 s are less than half"
    assert (told.found_alone.right, told.found_under_speech.right) == (0, 1)
    assert [one.song_track_id for one in told.missed] == ["m1"]
    assert told.false == 0, "all of the first row lies in its excerpt"
    assert (told.starts.median_s, told.ends.median_s) == (0.5, 2.0)
    assert (told.starts.near.share, told.ends.near.share) == (1.0, 0.0)
    other_track = songs([Played("other", "m1", 10.0, 30.0)], truth)
    assert (other_track.found.right, len(other_track.false_unnamed)) == (0, 1)


def test_false_matches_are_told_apart_by_what_is_there() -> None:
    truth = [Played("s", "m1", 10.0, 30.0)]
    rows = [
        Played("s", "m1", 10.0, 30.0),
        Played("s", "m2", 12.0, 20.0),
        Played("s", "m3", 40.0, 50.0),
        Played("s", "m1", 27.0, 50.0),
    ]
    told = songs(rows, truth, searches=[{"music_s": 40.0, "unknown_s": 10.0}] * 2, duplicates=[pair("m2", "m1")])
    assert (told.rows, told.false, told.false_per_100_hours) == (4, 3, 150.0)
    named = (told.false_other_song, told.false_unnamed, told.false_elsewhere)
    assert [[row.song_track_id for row in rows] for rows in named] == [["m2"], ["m3"], ["m1"]]
    assert told.same_by_duplicates == 1
    assert (told.music_s, told.unknown_share) == (80.0, 0.25)


def test_a_copy_stands_for_its_original() -> None:
    copies = [Copy("m1-copy", "m1", "music")]
    rows = [Played("s", "m1-copy", 10.0, 30.0), Played("m1-copy", "m1", 1.0, 60.0)]
    told = songs(rows, [Played("s", "m1", 10.0, 30.0)], copies=copies)
    assert (told.found.right, told.false) == (1, 0)


def test_copies_are_found_directly_or_through_another_track() -> None:
    copies = [Copy(f"{one}-copy", one, "music" if one < "c" else "audiobook") for one in "abcd"]
    rows = [pair("a-copy", "a"), pair("b-copy", "0"), pair("b", "0"), pair("c", "c-copy"), pair("d-copy", "e")]
    told = duplicate_figures(rows, copies)
    assert (told.found.right, told.found.of) == (3, 4)
    assert {kind: one.right for kind, one in told.by_kind.items()} == {"music": 2, "audiobook": 1}
    assert told.missed == ("d-copy",)
    assert told.others == (("0", "b"), ("d", "e"))
    assert duplicate_figures(rows, []).found.share is None


def put_catalogue(folder: Path, samples: dict[str, Any], **said: dict[str, str]) -> Path:
    """A catalogue of these tracks: m* is music, b* an audiobook, p* a podcast; `said` changes the manifest."""
    (folder / "audio").mkdir(parents=True)
    kinds = {"m": "music", "b": "audiobook", "p": "podcast"}
    codecs = ("flac", "mp3", "opus", "wav")
    manifest, truth = [], []
    for number, (track_id, sound) in enumerate(samples.items()):
        codec = codecs[number % len(codecs)]
        uri = f"audio/{track_id}{SUFFIXES[codec]}"
        if len(sound):
            write_audio(folder / uri, sound, sample_rate_hz=SAMPLE_RATE_HZ, codec=codec)
        else:
            (folder / uri).write_bytes(b"<html>404</html>")
        kind, gender = kinds[track_id[0]], "" if track_id[0] == "m" else "f"
        right = {"track_id": track_id, "uri": uri, "title": "A, B", "content_type": kind, "voice_gender": gender}
        row = right | said.get(track_id, {})
        manifest.append(row)
        truth.append(
            {
                "track_id": track_id,
                "content_type": kind,
                "voice_gender": gender,
                "label_error": int(row["content_type"] != kind),
                "playable": int(len(sound) > 0),
            }
        )
    write_csv(folder / "manifest.csv", manifest)
    write_csv(folder / "truth.csv", truth)
    put_songs(folder)
    return folder


def put_songs(folder: Path, *rows: tuple[object, ...]) -> None:
    columns = ("track_id", "song_track_id", "start_s", "end_s", "talk_over")
    lines = [columns, *rows]
    (folder / "songs_truth.csv").write_text("".join(",".join(map(str, line)) + "\n" for line in lines))


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A catalogue that only its files know."""
    sound = np.zeros(SAMPLE_RATE_HZ, np.float32)
    return put_catalogue(tmp_path / "c", dict.fromkeys(("m0", "b0", "p0"), sound), b0={"voice_gender": "male"})


def test_bad_input_is_one_error_that_names_the_file(silent: Path) -> None:
    with pytest.raises(UsageError, match=r"none: no such folder; name one with manifest\.csv, truth\.csv"):
        run_benchmark(silent / "none")
    for line, told in (
        ("m9,m0,1,2,0", r"songs_truth\.csv: row 1: track_id 'm9' is not in manifest\.csv"),
        ("p0,m0,1,soon,0", r"songs_truth\.csv: row 1: end_s 'soon'; expected seconds"),
        ("p0,m0,2,1,0", r"songs_truth\.csv: row 1: end_s 1\.0 is not after start_s 2\.0"),
        ("p0,m0,1,2,yes", r"songs_truth\.csv: row 1: talk_over 'yes'; expected 0 or 1"),
        ("p0,m0,1,2,0,9", r"songs_truth\.csv: row 1 has more values than there are columns"),
    ):
        put_songs(silent, tuple(line.split(",")))
        with pytest.raises(UsageError, match=told):
            run_benchmark(silent)
    put_songs(silent)
    with pytest.raises(UsageError, match=r"s3://b/w: copies of tracks lie beside the warehouse"):
        run_benchmark(silent, warehouse="s3://b/w")
    text = (silent / "truth.csv").read_text()
    (silent / "truth.csv").write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(UsageError, match=r"truth\.csv: no row for track 'p0' of manifest\.csv"):
        run_benchmark(silent)
    (silent / "truth.csv").write_text(text.replace("label_error", "error"))
    with pytest.raises(UsageError, match=r"truth\.csv: column 'label_error' is missing; it needs .* and has track_id"):
        run_benchmark(silent)
    (silent / "truth.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"truth\.csv: cannot be read: it is not UTF-8"):
        run_benchmark(silent)
    (silent / "truth.csv").unlink()
    with pytest.raises(UsageError, match=r"truth\.csv: no such file; a catalogue has manifest\.csv"):
        run_benchmark(silent)
    assert not (silent / "warehouse").exists()


def test_copies_sound_alike_and_lie_beside_the_warehouse(tmp_path: Path) -> None:
    sounds = {"m0": song(1), "m1": song(2), "b0": voices(20.0), "b1": voices(20.0), "p0": voices(20.0)}
    folder = put_catalogue(tmp_path / "c", sounds, m1={"content_type": "audiobook"}, b1={"voice_gender": "m"})
    copied = with_copies(read_catalogue(folder), tmp_path / "w-copies", 12)
    assert copied.copies == (Copy("m0-copy", "m0", "music"), Copy("b0-copy", "b0", "audiobook"))
    again = read_catalogue(folder)
    uris = {row["track_id"]: Path(row["uri"]) for row in copied.rows}
    assert all(uri.is_absolute() and uri.is_file() for uri in uris.values())
    assert len(uris) == len(again.rows) + 2
    assert copied.manifest == tmp_path / "w-copies" / "manifest.csv"
    assert copied.truth["m0-copy"] == again.truth["m0"]
    was, now = read_pcm(uris["m0"]).astype(float), read_pcm(uris["m0-copy"]).astype(float)
    assert uris["m0"].suffix != uris["m0-copy"].suffix
    late = len(now) - len(was)
    assert 0.9 < late / SAMPLE_RATE_HZ < 2.2
    assert np.sqrt(np.mean(now**2)) < 0.8 * np.sqrt(np.mean(was**2))
    stamp = uris["m0-copy"].stat().st_mtime_ns
    with_copies(read_catalogue(folder), tmp_path / "w-copies", 12)
    assert uris["m0-copy"].stat().st_mtime_ns == stamp, "a second time nothing looks changed"
    (folder / "audio" / "m0.flac").write_bytes(b"")
    with pytest.raises(UsageError, match=r"m0\.flac: cannot be copied \(.*\); restore it, correct truth\.csv"):
        with_copies(read_catalogue(folder), tmp_path / "w-copies", 12)


def flag(track_id: str, field: str, state: str = "new", **columns: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("flag_id", "run_id", "reason", "first_seen_run", "uri"), "x")
    return {
        **empty,
        "track_id": track_id,
        "kind": "mislabelled",
        "field": field,
        "confidence": 0.9,
        "evidence": [],
        "state": state,
        **columns,
    }


def test_tables_are_compared_with_the_truth(silent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_songs(silent, ("p0", "m0", 10, 20, 0))
    flags = [
        flag("b0", "voice_gender", "open"),
        flag("p0", "voice_gender", "dismissed"),
        flag("m0", "content_type"),
        flag("m0", "content_type", kind="mixed_content"),
    ]
    cut = {"run_id": "r", "kind": "mislabelled", "confidence": 0.9, "flags": 1, "expected_precision": 0.9}
    match = {"rate": 1.0, "pitch_semitones": 0.0, "score": 40.0, "expected_false_matches": 0.0, "run_id": "r"}
    row = {"track_id": "p0", "song_track_id": "m0", "start_s": 9.5, "end_s": 20.0, "song_start_s": 0.0, **match}
    searched = {"track_id": "p0", "run_id": "r", "track_run_id": "t", "searched_s": 60.0, "known_s": 10.5}
    statuses = {"m0": "tagged", "b0": "quarantined", "p0": "tagged", "old": "tagged"}
    tables = Tables(
        tracks=pa.Table.from_pylist(
            [{"track_id": one, "status": status, "duration_s": 1800.0} for one, status in statuses.items()]
        ),
        songs=pa.Table.from_pylist([row], schema=SONGS),
        duplicates=DUPLICATES.empty_table(),
        searches=pa.Table.from_pylist(
            [{**searched, "music_s": 21.0, "unknown_s": 10.5, "stretches": [], "music": []}], schema=SEARCHES
        ),
        flags=pa.Table.from_pylist(flags, schema=FLAGS),
        flag_precision=pa.Table.from_pylist(
            [{**cut, "field": field, "low": 0.2, "high": 1.0, "is_cut": field == "voice_gender"}
             for field in ("voice_gender", "content_type")], schema=FLAG_PRECISION,
        ),
    )  # fmt: skip
    told = measure(read_catalogue(silent), tables, seconds={"tag": 1.0})
    assert (told.tracks, told.hours, told.quarantined_though_playable, told.exit_code) == (3, 1.5, ("b0",), 3)
    content, gender = told.labels
    assert (content.errors, content.flags, content.wrong, content.expected_interval) == (0, 1, ("m0",), None)
    assert (gender.errors, gender.precision.share, gender.recall.share, gender.inside) == (1, 1.0, 1.0, True)
    assert (told.songs.found.right, told.songs.hours, told.songs.unknown_share) == (1, 0.5, 0.5)
    show(told)
    shown = capsys.readouterr().out
    assert "3 tracks, 1.50 h of audio; 1 quarantined, of which should play: b0" in shown
    assert "Wrong labels of voice_gender: 1, 1 flag" in shown
    assert "100.0 % (1 of 1; 20.7 to 100.0), median 0.50 s off" in shown
    assert "seconds: tag 1.0" in shown


@pytest.mark.xdist_group("ray_commands")
def test_a_tiny_catalogue_from_end_to_end(tmp_path: Path) -> None:
    sounds = {
        **{f"m{number}": song(number) for number in (1, 2, 3)},
        "b0": voices(40.0),
        "p0": a_show((excerpt(1, 5.0, 19.0), 10.2), (excerpt(3, 8.0, 22.0), 35.1)).samples,
        "p1": np.concatenate([voices()[-20 * SAMPLE_RATE_HZ :], 0.5 * excerpt(2, 4.0, 20.0), voices(15.0)]),
        "m9": np.zeros(0, np.float32),
    }
    folder = put_catalogue(tmp_path / "c", sounds, m2={"content_type": "audiobook"})
    put_songs(folder, ("p0", "m1", 10.2, 24.2, 0), ("p0", "m3", 35.1, 49.1, 0), ("p1", "m2", 20.0, 36.0, 0))
    done = command(str(folder), "--copies", "3", "--json", program=PROGRAM)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["tracks"], told["quarantined"], told["quarantined_though_playable"]) == (10, 1, [])
    assert [(one["field"], one["errors"]) for one in told["labels"]] == [("content_type", 1), ("voice_gender", 0)]
    assert told["songs"]["found"]["right"] == told["songs"]["found"]["of"] == 3
    assert told["songs"]["false"] == 0
    assert told["songs"]["starts"]["median_s"] < 1.0
    assert (told["duplicates"]["found"]["right"], told["duplicates"]["others"]) == (3, [])
    assert set(told["duplicates"]["by_kind"]) == {"music", "audiobook"}
    assert set(told["seconds"]) == {"tag", "songs", "reconcile"}
    assert (folder / "warehouse-copies" / "manifest.csv").is_file()
    refused = command(str(tmp_path / "none"), program=PROGRAM)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder; ")
