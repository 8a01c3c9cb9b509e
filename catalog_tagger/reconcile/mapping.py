"""Which column of the metadata says what, and what its values mean.

A mapping is a YAML file::

    track_id: isrc              # column of the ids; by default the first of `ID_COLUMNS` that is there
    fields:
      content_type:             # music, speech, mixed, other
        column: kind
        values:
          music: [song, album]
          speech: [audiobook]
          speech or mixed: [podcast, drama]     # either is right
      voice_gender:             # female, male, mixed
        column: narrator
        values: {female: [f, woman], male: [m, man]}
      tags:                     # tags of `tracks.tags`
        column: genre
        values:
          rain: [rainfall, storm]
          flute or oboe: [woodwind]

Values compare without case and the space around them. Empty ones are missing labels; those that no
class lists are counted and told, never guessed. Without a file `default_mapping` finds common names.

Failure rule: whatever is wrong with a mapping is one `UsageError` that names it and the key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog_tagger.configuration import read_yaml, validated
from catalog_tagger.errors import UsageError, named
from catalog_tagger.tagging.content import CONTENT_TYPES

CONTENT_TYPE: Final = "content_type"
VOICE_GENDER: Final = "voice_gender"
TAGS: Final = "tags"
MIXED: Final = "mixed"
#: parts of mixed (`tagging.content`), which itself stands for the rest: speech and music together
SPEECH_LED, MUSIC_LED, BY_TURNS = PARTS = ("mixed, speech led", "mixed, music led", "mixed, by turns")
#: fields whose classes are known beforehand
CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    CONTENT_TYPE: (*CONTENT_TYPES, *PARTS),
    VOICE_GENDER: ("female", "male", "mixed"),
}
#: of tags: none of those that the mapping names
NONE_OF_THEM: Final = "none of them"
_OR: Final = " or "
_MOST_TOLD: Final = 12

ID_COLUMNS: Final = ("track_id", "trackid", "track", "id", "isrc", "asset_id", "item_id", "uid", "uuid")
_DEFAULT: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]]] = {
    CONTENT_TYPE: (
        ("content_type", "contenttype", "content", "type", "media_type", "mediatype", "kind", "category"),
        {
            "music": (
                *("music", "song", "songs", "single", "album", "album track", "track", "instrumental", "ep"),
                *("music track", "soundtrack", "concert", "recording"),
            ),
            "speech": (
                *("speech", "audiobook", "audio book", "audiobooks", "book", "spoken word", "spoken", "lecture"),
                *("talk", "sermon", "reading", "news", "speech only"),
            ),
            "speech or mixed": (
                *("podcast", "podcasts", "episode", "podcast episode", "radio show", "radio", "show", "interview"),
                *("film", "movie", "drama", "radio drama", "audio drama", "documentary", "talk show", "tv"),
            ),
            "mixed": ("mixed", "speech and music", "music and speech"),
            "other": (
                *("other", "noise", "ambience", "ambient sound", "sound effect", "sound effects", "sfx"),
                *("field recording", "nature sounds"),
            ),
        },
    ),
    VOICE_GENDER: (
        ("voice_gender", "voicegender", "narrator_gender", "speaker_gender", "reader_gender", "gender", "sex"),
        {
            "female": ("female", "f", "woman", "women", "w"),
            "male": ("male", "m", "man", "men"),
            "mixed": ("mixed", "both", "female and male", "male and female", "f/m", "m/f", "several"),
        },
    ),
}


class FieldMapping(BaseModel):
    """One field: its column, and the values that stand for each class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str = Field(min_length=1)
    values: dict[str, tuple[str, ...]] = Field(min_length=1)

    @field_validator("values", mode="before")
    @classmethod
    def _are_texts(cls, value: Any) -> Any:
        """One value may stand without a list around it, and numbers for their text; yes and no are none."""
        if not isinstance(value, dict):
            return value
        return {_text(key): tuple(_text(one) for one in _listed(values)) for key, values in value.items()}


