"""The job with one bundle of each task: columns of all of them in one pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import BROKEN, TRACKS
from job_runs import CONFIDENCE_TOLERANCE, SCORE_TOLERANCE, by_track, rows, run

from catalog_tagger import Tagger
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.estimate import plan_only
from catalog_tagger.tagging.job import RunResult

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]

COLUMNS = "content_type, voice_gender, voice_gender_confidence, tags, embedding, bundles"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse") / "w"


@pytest.fixture(scope="module")
def done(local_ray: None, catalogue: Path, bundles: tuple[str, ...], warehouse: Path) -> RunResult:
    # fewer segments to a batch than tracks have, so that batches are filled across tracks
    return run(catalogue, warehouse, bundles, shard_tracks=5, batch_segments=4)


def listed(tags: list[dict[str, Any]]) -> dict[str, float]:
    return {entry["tag"]: entry["score"] for entry in tags}


def test_rows_hold_what_a_tagger_with_the_same_bundles_hears(
    done: RunResult, warehouse: Path, catalogue: Path, bundles: tuple[str, ...]
) -> None:
    tagger = Tagger(bundles, precision="float32")
    found = by_track(warehouse, COLUMNS)
    for name in TRACKS:
        result, row = tagger.tag(catalogue / name), found[name]
        assert row["bundles"] == tagger.scorer.bundles.ids
        assert (row["content_type"], row["voice_gender"]) == (result.content_type, result.voice_gender)
        confidence = result.voice_gender_confidence
        assert row["voice_gender_confidence"] == pytest.approx(confidence, abs=CONFIDENCE_TOLERANCE)
        assert listed(row["tags"]) == pytest.approx(result.tags, abs=SCORE_TOLERANCE)
        np.testing.assert_allclose(row["embedding"], result.embedding, atol=SCORE_TOLERANCE)
        heard = pd.DataFrame(rows(warehouse, f"SELECT * FROM segments WHERE track_id = '{name}' ORDER BY start_s"))
        expected = result.segments()
        columns = ["p_speech", "p_music", "p_female"]
        np.testing.assert_allclose(heard[columns].astype(float), expected[columns], atol=SCORE_TOLERANCE)
        for mine, other in zip(heard["tags"], expected["tags"], strict=True):
            assert listed(mine) == pytest.approx(other, abs=0.0101)


def test_tracks_differ_so_that_mixing_them_up_would_show(done: RunResult, warehouse: Path) -> None:
    (spread,) = rows(warehouse, "SELECT stddev(p_female) AS f, count(p_female) AS n, count(*) AS all FROM segments")
    assert spread["f"] > 0.02
    assert 0 < spread["n"] < spread["all"], "a voice in some segments, none in others"
    assert {"female", "male"} & {row["voice_gender"] for row in by_track(warehouse, "voice_gender").values()}
    (spread,) = rows(warehouse, "SELECT stddev(score) AS s, count(DISTINCT tag) AS tags FROM track_tags")
    assert spread["s"] > 0.02
    assert spread["tags"] == 3
    embeddings = [row["embedding"] for row in by_track(warehouse, "embedding").values() if row["embedding"]]
    assert np.std(embeddings, axis=0).max() > 0.02


def test_quarantined_rows_say_nothing(done: RunResult, warehouse: Path) -> None:
    found = by_track(warehouse, COLUMNS)
    for name in BROKEN:
        *columns, _ = found[name].values()
        assert columns[1:] == [None] * 5


def test_the_manifest_counts_what_was_heard(done: RunResult, warehouse: Path) -> None:
    assert done.manifest is not None
    for column in ("content_type", "voice_gender"):
        counted = rows(
            warehouse, f"SELECT {column} AS what, count(*) AS n FROM tracks WHERE status = 'tagged' GROUP BY 1"
        )
        assert done.manifest.heard[column] == {row["what"]: row["n"] for row in counted}
    counted = rows(warehouse, "SELECT tag, count(*) AS n FROM track_tags WHERE score >= 0.5 GROUP BY 1")
    assert done.manifest.heard["tags"] == {row["tag"]: row["n"] for row in counted}


def test_another_order_of_bundles_is_nothing_new_and_another_set_is(
    done: RunResult, warehouse: Path, catalogue: Path, bundles: tuple[str, ...]
) -> None:
    again = run(catalogue, warehouse, bundles[::-1], run_id="r2")
    assert (again.state, again.up_to_date) == ("nothing_to_do", len(TRACKS) + len(BROKEN))
    fewer = make_config(source=str(catalogue), warehouse=str(warehouse), bundles=bundles[:2])
    assert plan_only(fewer).tracks == len(TRACKS) + len(BROKEN)
