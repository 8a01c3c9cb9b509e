"""What follows of a clip's labels: there, not there, nobody says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from catalog_tagger.training.manifest import Clip, named_in, read_manifest
from catalog_tagger.training.tag_labels import UNLIKELY, LabelRules, Rule, rules_in

LABELS = ("speech", "music", "rain", "oboe")


def clip(label: str = "", *, role: str = "tag", original: str = "a.wav") -> Clip:
    return Clip(
        path=Path("a.wav"),
        split="train",
        role=role,
        label=label,
        source="someone/sounds",
        original_path=original,
        speaker="",
        licence="",
        duration_s=5.0,
    )


RULES = LabelRules.model_validate(
    {
        "names": {"speech": ["role/speech"], "music": ["role/music"], "rain": ["esc_rain", "*/weather/rain*"]},
        "unsaid": [{"clips": ["role/music"], "labels": ["oboe"]}],
        "absent": [{"clips": ["role/noise"], "labels": ["speech", "mus*"]}],
    }
)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (clip("oboe"), (0, 0, 0, 1)),
        (clip("oboe; rain"), (0, 0, 1, 1)),
        (clip("esc_rain"), (0, 0, 1, 0)),
        (clip(original="weather/rain_2.ogg"), (0, 0, 1, 0)),
        (clip("a song", role="music"), (0, 1, 0, None)),  # nobody says what plays
        (clip("oboe", role="music"), (0, 1, 0, 1)),
        (clip(role="speech"), (1, 0, 0, 0)),
        (clip("door", role="noise"), (0, 0, None, None)),  # no label of ours, but certainly neither of two
        (clip("door"), (None, None, None, None)),
    ],
)
def test_truth_follows_from_names_and_rules(one: Clip, expected: tuple[float | None, ...]) -> None:
    found = tuple(None if math.isnan(value) else value for value in RULES.truth(one, LABELS))
    assert found == expected


def test_what_is_unlikely_teaches_a_little_and_is_still_not_known() -> None:
    rules = RULES.model_copy(update={"unlikely": (Rule(clips=("role/music",), labels=("oboe", "rain")),)})
    song, oboe = clip("a song", role="music"), clip("oboe", role="music")
    assert rules.weights(song, LABELS) == (1.0, 1.0, 1.0, UNLIKELY)
    assert math.isnan(rules.truth(song, LABELS)[3])
    assert rules.weights(oboe, LABELS) == (1.0, 1.0, 1.0, 1.0)
    assert RULES.weights(song, LABELS) == (1.0, 1.0, 1.0, 0.0)


def test_rules_are_found_again_among_the_options_of_a_card() -> None:
    assert rules_in({**RULES.model_dump(mode="json"), "takes": 3}) == RULES
    assert rules_in({}) == LabelRules()


def test_a_manifest_may_name_several_labels_in_a_column_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("path,role,source,labels\na.wav,tag,me,rain ; oboe;\nb.wav,tag,me,\n")
    assert [named_in(one) for one in read_manifest(path)] == [("rain", "oboe"), ()]
