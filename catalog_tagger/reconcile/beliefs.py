"""What the audio says of a track, as a probability for each class of a field.

From the rows of `tracks` alone, whose verdicts weigh all segments and the dependence between them:

- ``content_type``: ``content_probabilities``, and a second opinion where a tagger gives one: by what share `s` of the
  track it hears speech in, a class with speech is worth ``s^w``, others ``(1 - s)^w``, and so for music. That is a
  pool of log odds (Genest and Zidek, 1986, "Combining probability distributions", section 3) of two networks. On
  the 124 clips of validation of 10 s and more that neither was trained on, the log-likelihood of what they are is
  -36.3 by the first alone and with weights `w` of 0.25, 0.5, 0.75 and 1: -27.2, -22.7, -21.1, -21.4. In rows of
  before there were probabilities, `content_confidence` is for the type that was heard, and the rest in equal parts
  for the others;
- ``voice_gender``: likewise, from its confidence; ``unknown`` says nothing;
- ``tags``: the scores of the tags that the mapping names, brought down to 1 where they add up to more; what
  is missing to 1 is for none of them.

No class is ever sure or impossible: a share of `DOUBT` belongs to all classes alike, since a model that errs
once in a thousand tracks cannot be told here from one that never does. That neither speech nor music is heard is
what networks say of music that they do not know, too: of 97 clips of music in validation one was heard so, surely. A
share of `UNHEARD` of that class belongs to those two.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog_tagger.reconcile.mapping import CONTENT_TYPE, MIXED, PARTS, TAGS, VOICE_GENDER, LabelField
from catalog_tagger.reconcile.reading import text
from catalog_tagger.tagging.content import MIXTURES

DOUBT: Final = 1e-3
UNHEARD: Final = 0.01
_WEIGHT: Final = 0.75
#: scores below 0.01 are not kept
_LEAST_SHARE: Final = 0.005


def belief_columns(field: LabelField) -> list[str]:
    """SQL over a row ``t`` of `tracks`: the probability of each class; null where nothing was heard of it."""
    if field.name == CONTENT_TYPE:
        return [f"{_content(kind)} * {_opinion('speech', kind)} * {_opinion('music', kind)}" for kind in field.classes]
    if field.name == VOICE_GENDER:
        heard = "nullif(t.voice_gender, 'unknown')"
        return [_stated(heard, "voice_gender_confidence", kind, 2) for kind in field.classes]
    scores = [f"list_sum([x.score for x in t.tags if x.tag = {text(tag)}])" for tag in field.classes[:-1]]
    return [*(f"CASE WHEN t.tags IS NOT NULL THEN coalesce({score}, 0) END" for score in scores), "0"]


def _content(kind: str) -> str:
    """A class of ``content_probabilities``, where mixed has parts that are classes of their own."""
    told = "t.content_probabilities"
    columns = {part: f"coalesce({told}.{column}, 0)" for part, column in zip(PARTS, MIXTURES, strict=True)}
    if kind in columns:
        return f"CASE WHEN t.content_type IS NOT NULL THEN {columns[kind]} END"
    rest = "".join(f" - {column}" for column in columns.values()) if kind == MIXED else ""
    return f"coalesce({told}.{kind}{rest}, {_stated('t.content_type', 'content_confidence', kind, 3)})"


def _opinion(tag: str, kind: str) -> str:
    """What a tagger's tag is worth for a class; 1 where it tells neither speech nor music of a track."""
    told = "list_contains([x.tag for x in t.tags], 'speech') OR list_contains([x.tag for x in t.tags], 'music')"
    share = f"coalesce(list_sum([x.score for x in t.tags if x.tag = '{tag}']), 0)"
    bounded = f"least(greatest({share}, {_LEAST_SHARE}), {1 - _LEAST_SHARE})"
    with_it = kind == tag or kind in (MIXED, *PARTS)
    return f"CASE WHEN {told} THEN pow({bounded if with_it else f'1 - {bounded}'}, {_WEIGHT}) ELSE 1 END"


def _stated(heard: str, confidence: str, kind: str, others: int) -> str:
    return (
        f"CASE WHEN {heard} = {text(kind)} THEN t.{confidence} "
        f"WHEN {heard} IS NOT NULL THEN (1 - t.{confidence}) / {others} END"
    )


def beliefs(rows: pa.Table, field: LabelField, columns: list[str]) -> npt.NDArray[np.float64]:
    """Probabilities of the classes, shape (rows, classes); a row of nan where nothing was heard.

    Parameters
    ----------
    columns
        Those of `rows` that hold what `belief_columns` made.
    """
    stacked = [rows[column].to_numpy(zero_copy_only=False).astype(np.float64) for column in columns]
    p = np.clip(np.column_stack(stacked), 0.0, 1.0)
    if field.name == TAGS:
        total = p[:, :-1].sum(axis=1)
        p[:, :-1] /= np.maximum(total, 1.0)[:, None]
        p[:, -1] = np.maximum(0.0, 1.0 - total)
    sums = p.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(sums > 0, p / sums, np.nan)
    if field.name == CONTENT_TYPE:
        other = field.classes.index("other")
        for kind in ("music", "speech"):
            p[:, field.classes.index(kind)] += UNHEARD / 2 * p[:, other]
        p[:, other] *= 1.0 - UNHEARD
    doubted: npt.NDArray[np.float64] = (1.0 - DOUBT) * p + DOUBT / p.shape[1]
    return doubted
