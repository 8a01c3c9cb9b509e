"""The stretches that speak most for a claim."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from catalog_tagger.reconcile.claims import CLAIMS
from catalog_tagger.reconcile.evidence import MOST, find_evidence
from catalog_tagger.tables.schemas import SEGMENTS


def evidence_of(claims: list[dict[str, Any]], segments: list[dict[str, Any]]) -> list[Any]:
    with duckdb.connect() as connection:
        rows = [{"run_id": "t1", **row} for row in segments]
        connection.register("segments_history", pa.Table.from_pylist(rows, schema=SEGMENTS))
        given = [{"track_run_id": "t1", **claim} for claim in claims]
        found: list[Any] = find_evidence(connection, pa.Table.from_pylist(given, schema=CLAIMS)).to_pylist()
        return found


def segment(i: int, track_id: str = "a", **scores: Any) -> dict[str, Any]:
    return {"track_id": track_id, "start_s": 5.0 * i, "end_s": 5.0 * i + 5.0, "p_speech": 0.1, "p_music": 0.1, **scores}


def test_neighbours_are_one_stretch_and_the_longest_come_in_order_of_time() -> None:
    music = [0, 1, 2, 4, 6, 7, 9, 11, 13, 14, 15]  # seven stretches, four of one segment
    segments = [segment(i, p_music=0.9 if i in music else 0.2) for i in range(17)]
    (found,) = evidence_of([{"track_id": "a", "cue": "music"}], segments)
    assert len(found) == MOST
    times = [(one["start_s"], one["end_s"]) for one in found]
    assert times == [(0.0, 15.0), (20.0, 25.0), (30.0, 40.0), (45.0, 50.0), (65.0, 80.0)]
    assert {one["name"]: one["score"] for one in found[0]["scores"]} == pytest.approx({"speech": 0.1, "music": 0.9})


def test_where_nothing_is_likely_the_likeliest_is_given() -> None:
    segments = [segment(i, p_music=0.3 if i == 2 else 0.1) for i in range(4)]
    (found,) = evidence_of([{"track_id": "a", "cue": "music"}], segments)
    assert [(one["start_s"], one["end_s"]) for one in found] == [(10.0, 15.0)]


def test_every_claim_has_its_own_cue_and_what_it_brings_stays() -> None:
    tags = [{"tag": "rain", "score": 0.75}]
    segments = [
        segment(0, p_speech=0.9, p_female=0.25, tags=tags),
        segment(1, p_speech=0.9, p_female=0.75),
        segment(0, "b", p_speech=0.9),
        {**segment(5, p_music=0.9), "run_id": "older"},
    ]
    given = [{"start_s": 1.0, "end_s": 2.0, "scores": [{"name": "score", "score": 4.0}]}]
    found = evidence_of(
        [
            {"track_id": "a", "cue": "male"},
            {"track_id": "b", "evidence": given},
            {"track_id": "a", "cue": "tag:rain"},
            {"track_id": "a"},
            {"track_id": "b", "cue": "male"},
            {"track_id": "a", "cue": "other"},
        ],
        segments,
    )
    speech, music = ({"name": "speech", "score": pytest.approx(0.9)}, {"name": "music", "score": pytest.approx(0.1)})
    assert found[0] == [{"start_s": 0.0, "end_s": 5.0, "scores": [speech, music, {"name": "male", "score": 0.75}]}]
    assert found[1] == given
    assert found[2] == [{"start_s": 0.0, "end_s": 5.0, "scores": [speech, music, {"name": "rain", "score": 0.75}]}]
    assert found[3] == found[4] == []
    assert found[5] == [{"start_s": 0.0, "end_s": 10.0, "scores": [speech, music]}]


def test_no_claims_have_no_evidence() -> None:
    assert evidence_of([], [segment(0)]) == []
