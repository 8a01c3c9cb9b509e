"""Claims about one track each, from joined rows, batch by batch.

- ``mislabelled``: the posterior (`noise`) that the track is of no class that its label tolerates;
- ``mixed_content``: the label is music or speech alone, and the track is both: of what the label does not
  say there is at least a quarter as much as of what it says, and less than a third of the track is that alone;
- ``missing_label``: the value is empty; the probability of what is heard. Of voices only where somebody
  speaks: nobody misses the narrator of a song;
- ``unplayable``: the metadata list a track that is quarantined.

A claim that is not three times as likely as not is none: it costs an editor more than it gives. What makes the
final list is for `cut` to say.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.reconcile.joining import Rows
from catalog_tagger.reconcile.mapping import (
    BY_TURNS,
    CONTENT_TYPE,
    MUSIC_LED,
    NONE_OF_THEM,
    PARTS,
    SPEECH_LED,
    TAGS,
    VOICE_GENDER,
    LabelField,
    MetadataMapping,
)
from catalog_tagger.reconcile.noise import MISSING, Noise, beliefs_of, labels_of
from catalog_tagger.tables.schemas import EVIDENCE

MISLABELLED: Final = "mislabelled"
MIXED_CONTENT: Final = "mixed_content"
MISSING_LABEL: Final = "missing_label"
UNPLAYABLE: Final = "unplayable"
EMBEDDED_SONG: Final = "embedded_song"
DUPLICATE_AUDIO: Final = "duplicate_audio"
KINDS: Final = (MISLABELLED, MIXED_CONTENT, MISSING_LABEL, EMBEDDED_SONG, DUPLICATE_AUDIO, UNPLAYABLE)

AT_LEAST: Final = 0.75
#: cue of a tag's evidence: this and the tag
TAG_CUE: Final = "tag:"

#: `confidence` is before any decision counted; `other` tells claims of one track, kind and field apart;
#: `track_run_id` and `cue` say in which segments, and by what, evidence is looked for
CLAIMS: Final = pa.schema(
    [
        pa.field("track_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("field", pa.string()),
        pa.field("other", pa.string()),
        pa.field("current_value", pa.string()),
        pa.field("suggested_value", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("reason", pa.string()),
        pa.field("evidence", EVIDENCE),
        pa.field("track_run_id", pa.string()),
        pa.field("cue", pa.string()),
        pa.field("audio_etag", pa.string()),
        pa.field("uri", pa.string()),
    ]
)


def find_claims(rows: Rows, mapping: MetadataMapping, noise: list[Noise]) -> pa.Table:
    """Every claim of the kinds above about joined rows."""
    return pa.concat_tables([CLAIMS.empty_table(), *rows.map(partial(claims_of, mapping=mapping, noise=noise))])


def claims_of(rows: pa.Table, mapping: MetadataMapping, noise: list[Noise]) -> pa.Table:
    """The claims about a batch of joined rows."""
    found = [_unplayable(rows)]
    for i, (field, of_field) in enumerate(zip(mapping.fields, noise, strict=True)):
        labels, p = labels_of(rows, field, i), beliefs_of(rows, field, i)
        heard = np.isfinite(p).all(axis=1)
        found += _about_labels(rows, field, i, of_field, (labels, p, heard & (labels >= 0)))
        found.append(_missing(rows, field, p, heard & (labels == MISSING)))
    return pa.concat_tables(found)


_Said = dict[str, str | None]
_Judged = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def _about_labels(rows: pa.Table, field: LabelField, i: int, noise: Noise, judged: _Judged) -> list[pa.Table]:
    labels, p, mask = judged
    at = np.flatnonzero(mask)
    labels = labels[at]
    posterior = noise.posterior(p[at], labels)
    tolerated = _as_mask(field.tolerated, len(field.classes))[labels]
    wrong = np.where(tolerated, 0.0, posterior)
    claims = [_labelled(rows, field, i, MISLABELLED, (at, labels, wrong.sum(axis=1), wrong.argmax(axis=1)))]
    if field.name == CONTENT_TYPE:
        both = np.isin(np.arange(len(field.classes)), list(field.mixtures))
        new = tolerated & ~_as_mask(field.means, len(field.classes))[labels] & both
        share = np.where(new, posterior, 0.0).sum(axis=1)
        mixed = np.full(len(at), field.classes.index("mixed"))
        claims.append(_labelled(rows, field, i, MIXED_CONTENT, (at, labels, share, mixed)))
    return claims


def _labelled(rows: pa.Table, field: LabelField, i: int, kind: str, found: tuple[Any, Any, Any, Any]) -> pa.Table:
    """Claims that a label is wrong: rows, their labels, how sure, and which class is right."""
    at, labels, confidence, right = (each[found[2] >= AT_LEAST] for each in found)
    part = rows.take(at)
    said = pc.utf8_trim_whitespace(part[f"v{i}"])
    claims = []
    for row, value, label, j in zip(part.to_pylist(), said.to_pylist(), labels, right, strict=True):
        heard = field.classes[j]
        meant = [field.classes[k] for k in sorted(field.means[label]) if field.classes[k] not in PARTS]
        told = repr(value) if value.lower() in meant else f"{value!r} ({' or '.join(meant)})"
        claims.append(
            {
                "current_value": value,
                "suggested_value": None if heard == NONE_OF_THEM else _said_as(heard),
                "reason": f"metadata say {told}; {_heard(row, field, heard)}",
                "cue": _cue(field, heard, meant),
            }
        )
    return _table(part, kind=kind, field=field.name, confidence=confidence, claims=claims)


def _missing(rows: pa.Table, field: LabelField, p: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> pa.Table:
    if field.name == VOICE_GENDER:
        speaks = pc.is_in(rows["content_type"], value_set=pa.array(["speech", "mixed"]))
        mask = mask & speaks.to_numpy(zero_copy_only=False)
    best = np.where(mask, p.argmax(axis=1), 0)
    confidence = p[np.arange(len(p)), best]
    sure = mask & (confidence >= AT_LEAST)
    if field.name == TAGS:
        sure &= best != field.classes.index(NONE_OF_THEM)
    at = np.flatnonzero(sure)
    part = rows.take(at)
    claims = []
    for row, j in zip(part.to_pylist(), best[at], strict=True):
        heard = field.classes[j]
        reason = f"metadata say nothing; {_heard(row, field, heard)}"
        claims.append({"suggested_value": heard, "reason": reason, "cue": _cue(field, heard, [])})
    return _table(part, kind=MISSING_LABEL, field=field.name, confidence=confidence[at], claims=claims)


def _unplayable(rows: pa.Table) -> pa.Table:
    part = rows.filter(pc.equal(rows["status"], "quarantined"))
    claims: list[_Said] = [{"reason": f"{row['error_code']}: {row['error_message']}"} for row in part.to_pylist()]
    return _table(part, kind=UNPLAYABLE, field=None, confidence=np.ones(len(part)), claims=claims)


def _table(
    part: pa.Table,
    *,
    kind: str,
    field: str | None,
    confidence: npt.NDArray[np.float64],
    claims: list[_Said],
) -> pa.Table:
    said = {name: pa.array([claim.get(name) for claim in claims], pa.string()) for name in _WORDS}
    columns = {
        **said,
        "kind": pa.repeat(kind, len(part)),
        "field": pa.repeat(pa.scalar(field, pa.string()), len(part)),
        "confidence": pa.array(confidence, pa.float64()),
        "track_id": part["track_id"],
        "track_run_id": part["run_id"],
        "audio_etag": part["audio_etag"],
        "uri": part["uri"],
        "evidence": pa.nulls(len(part), EVIDENCE),
        "other": pa.nulls(len(part), pa.string()),
    }
    return pa.table({name: columns[name] for name in CLAIMS.names}).cast(CLAIMS)


_WORDS: Final = ("current_value", "suggested_value", "reason", "cue")


def _as_mask(sets: tuple[frozenset[int], ...], classes: int) -> npt.NDArray[np.bool_]:
    return np.array([[j in means for j in range(classes)] for means in sets])


def _heard(row: dict[str, Any], field: LabelField, heard: str) -> str:
    """What was heard, in words."""
    if field.name == CONTENT_TYPE:
        if row["speech_fraction"] is None:
            return f"{heard} is heard" if heard != "other" else "neither speech nor music is heard"
        speech, music = row["speech_fraction"] * 100, row["music_fraction"] * 100
        return f"speech is heard in {speech:.0f} % of it, music in {music:.0f} %"
    if field.name == VOICE_GENDER:
        return "both women and men are heard" if heard == "mixed" else f"the voice is {heard}"
    return "none of the mapped tags stands out" if heard == NONE_OF_THEM else f"{heard} is heard"


def _said_as(heard: str) -> str:
    """A class as the table says it: parts of mixed are mixed."""
    return "mixed" if heard in PARTS else heard


def _cue(field: LabelField, heard: str, meant: list[str]) -> str | None:
    """What to look for in segments; of what is mixed that which the label does not expect."""
    if field.name == TAGS:
        return None if heard == NONE_OF_THEM else TAG_CUE + heard
    if heard in (SPEECH_LED, MUSIC_LED):
        return "speech" if heard == SPEECH_LED else "music"
    if heard not in ("mixed", BY_TURNS):
        return heard
    if field.name == CONTENT_TYPE:
        return "speech" if "music" in meant else "music"
    return "male" if "female" in meant else "female"