class MappingFile(BaseModel):
    """A mapping as the file holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    track_id: str | None = Field(default=None, min_length=1)
    fields: dict[str, FieldMapping] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class LabelField:
    """A field of the metadata that can be compared with what was heard."""

    name: str
    """``content_type``, ``voice_gender`` or ``tags``."""
    column: str
    classes: tuple[str, ...]
    """What a track can be."""
    values: tuple[str, ...]
    """What the metadata can say, in lower case."""
    means: tuple[frozenset[int], ...]
    """Which classes each value stands for."""

    @cached_property
    def tolerated(self) -> tuple[frozenset[int], ...]:
        """Classes that do not make a value wrong: a song that somebody talks over is still one, if a mixed one.

        What is called music and is speech without music in a third of it is wrong, and so is the reverse.
        """
        if self.name != CONTENT_TYPE:
            return self.means
        music, speech = self._numbers("music", MIXED, MUSIC_LED), self._numbers("speech", MIXED, SPEECH_LED)
        pure = ((self.classes.index("music"), music), (self.classes.index("speech"), speech))
        return tuple(means.union(*(others for one, others in pure if one in means)) for means in self.means)

    @cached_property
    def mixtures(self) -> frozenset[int]:
        """Classes of a track that is both speech and music."""
        return self._numbers(MIXED, *PARTS) if self.name == CONTENT_TYPE else frozenset()

    def _numbers(self, *classes: str) -> frozenset[int]:
        return frozenset(self.classes.index(one) for one in classes)


@dataclass(frozen=True, kw_only=True)
class MetadataMapping:
    """A mapping that fits the columns of some metadata."""

    track_id: str
    fields: tuple[LabelField, ...]


def read_mapping(place: str) -> MappingFile:
    """Read a mapping file; `UsageError` where it is not one."""
    values = read_yaml(place, example="fields: {content_type: {column: kind, ...}}")
    return validated(MappingFile, values, place=f"{place}: ")


def fit_mapping(
    mapping: MappingFile | None, columns: Sequence[str], *, place: str, metadata: str, tags: Collection[str]
) -> MetadataMapping:
    """A mapping, or the default one, for metadata with these columns.

    Parameters
    ----------
    columns
        What the metadata have.
    place, metadata
        What the mapping and the metadata are called in messages.
    tags
        Those that the warehouse can tell.

    Raises
    ------
    UsageError
        A column is not there, a class or tag is unknown, a value has two meanings.
    """
    if mapping is None:
        return _default_for(columns, metadata=metadata)
    fields = []
    for name, field in mapping.fields.items():
        if name not in (*CLASSES, TAGS):
            raise UsageError(f"{place}: fields.{name}: unknown field; known: {', '.join((*CLASSES, TAGS))}")
        column = _column(field.column, columns)
        if column is None:
            raise UsageError(
                f"{place}: fields.{name}.column: {metadata} has no column {field.column!r}; it has {_told(columns)}"
            )
        fields.append(_field(name, column, field.values, place=f"{place}: fields.{name}.values", tags=tags))
    track_id = mapping.track_id
    if track_id is not None and _column(track_id, columns) is None:
        raise UsageError(f"{place}: track_id: {metadata} has no column {track_id!r}; it has {_told(columns)}")
    key = _id_column(columns, metadata=metadata) if track_id is None else _column(track_id, columns)
    return MetadataMapping(track_id=str(key), fields=tuple(fields))


def needs_tags(mapping: MappingFile | None) -> bool:
    """Whether the tags that the warehouse can tell matter."""
    return mapping is not None and TAGS in mapping.fields


def _default_for(columns: Sequence[str], *, metadata: str) -> MetadataMapping:
    key = _id_column(columns, metadata=metadata)
    fields = []
    for name, (common, values) in _DEFAULT.items():
        found = [column for column in (_column(one, columns) for one in common) if column not in (None, key)]
        if found:
            fields.append(_field(name, str(found[0]), values, place="default mapping", tags=()))
    if not fields:
        raise UsageError(
            f"{metadata}: no column has a common name for content type ({', '.join(_DEFAULT[CONTENT_TYPE][0][:4])}, "
            f"...) or voice; it has {_told(columns)}; say with --mapping which column says what"
        )
    return MetadataMapping(track_id=key, fields=tuple(fields))


def _id_column(columns: Sequence[str], *, metadata: str) -> str:
    found = (column for column in (_column(one, columns) for one in ID_COLUMNS) if column is not None)
    key = next(found, None)
    if key is None:
        raise UsageError(
            f"{metadata}: no column of track ids: none of {', '.join(ID_COLUMNS[:5])}, ...; it has {_told(columns)}; "
            "name it in a mapping: track_id: COLUMN"
        )
    return key


def _field(
    name: str, column: str, values: Mapping[str, Sequence[str]], *, place: str, tags: Collection[str]
) -> LabelField:
    meant = {key: tuple(part.strip() for part in key.split(_OR)) for key in values}
    if name == TAGS:
        known: Collection[str] = sorted(tags)
        classes = (*dict.fromkeys(one for some in meant.values() for one in some), NONE_OF_THEM)
    else:
        known = classes = CLASSES[name]
    means: dict[str, frozenset[int]] = {}
    for key, listed in values.items():
        wrong = next((one for one in meant[key] if one not in known), None)
        if wrong is not None:
            what = "tag" if name == TAGS else "class"
            raise UsageError(f"{place}: unknown {what} {wrong!r}; known: {named(list(known), most=40)}")
        for value in listed:
            text = normal(value)
            if not text:
                raise UsageError(f"{place}.{key}: an empty value; what is empty is a missing label, leave it out")
            if text in means:
                raise UsageError(
                    f"{place}: {value!r} is listed twice; list it once, under 'a or b' where either is right"
                )
            means[text] = frozenset(classes.index(one) for one in _expanded(name, meant[key]))
    if not means:
        raise UsageError(f"{place}: no value is listed; list those that stand for each class")
    return LabelField(name=name, column=column, classes=classes, values=tuple(means), means=tuple(means.values()))


def _expanded(field: str, classes: Sequence[str]) -> tuple[str, ...]:
    """What is mixed may be led by the one or the other."""
    return (*classes, *PARTS) if field == CONTENT_TYPE and MIXED in classes else tuple(classes)


def normal(value: str) -> str:
    """A value as values are compared."""
    return value.strip(" \t\r\n").lower()


def _column(name: str, columns: Sequence[str]) -> str | None:
    """The column of that name, or of the same but for case."""
    if name in columns:
        return name
    return next((column for column in columns if column.strip().lower() == name.strip().lower()), None)


def _told(columns: Sequence[str]) -> str:
    return named(list(columns), most=_MOST_TOLD) or "no columns"


def _listed(values: Any) -> Sequence[Any]:
    return values if isinstance(values, (list, tuple)) else [values]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{value!r} is no text; put the word in quotes")
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is no text; list words")
    return str(value)
