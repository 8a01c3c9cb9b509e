"""Which column says what: files that fit, common names, and files that are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.reconcile.mapping import (
    NONE_OF_THEM,
    PARTS,
    LabelField,
    MetadataMapping,
    fit_mapping,
    normal,
    read_mapping,
)

COLUMNS = ["isrc", "Kind", "narrator", "genre"]
TAGS = {"rain", "flute", "oboe"}


def fitted(folder: Path, text: str, *, columns: list[str] = COLUMNS) -> MetadataMapping:
    path = folder / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return fit_mapping(read_mapping(str(path)), columns, place=str(path), metadata="m.csv", tags=TAGS)


def meaning(field: LabelField, value: str) -> set[str]:
    return {field.classes[j] for j in field.means[field.values.index(value)]}


def test_a_mapping_says_which_values_of_which_column_mean_what(tmp_path: Path) -> None:
    mapping = fitted(
        tmp_path,
        """
        track_id: isrc
        fields:
          content_type:
            column: kind
            values:
              music: [Song, " Album "]
              speech: audiobook
              speech or mixed: [podcast]
          voice_gender: {column: narrator, values: {female: [f], male: [m, 1]}}
          tags: {column: genre, values: {rain: [Storm], flute or oboe: [woodwind]}}
        """,
    )
    content, voice, tags = mapping.fields
    assert (mapping.track_id, content.column, content.values) == (
        "isrc",
        "Kind",
        ("song", "album", "audiobook", "podcast"),
    )
    assert meaning(content, "album") == {"music"}
    assert meaning(content, "podcast") == {"speech", "mixed", *PARTS}
    assert meaning(voice, "1") == {"male"}
    assert tags.classes == ("rain", "flute", "oboe", NONE_OF_THEM)
    assert meaning(tags, "woodwind") == {"flute", "oboe"}


def test_speech_over_a_song_does_not_make_its_label_wrong(tmp_path: Path) -> None:
    text = "fields: {content_type: {column: Kind, values: {music: [song], other: [noise]}}}"
    (field,) = fitted(tmp_path, text).fields
    tolerated = [{field.classes[j] for j in classes} for classes in field.tolerated]
    assert tolerated == [{"music", "mixed", "mixed, music led"}, {"other"}]


@pytest.mark.parametrize(
    ("columns", "key", "found"),
    [
        (["track_id", "title", "content_type", "voice_gender"], "track_id", {"content_type", "voice_gender"}),
        (["ID", "Type"], "ID", {"content_type"}),
        (["isrc", "narrator_gender"], "isrc", {"voice_gender"}),
    ],
)
def test_common_names_need_no_mapping(columns: list[str], key: str, found: set[str]) -> None:
    mapping = fit_mapping(None, columns, place="", metadata="m.csv", tags=())
    assert mapping.track_id == key
    assert {field.name for field in mapping.fields} == found


def test_the_default_knows_common_values() -> None:
    content, voice = fit_mapping(None, ["id", "type", "gender"], place="", metadata="m", tags=()).fields
    assert meaning(content, "song") == {"music"}
    assert meaning(content, "audiobook") == {"speech"}
    assert meaning(content, "podcast") == {"speech", "mixed", *PARTS}
    assert meaning(content, "sound effect") == {"other"}
    assert meaning(voice, "f") == {"female"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fields: {mood: {column: Kind, values: {sad: [x]}}}",
            "map.yaml: fields.mood: unknown field; known: content_type",
        ),
        (
            "fields: {content_type: {column: sort, values: {music: [x]}}}",
            "map.yaml: fields.content_type.column: m.csv has no column 'sort'; it has isrc, Kind, narrator, genre",
        ),
        ("track_id: uid\nfields: {content_type: {column: Kind, values: {music: [x]}}}", "no column 'uid'; it has isrc"),
        (
            "fields: {content_type: {column: Kind, values: {songs: [x]}}}",
            "unknown class 'songs'; known: music, speech, mixed, other",
        ),
        (
            "fields: {tags: {column: genre, values: {rain or hail: [x]}}}",
            "unknown tag 'hail'; known: flute, oboe, rain",
        ),
        ("fields: {content_type: {column: Kind, values: {music: [x], speech: [X]}}}", "'X' is listed twice"),
        ("fields: {content_type: {column: Kind, values: {music: ['']}}}", "an empty value"),
        ("fields: {content_type: {column: Kind, values: {music: []}}}", "no value is listed"),
        ("fields: {content_type: {column: Kind, values: {music: [yes]}}}", "True is no text; put the word in quotes"),
        ("fields: {content_type: {column: Kind}}", "fields.content_type.values is missing"),
        (
            "fields: {content_type: {column: Kind, values: {music: [x]}, colour: 1}}",
            "unknown key 'fields.content_type.colour'",
        ),
        ("fields: {}", "map.yaml: fields: "),
        ("track: 1", "unknown key 'track'"),
        ("a: 1\na: 2", "not a YAML file: key 'a' comes twice in line 2"),
        ("[1", "not a YAML file"),
        ("words", "expected keys and values"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        fitted(tmp_path, text)
    assert message in str(error.value)


def test_no_file_and_no_common_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot read the configuration: No such file"):
        read_mapping(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match=r"no column of track ids.*it has a, b.*track_id: COLUMN"):
        fit_mapping(None, ["a", "b"], place="", metadata="m.csv", tags=())
    with pytest.raises(UsageError, match=r"no column has a common name.*it has id, b.*--mapping"):
        fit_mapping(None, ["id", "b"], place="", metadata="m.csv", tags=())


@given(st.text())
def test_values_compare_without_case_and_the_space_around(value: str) -> None:
    assert normal(f" \t{value}\r\n ") == normal(value)
    assert normal(normal(value)) == normal(value)
