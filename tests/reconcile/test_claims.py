"""Each kind of flag, from a catalogue made by hand."""

from pathlib import Path
from typing import Any

import pytest
from hand_made import match, put_run, put_tracks, quarantined, some_metadata, some_tracks, track, write_csv

from catalog_tagger.reconcile.config import make_config
from catalog_tagger.reconcile.job import ReconcileResult, run_reconcile
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "w")


def reconciled(store: Store, tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> ReconcileResult:
    metadata = write_csv(tmp_path / "metadata.csv", rows)
    return run_reconcile(make_config(warehouse=store.uri, metadata=metadata, **options))


def flags_of(result: ReconcileResult, kind: str) -> list[dict[str, Any]]:
    return [row for row in result.flags.to_pylist() if row["kind"] == kind]


def test_a_label_that_the_audio_contradicts_is_flagged_with_where_to_listen(store: Store, tmp_path: Path) -> None:
    put_tracks(store, some_tracks())
    result = reconciled(store, tmp_path, some_metadata(m05="Audiobook ", b03="song"))
    found = {row["track_id"]: row for row in flags_of(result, "mislabelled")}
    assert set(found) == {"m05", "b03"}
    flag = found["m05"]
    assert (flag["field"], flag["current_value"], flag["suggested_value"]) == ("content_type", "Audiobook", "music")
    assert 0.95 < flag["confidence"] < 1
    assert flag["reason"] == "metadata say 'Audiobook' (speech); speech is heard in 0 % of it, music in 100 %"
    assert (flag["state"], flag["first_seen_run"], flag["run_id"]) == ("new", result.run_id, result.run_id)
    assert (flag["audio_etag"], flag["uri"]) == ("1", "/audio/m05")
    (stretch,) = flag["evidence"]
    assert (stretch["start_s"], stretch["end_s"]) == (0.0, 20.0)
    assert {one["name"]: one["score"] for one in stretch["scores"]} == pytest.approx({"speech": 0.02, "music": 0.98})


def test_the_tables_hold_what_the_result_says(store: Store, tmp_path: Path) -> None:
    put_tracks(store, some_tracks())
    result = reconciled(store, tmp_path, some_metadata(m05="audiobook", b03="song"))
    asked = "SELECT * FROM flags ORDER BY confidence DESC, flag_id"
    assert query(store, asked).to_pylist() == sorted(
        result.flags.to_pylist(), key=lambda row: (-row["confidence"], row["flag_id"])
    )
    assert query(store, "SELECT count(*) AS n FROM label_noise").to_pylist() == [{"n": len(result.label_noise)}]
    (cut,) = query(store, "SELECT * FROM flag_precision WHERE is_cut").to_pylist()
    assert (cut["kind"], cut["field"], cut["flags"]) == ("mislabelled", "content_type", 2)
    assert cut["low"] < cut["expected_precision"] < cut["high"]
    assert cut["expected_precision"] >= 0.95
    (run,) = query(store, "SELECT run_id, tracks FROM runs WHERE kind = 'reconcile'").to_pylist()
    assert run == {"run_id": result.run_id, "tracks": 60}


def test_label_noise_is_told_by_the_value_of_the_metadata(store: Store, tmp_path: Path) -> None:
    put_tracks(store, some_tracks())
    result = reconciled(store, tmp_path, some_metadata(m05="audiobook"))
    noise = {
        (row["current_value"], row["true_value"]): (row["tracks"], row["expected"])
        for row in result.label_noise.to_pylist()
        if row["field"] == "content_type"
    }
    assert noise["audiobook", "music"] == (21, pytest.approx(1, abs=0.2))
    assert noise["song", "speech"] == (29, pytest.approx(0, abs=0.2))
    assert {value for value, _ in noise} == {"song", "audiobook", "podcast"}


def test_speech_over_a_song_is_mixed_content_and_a_podcast_with_music_is_fine(store: Store, tmp_path: Path) -> None:
    rows = [track(row["track_id"], "mixed") if row["track_id"] in ("m01", "m02") else row for row in some_tracks()]
    put_tracks(store, rows)
    result = reconciled(store, tmp_path, some_metadata())
    assert {row["track_id"] for row in flags_of(result, "mixed_content")} == {"m01", "m02"}
    assert flags_of(result, "mislabelled") == []
    flag = flags_of(result, "mixed_content")[0]
    assert (flag["current_value"], flag["suggested_value"]) == ("song", "mixed")
    assert flag["evidence"][0]["scores"][0] == {"name": "speech", "score": pytest.approx(0.9)}


def test_an_empty_label_is_missing_where_something_is_heard(store: Store, tmp_path: Path) -> None:
    put_tracks(store, [*some_tracks(), track("u", sure=0.4)])
    rows = [*some_metadata(m07=" ", b07=""), {"track_id": "u", "title": "", "content_type": "", "voice_gender": ""}]
    for row in rows:
        if row["track_id"] in ("b08", "m08"):
            row["voice_gender"] = ""
    result = reconciled(store, tmp_path, rows)
    found = {(row["track_id"], row["field"], row["suggested_value"]) for row in flags_of(result, "missing_label")}
    assert found == {
        ("m07", "content_type", "music"),
        ("b07", "content_type", "speech"),
        ("b08", "voice_gender", "female"),
    }
    assert all(row["current_value"] is None for row in flags_of(result, "missing_label"))


def test_the_wrong_gender_of_a_narrator_is_flagged(store: Store, tmp_path: Path) -> None:
    rows = some_tracks()
    rows[30] |= {"voice_gender": "male", "voice_gender_confidence": 0.9999}
    rows += [track(f"c{i}", "speech", voice_gender="female", voice_gender_confidence=0.99) for i in range(20)]
    put_tracks(store, rows)
    said = [{"track_id": f"c{i}", "title": "", "content_type": "audiobook", "voice_gender": "F"} for i in range(20)]
    result = reconciled(store, tmp_path, [*some_metadata(), *said], precision=0.8)
    (flag,) = flags_of(result, "mislabelled")
    assert (flag["track_id"], flag["field"], flag["suggested_value"]) == ("b00", "voice_gender", "male")
    assert flag["reason"] == "metadata say 'f' (female); the voice is male"


def test_voices_that_are_unknown_say_nothing(store: Store, tmp_path: Path) -> None:
    rows = [row | {"voice_gender": "unknown", "voice_gender_confidence": 0.99} for row in some_tracks()]
    put_tracks(store, rows)
    result = reconciled(store, tmp_path, some_metadata())
    assert len(result.flags) == 0
    assert "voice_gender" not in result.label_noise["field"].to_pylist()


def test_a_tag_that_is_not_heard_is_flagged(store: Store, tmp_path: Path) -> None:
    def heard(track_id: str, tag: str) -> dict[str, Any]:
        return track(track_id, "other", tags=[{"tag": tag, "score": 0.96}, {"tag": "speech", "score": 0.5}])

    put_tracks(store, [heard(f"r{i}", "rain") for i in range(25)] + [heard(f"d{i}", "dog_bark") for i in range(25)])
    mapping = tmp_path / "map.yaml"
    mapping.write_text("fields: {tags: {column: genre, values: {rain: [storm], dog_bark: [dogs]}}}", encoding="utf-8")
    rows = [{"id": f"{kind}{i}", "genre": genre} for kind, genre in (("r", "storm"), ("d", "dogs")) for i in range(25)]
    rows[3]["genre"] = "Dogs"
    rows[4]["genre"] = ""
    result = reconciled(store, tmp_path, rows, mapping=str(mapping), precision=0.8)
    (wrong,) = flags_of(result, "mislabelled")
    assert (wrong["track_id"], wrong["current_value"], wrong["suggested_value"]) == ("r3", "Dogs", "rain")
    assert wrong["reason"] == "metadata say 'Dogs' (dog_bark); rain is heard"
    assert {"name": "rain", "score": pytest.approx(0.96)} in wrong["evidence"][0]["scores"]
    (missing,) = flags_of(result, "missing_label")
    assert (missing["track_id"], missing["suggested_value"]) == ("r4", "rain")


def test_songs_and_duplicates_that_were_found_are_flags(store: Store, tmp_path: Path) -> None:
    put_tracks(store, some_tracks())
    songs = [
        match("p01", {"song_track_id": "m01"}, start_s=300.0),
        match("p01", {"song_track_id": "m01"}, start_s=60.0) | {"rate": 1.02, "pitch_semitones": -1.0},
        match("p02", {"song_track_id": "m02"}, e=50.0),
    ]
    copies = [match("m03", {"other_track_id": "m02"}), match("m05", {"other_track_id": "m04"})]
    put_run(store, "s1", "songs", {"songs": songs, "duplicates": copies}, minute=1)
    rows = some_metadata()
    for row in rows:
        row["title"] = "One" if row["track_id"] in ("m04", "m05") else row["title"]
    result = reconciled(store, tmp_path, rows)
    found = flags_of(result, "embedded_song")
    assert [(row["track_id"], row["suggested_value"]) for row in found] == [("p01", "m01"), ("p01", "m01")]
    assert len({row["flag_id"] for row in found}) == 2
    reasons = {row["reason"] for row in found}
    assert "plays m01 from 5:00 to 5:20, its part from 0:05 on" in reasons
    assert "plays m01 from 1:00 to 1:20, its part from 0:05 on (+2.0% in speed, -1.0 semitones)" in reasons
    assert {row["evidence"][0]["start_s"] for row in found} == {300.0, 60.0}
    twins = {row["track_id"]: row for row in flags_of(result, "duplicate_audio")}
    assert twins["m03"]["reason"] == "the same recording as m02, yet other metadata: title"
    assert twins["m03"]["current_value"] == "title: Title m03"
    assert twins["m05"]["reason"] == "the same recording as m04, and the same metadata"
    assert twins["m05"]["suggested_value"] == "m04"


def test_listed_tracks_that_do_not_play_are_flags(store: Store, tmp_path: Path) -> None:
    put_tracks(store, [*some_tracks(), quarantined("x1"), quarantined("x2")])
    rows = [*some_metadata(), {"track_id": "x1", "title": "", "content_type": "song", "voice_gender": ""}]
    (flag,) = flags_of(reconciled(store, tmp_path, rows), "unplayable")
    assert (flag["track_id"], flag["confidence"], flag["reason"]) == ("x1", 1.0, "not_audio: no container")
    assert (flag["field"], flag["evidence"]) == (None, [])


def test_rows_of_before_there_were_probabilities_count_by_their_confidence(store: Store, tmp_path: Path) -> None:
    put_tracks(store, [row | {"content_probabilities": None} for row in some_tracks()])
    result = reconciled(store, tmp_path, some_metadata(m05="audiobook", b03="song"))
    assert {row["track_id"] for row in flags_of(result, "mislabelled")} == {"m05", "b03"}


def test_metadata_of_one_kind_alone_are_judged(store: Store, tmp_path: Path) -> None:
    put_tracks(store, [track(f"m{i}", "speech" if i == 0 else "music") for i in range(40)])
    rows = [{"id": f"m{i}", "type": "song"} for i in range(40)]
    result = reconciled(store, tmp_path, rows, precision=0.9)
    assert [row["track_id"] for row in flags_of(result, "mislabelled")] == ["m0"]


def test_what_agrees_has_no_flags(store: Store, tmp_path: Path) -> None:
    put_tracks(store, some_tracks())
    result = reconciled(store, tmp_path, some_metadata())
    assert len(result.flags) == len(result.flag_precision) == 0
    assert query(store, "SELECT count(*) AS n FROM flags").to_pylist() == [{"n": 0}]


def test_ids_that_do_not_meet_and_values_that_are_unknown_are_told(store: Store, tmp_path: Path) -> None:
    put_tracks(store, [*some_tracks(), track("alone"), track("alone too")])
    strangers = [{"track_id": f"z{i}", "title": "", "content_type": "song", "voice_gender": ""} for i in range(5)]
    result = reconciled(store, tmp_path, [*some_metadata(m01="Polka", m02="polka ", m03="waltz"), *strangers])
    found = result.coverage
    assert (found.matched, found.unknown_ids, found.without_metadata) == (60, 5, 2)
    assert found.unknown == ("z0", "z1", "z2")
    assert {key.lower(): count for key, count in result.unmapped["content_type"].items()} == {"polka": 2, "waltz": 1}
    assert flags_of(result, "mislabelled") == []
