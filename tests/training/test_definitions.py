"""What counts as right, task by task, on items made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import load_bundle, save_bundle
from catalog_tagger.models.calibration import Calibration
from catalog_tagger.tagging.content import judge
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.definitions import (
    SpeechMusicDefinitions,
    TagsDefinitions,
    VoiceGenderDefinitions,
    definitions_of,
)
from catalog_tagger.training.figures import details, figures
from catalog_tagger.training.items import Items
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.metrics import d_prime

NAN = float("nan")


def clip(role: str, label: str = "", **values: str) -> Clip:
    """A clip of which only what is given is known."""
    known = {"path": Path("x.wav"), "split": "test", "source": "s", "original_path": "x.wav", "speaker": ""}
    return Clip(**{**known, "role": role, "label": label, "licence": "", "duration_s": 5.0, **values})  # type: ignore[arg-type]


def items(values: list[list[float]], truth: list[list[float]], sources: str = "", languages: str = "") -> Items:
    """One segment of five seconds per item."""
    n = len(values)
    return Items(
        heard=np.array(values, np.float32),
        owner=np.arange(n),
        seconds=np.full(n, 5.0, np.float32),
        truth=np.array(truth, np.float32),
        sources=tuple(sources or "s" * n),
        languages=tuple(languages or [""] * n),
    )


def test_an_item_is_the_mean_of_its_segments_by_their_length() -> None:
    two = Items(
        heard=np.array([[1.0, 0.0], [0.0, 1.0], [0.3, 0.3]], np.float32),
        owner=np.array([1, 1, 0]),
        seconds=np.array([5.0, 1.0, 2.0], np.float32),
        truth=np.zeros((2, 2), np.float32),
        sources=("s", "s"),
        languages=("", ""),
    )
    np.testing.assert_allclose(two.values, [[0.3, 0.3], [5 / 6, 1 / 6]], rtol=1e-6)


@pytest.mark.parametrize(
    ("role", "label", "truth"),
    [
        ("speech", "", (1.0, 0.0)),
        ("music", "", (0.0, 1.0)),
        ("noise", "rain", (0.0, 0.0)),
        ("music", "speech; music", (1.0, 1.0)),
        ("speech", "left_out", (NAN, NAN)),
        ("tag", "instrument_oboe", (0.0, NAN)),
        ("tag", "", (NAN, NAN)),
        ("tag", "podcast", (NAN, NAN)),
        ("tag", "guitar", (NAN, NAN)),
        ("tag", "music; guitar", (NAN, 1.0)),
        ("tag", "Speech; rain", (1.0, NAN)),
        ("tag", "Music; SPEECH", (1.0, 1.0)),
        ("tag", "door_slam", (0.0, 0.0)),
        ("tag", "door_slam; speech", (1.0, NAN)),
    ],
)
def test_truth_of_speech_and_music(role: str, label: str, truth: tuple[float, float]) -> None:
    config = ClipConfig(exclude=("left_*",), notes=("instrument_*",), neither=("door_*",))
    np.testing.assert_array_equal(SpeechMusicDefinitions(config).truth(clip(role, label)), truth)


def test_speech_and_music_are_right_by_both_definitions() -> None:
    heard = items(
        [[0.9, 0.6], [0.4, 0.3], [0.1, 0.2], [0.9, 0.8], [0.9, 0.1]],
        [[1, 0], [1, 0], [0, 0], [1, 1], [0, NAN]],
    )
    definitions = SpeechMusicDefinitions()
    shares = definitions.shares(heard)
    right, counted = shares["two_class"]
    assert counted.tolist() == [True, True, False, False, False]
    assert right[counted].tolist() == [True, True]
    right, counted = shares["presence"]
    assert counted.tolist() == [True, True, True, True, False]
    assert right[counted].tolist() == [False, False, True, True]
    assert shares["neither"][1].tolist() == [False, False, True, False, False]
    assert definitions.true_class(heard).tolist() == [0, 0, 3, 2, -1]
    assert definitions.said_class(heard).tolist() == [2, 3, 3, 2, 0]


def test_a_clip_is_called_what_the_tables_call_it() -> None:
    speech, music = [0.9, 0.1], [0.1, 0.95]
    segments = [speech] * 3 + [music] + [speech] + [music] * 7 + [[0.55, 0.1]] + [[0.2, 0.1]] * 2
    owner = [0] * 4 + [1] * 8 + [2] * 3
    clips = Items(
        heard=np.array(segments, np.float32),
        owner=np.array(owner),
        seconds=np.full(len(owner), 5.0, np.float32),
        truth=np.array([[1, 1], [0, 1], [1, 0]], np.float32),
        sources=("s",) * 3,
        languages=("",) * 3,
    )
    definitions = SpeechMusicDefinitions()
    heard = [judge(*clips.heard[clips.owner == at].T, np.full(owner.count(at), 5.0)).content_type for at in range(3)]
    assert heard == ["mixed", "music", "speech"]
    assert definitions.said_class(clips).tolist() == [2, 1, 0]
    right, counted = definitions.shares(clips)["content_type"]
    assert (right.tolist(), counted.tolist()) == ([True] * 3, [True] * 3)
    assert definitions.shares(clips)["presence"][0].tolist() == [False, True, False]  # by the mean, as ever
    assert details(definitions, clips)["confusion"]["counts"][2] == [0, 0, 1, 0]


def test_truth_of_a_voice_is_its_gender_where_somebody_speaks() -> None:
    definitions = VoiceGenderDefinitions({})
    np.testing.assert_array_equal(definitions.truth(clip("speech", gender="f")), (1.0, 1.0))
    np.testing.assert_array_equal(definitions.truth(clip("speech", gender="m")), (0.0, 1.0))
    np.testing.assert_array_equal(definitions.truth(clip("speech")), (NAN, 1.0))
    np.testing.assert_array_equal(definitions.truth(clip("music", gender="f")), (NAN, 0.0))
    np.testing.assert_array_equal(definitions.truth(clip("tag", "speech; rain", gender="f")), (1.0, 1.0))
    np.testing.assert_array_equal(definitions.truth(clip("tag", "guitar")), (NAN, NAN))
    notes = VoiceGenderDefinitions({}, ClipConfig(notes=("horn",)))
    np.testing.assert_array_equal(notes.truth(clip("tag", "horn")), (NAN, NAN))


def test_voices_are_judged_as_the_tables_judge_them() -> None:
    heard = items(
        [[0.95, 0.99], [0.55, 0.99], [0.99, 0.99], [0.5, 0.01], [0.9, 0.9]],
        [[1, 1], [1, 1], [0, 1], [NAN, 0], [NAN, 1]],
    )
    definitions = VoiceGenderDefinitions({"abstain_below": 0.8})
    shares = {name: right[counted].tolist() for name, (right, counted) in definitions.shares(heard).items()}
    assert shares == {
        "gender": [True, True, False],
        "verdict": [True, False, False],
        "right_if_decided": [True, False],
        "voiceless_unknown": [True],
    }
    assert definitions.true_class(heard).tolist() == [0, 0, 1, 3, -1]
    assert definitions.said_class(heard).tolist() == [0, 3, 0, 3, 0]


def test_segments_without_a_voice_say_nothing_of_its_gender() -> None:
    heard = Items(
        heard=np.array([[0.1, 0.01], [0.1, 0.01], [0.9, 0.99]], np.float32),
        owner=np.zeros(3, np.int64),
        seconds=np.full(3, 5.0, np.float32),
        truth=np.array([[1, 1]], np.float32),
        sources=("s",),
        languages=("",),
    )
    assert VoiceGenderDefinitions({}).shares(heard)["gender"][0].tolist() == [True]


def test_truth_of_tags_follows_the_rules_of_the_training() -> None:
    labels = ("rain", "dog")
    np.testing.assert_array_equal(TagsDefinitions(labels).truth(clip("tag", "rain; wind")), (1, 0))
    np.testing.assert_array_equal(TagsDefinitions(labels).truth(clip("tag", "wind")), (NAN, NAN))
    config = ClipConfig(exclude=("rain*",))
    np.testing.assert_array_equal(TagsDefinitions(labels, config).truth(clip("tag", "rain")), (NAN, NAN))
    ruled = TagsDefinitions(labels, truth=lambda clip: (0.0, 1.0))
    assert ruled.truth(clip("tag", "wind")) == (0.0, 1.0)


def test_paths_say_nothing_of_clips_of_other_collections_that_have_labels(tmp_path: Path) -> None:
    labels = ("rain", "guitar", "music")
    rules = {"names": {"rain": ["*/rain.wav", "storms"], "music": ["role/music"]}}
    save_bundle(
        tmp_path,
        name="own",
        task="tags",
        labels=labels,
        architecture={"name": "residual_cnn", "channels": [4, 8], "hidden": 8, "n_labels": 3},
        frontend={"name": "cqt"},
        model=build_model({"name": "residual_cnn", "channels": [4, 8], "hidden": 8, "n_labels": 3}),
        calibration=Calibration.identity(3),
        card={"training": {"config": {"options": rules}}, "training_sources": [{"source": "trained"}]},
    )
    truth = definitions_of(load_bundle(tmp_path)).truth
    place = {"original_path": "songs/rain.wav"}
    np.testing.assert_array_equal(truth(clip("tag", "guitar", **place)), (0, 1, 0))
    np.testing.assert_array_equal(truth(clip("music", "", **place)), (0, 0, 1))
    np.testing.assert_array_equal(truth(clip("tag", "", **place)), (NAN, NAN, NAN))
    np.testing.assert_array_equal(truth(clip("tag", "storms", **place)), (1, 0, 0))
    np.testing.assert_array_equal(truth(clip("noise", "", **place)), (1, 0, 0))
    np.testing.assert_array_equal(truth(clip("tag", "", source="trained", **place)), (1, 0, 0))


def test_the_highest_known_tag_is_what_an_item_is_called() -> None:
    heard = items([[0.2, 0.9, 0.4], [0.6, 0.1, 0.7], [0.1, 0.2, 0.3]], [[1, NAN, 0], [0, 1, 0], [NAN] * 3])
    definitions = TagsDefinitions(("a", "b", "c"))
    shares = definitions.shares(heard)
    assert [one.tolist() for one in shares["top"]] == [[False, False, False], [True, True, False]]
    assert shares["all_right"][1].tolist() == [True, True, False]
    assert definitions.said_class(heard)[:2].tolist() == [2, 2]
    assert definitions.true_class(heard).tolist() == [0, 1, -1]
    mixed = items([[0.6, 0.9], [0.4, 0.9]], [[1, NAN], [1, NAN]])
    assert TagsDefinitions(("a", "b")).right_as_known(mixed)[0].tolist() == [True, False]


def test_figures_of_items_made_by_hand() -> None:
    heard = items(
        [[0.9, 0.1], [0.8, 0.4], [0.3, 0.9], [0.6, 0.7], [0.2, 0.2]],
        [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]],
        sources="aabbc",
        languages=["en", "de", "", "", ""],
    )
    found = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)
    clips = found["clips"]
    assert (clips["items"], clips["two_class"]["share"], clips["presence"]["right"]) == (5, 1.0, 4)
    speech = clips["labels"]["speech"]
    assert (speech["true"], speech["known"]) == (2, 5)
    assert speech["precision"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert speech["recall"] == {"value": 1.0, "over_sources": None}  # all of one source
    assert speech["precision"]["over_sources"] is not None
    assert speech["auc"]["value"] == 1.0
    assert speech["d_prime"] == {"value": "inf", "over_sources": None}
    assert clips["calibration_error"]["speech"] == speech["calibration_error"]["value"]
    assert clips["mean"]["map"]["value"] == 1.0
    assert clips["mean"]["map_at_3"]["value"] is None
    assert {(row["truth"], row["source"]) for row in found["sources"]} == {
        ("speech", "a"),
        ("music", "b"),
        ("neither", "c"),
    }
    assert next(row for row in found["sources"] if row["source"] == "b")["clips_presence"] == 0.5
    assert [row["language"] for row in found["languages"]] == ["de", "en"]


@pytest.mark.parametrize(
    ("sources", "last", "precision", "recall", "area"),
    [
        ("aaaabb", 0.7, True, False, False),  # all that is there is of a
        ("aabbaa", 0.2, True, True, False),  # all that is not there is of a
        ("baaaab", 0.2, False, True, True),  # all that is claimed is of a
        ("aabaab", 0.2, True, True, True),
    ],
)
def test_an_interval_needs_two_sources_of_what_it_is_made_of(
    sources: str, last: float, precision: bool, recall: bool, area: bool
) -> None:
    scores, truth = [0.4, 0.9, 0.9, 0.8, 0.3, last], [1, 1, 1, 1, 0, 0]
    heard = items([[one, 0.1] for one in scores], [[one, NAN] for one in truth], sources=sources)
    label = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)["clips"]["labels"]["speech"]
    exists = {name: label[name]["over_sources"] is not None for name in ("precision", "recall", "f", "auc")}
    assert exists == {"precision": precision, "recall": recall, "f": recall, "auc": area}
    assert (label["average_precision"]["over_sources"] is not None) == recall
    assert (label["d_prime"]["over_sources"] is not None) == area


def test_a_mean_over_labels_of_one_source_each_has_no_interval() -> None:
    heard = items([[0.9, 0.1], [0.8, 0.4], [0.3, 0.9], [0.6, 0.7]], [[1, 0], [1, 0], [0, 1], [0, 1]], sources="aabb")
    mean = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)["clips"]["mean"]
    assert mean["map"] == {"value": 1.0, "over_sources": None}
    assert mean["calibration_error"]["over_sources"] is not None


def test_recordings_are_drawn_where_all_is_of_one_source() -> None:
    heard = items([[0.9, 0.1], [0.8, 0.4], [0.3, 0.9], [0.6, 0.7]], [[1, 0], [1, 0], [0, 1], [0, 1]])
    grouped = replace(heard, groups=("one", "two", "two", "three"))
    found = figures(SpeechMusicDefinitions(), segments=grouped, clips=grouped)
    assert found["over"] == "recordings"
    assert found["clips"]["presence"]["over_sources"] == [0.0, 1.0]
    assert found["clips"]["labels"]["speech"]["recall"]["over_sources"] == [1.0, 1.0]
    found = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)
    assert found["over"] == "sources"
    assert found["clips"]["presence"]["over_sources"] is None


def test_an_infinite_d_prime_has_the_ends_of_its_area() -> None:
    scores = [0.9, 0.2, 0.8, 0.3, 0.4, 0.6]
    heard = items([[one, 0.1] for one in scores], [[one, NAN] for one in [1, 0, 1, 0, 1, 0]], sources="aabbcc")
    label = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)["clips"]["labels"]["speech"]
    low, high = label["auc"]["over_sources"]
    assert high == 1.0
    assert label["d_prime"]["over_sources"][1] == "inf"
    expected = "-inf" if low == 0.0 else pytest.approx(d_prime(low), abs=2e-3)
    assert label["d_prime"]["over_sources"][0] == expected
    json.dumps(label, allow_nan=False)


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_a_calibration_error_holds_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    promised = rng.random(400)
    heard = items(
        [[one, 0.1] for one in promised],
        [[float(rng.random() < one), NAN] for one in promised],
        sources="".join("abcdefghij"[at % 10] for at in range(400)),
    )
    error = figures(SpeechMusicDefinitions(), segments=heard, clips=heard)["clips"]["labels"]["speech"][
        "calibration_error"
    ]
    low, high = error["over_sources"]
    assert 0.0 <= low < error["value"] < high


def test_a_voice_is_measured_where_it_speaks() -> None:
    heard = Items(
        heard=np.array([[0.9, 0.99], [0.2, 0.01], [0.2, 0.01], [0.3, 0.0], [0.1, 0.0]], np.float32),
        owner=np.array([0, 0, 0, 1, 1]),
        seconds=np.full(5, 5.0, np.float32),
        truth=np.array([[1, 1], [NAN, 0]], np.float32),
        sources=("s", "s"),
        languages=("", ""),
    )
    values = VoiceGenderDefinitions({}).values(heard)
    assert values[0].tolist() == pytest.approx([0.9 * 0.99 / 1.01 + 0.2 * 0.02 / 1.01, 1.01 / 3])
    assert values[1].tolist() == pytest.approx([0.2, 0.0])
    found = figures(VoiceGenderDefinitions({}), segments=heard, clips=heard)["clips"]["labels"]["female"]
    assert found["recall"]["value"] == 1.0


def test_figures_where_nothing_is_known_are_null() -> None:
    nothing = items([[0.5, 0.5]], [[NAN, NAN]])
    found = figures(SpeechMusicDefinitions(), segments=nothing, clips=nothing)
    assert found["clips"]["presence"]["of"] == 0
    assert found["clips"]["labels"]["music"]["auc"] == {"value": None, "over_sources": None}
    assert found["sources"] == []


def test_ranks_count_where_there_are_labels_to_rank() -> None:
    heard = items([[0.9, 0.8, 0.1, 0.0]] * 2, [[1, 0, 0, 0], [0, 1, 0, 0]], sources="ab")
    found = figures(TagsDefinitions(("a", "b", "c", "d")), segments=heard, clips=heard)
    assert found["clips"]["mean"]["map_at_3"]["value"] == 0.75
    assert found["clips"]["top"]["share"] == 0.5
    assert found["sources"][0] == {
        "truth": "any label",
        "source": "a",
        "segments": 1,
        "segments_top": 1.0,
        "segments_all_right": 0.0,
        "clips": 1,
        "clips_top": 1.0,
        "clips_all_right": 0.0,
    }


def test_details_hold_every_known_item_once() -> None:
    heard = items([[0.9, 0.1], [0.8, 0.4], [0.3, 0.9]], [[1, 0], [1, NAN], [0, 1]])
    found = details(SpeechMusicDefinitions(), heard)
    assert sum(one[2] for one in found["reliability"]["speech"]) == 3
    assert sum(one[2] for one in found["reliability"]["music"]) == 2
    assert found["confusion"] == {
        "classes": ["speech", "music", "both", "neither"],
        "counts": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    }
