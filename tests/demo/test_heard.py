import csv
from pathlib import Path

import pytest

from catalog_tagger.audio import SEGMENT_S, cut_segments, read_pcm
from catalog_tagger.demo import make_demo_catalogue
from catalog_tagger.models.bundle import shipped_bundles
from catalog_tagger.tagging.tagger import Scorer


@pytest.mark.skipif("speech_music" not in shipped_bundles(), reason="the speech_music bundle is not in this checkout")
@pytest.mark.xdist_group("demo_catalogue")
def test_the_shipped_model_hears_the_demo_for_what_it_is(tmp_path: Path) -> None:
    catalogue = make_demo_catalogue(tmp_path)
    with catalogue.manifest.open(encoding="utf-8", newline="") as file:
        uris = {row["track_id"]: row["uri"] for row in csv.DictReader(file)}
    with catalogue.truth.open(encoding="utf-8", newline="") as file:
        truth = [row for row in csv.DictReader(file) if row["content_type"] in {"music", "speech"}]
    scorer = Scorer(["speech_music"], device="cpu")
    for row in truth:
        segments = cut_segments(read_pcm(tmp_path / uris[row["track_id"]]))
        whole = segments[: int(float(row["duration_s"]) // SEGMENT_S)]
        p_speech, p_music = scorer.score(whole).presence.T
        wanted, other = (p_music, p_speech) if row["content_type"] == "music" else (p_speech, p_music)
        assert (wanted >= 0.5).mean() > 0.7, f"{row['track_id']} is {row['content_type']}: {wanted.round(2)}"
        assert (wanted > other).mean() > 0.7, f"{row['track_id']} is {row['content_type']}: {other.round(2)} otherwise"
