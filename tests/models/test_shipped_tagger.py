"""The bundle `tagger`, as it ships."""

from __future__ import annotations

import torch

from catalog_tagger.models.bundle import SHIPPED, load_bundle

ESC_10 = {
    "baby_cry",
    "chainsaw",
    "clock_tick",
    "dog_bark",
    "fire_crackling",
    "helicopter",
    "person_sneeze",
    "rain",
    "rooster",
    "sea_waves",
}


def test_it_tells_speech_music_sounds_and_instruments_on_the_shared_front_end() -> None:
    bundle = load_bundle("tagger")
    assert bundle.task == "tags"
    assert {"speech", "music", "flute", "cello"} | ESC_10 <= set(bundle.labels)
    assert bundle.frontend_key == load_bundle("speech_music").frontend_key
    probabilities, embedding = bundle.outputs(bundle.frontend(torch.zeros(1, 80000)))
    assert probabilities.shape == (1, len(bundle.labels))
    assert float(probabilities.max()) < 0.5  # silence is none of them
    assert embedding is not None
    assert embedding.shape == (1, 128)


def test_it_is_small_and_its_card_has_figures_with_intervals_and_licences() -> None:
    files = [path for path in (SHIPPED / "tagger").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5_000_000
    card = load_bundle("tagger").card
    for split in ("validation", "test"):
        top = card["figures"][split]["clips"]["top"]
        assert top["wilson"][0] < top["share"] <= top["wilson"][1]
    assert all(row["licences"] for row in card["training_sources"])
    assert card["limits"]
