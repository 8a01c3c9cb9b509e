"""What the audio says of a track, as a probability for each class of a field.

From the rows of `tracks` alone, whose verdicts weigh all segments and the dependence between them:

- ``content_type``: ``content_probabilities``; in rows of before there were any, `content_confidence` for
  the type that was heard and the rest in equal parts for the others;
- ``voice_gender``: likewise, from its confidence; ``unknown`` says nothing;
- ``tags``: the scores of the tags that the mapping names, brought down to 1 where they add up to more; what
  is missing to 1 is for none of them.

No class is ever sure or impossible: a share of `DOUBT` belongs to all classes alike, since a model that errs
once in a thousand tracks cannot be told here from one that never does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog_tagger.reconcile.mapping import CONTENT_TYPE, TAGS, VOICE_GENDER, LabelField
from catalog_tagger.reconcile.reading import text

DOUBT: Final = 1e-3


def belief_columns(field: LabelField) -> list[str]:
    """SQL over a row ``t`` of `tracks`: the probability of each class; null where nothing was heard of it."""
    if field.name == CONTENT_TYPE:
        return [
            f"coalesce(t.content_probabilities.{kind}, {_stated('t.content_type', 'content_confidence', kind, 3)})"
            for kind in field.classes
        ]
    if field.name == VOICE_GENDER:
        heard = "nullif(t.voice_gender, 'unknown')"
        return [_stated(heard, "voice_gender_confidence", kind, 2) for kind in field.classes]
    scores = [f"list_sum([x.score for x in t.tags if x.tag = {text(tag)}])" for tag in field.classes[:-1]]
    return [*(f"CASE WHEN t.tags IS NOT NULL THEN coalesce({score}, 0) END" for score in scores), "0"]


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
    doubted: npt.NDArray[np.float64] = (1.0 - DOUBT) * p + DOUBT / p.shape[1]
    return doubted
