"""The stretches of a track that speak most for a claim about it.

A claim's cue is what to listen for: ``speech``, ``music``, ``other``, ``female``, ``male`` or a tag. Segments in
which it is likelier than not (or, where none is, those in which it is likeliest) that follow each other are one
stretch; the `MOST` with the most of it are given, in order of time, with the mean scores of their segments.
"""

from __future__ import annotations

from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.reconcile.claims import TAG_CUE
from catalog_tagger.tables.schemas import EVIDENCE

MOST: Final = 5
_SEGMENT_S: Final = 5.0

_CUES: Final = {
    "speech": "s.p_speech",
    "music": "s.p_music",
    "other": "(1 - s.p_speech) * (1 - s.p_music)",
    "female": "s.p_female",
    "male": "1 - s.p_female",
}
_SQL: Final = f"""
WITH scored AS (
    SELECT c.n, c.cue, c.tag, s.start_s, s.end_s, s.p_speech, s.p_music,
        CASE {" ".join(f"WHEN c.cue = '{cue}' THEN {score}" for cue, score in _CUES.items())}
            ELSE coalesce(list_sum([x.score for x in s.tags if x.tag = c.tag]), 0) END AS score
    FROM segments_history s JOIN cues c ON s.track_id = c.track_id AND s.run_id = c.run_id
), kept AS (
    SELECT *, round(start_s / {_SEGMENT_S}) - row_number() OVER (PARTITION BY n ORDER BY start_s) AS island FROM (
        SELECT * FROM scored WHERE score IS NOT NULL
        QUALIFY score >= least(0.5, max(score) OVER (PARTITION BY n)) AND score > 0
    )
), stretches AS (
    SELECT n, any_value(cue) AS cue, any_value(tag) AS tag, min(start_s) AS start_s, max(end_s) AS end_s,
        avg(score) AS score, avg(p_speech) AS speech, avg(p_music) AS music, sum(score) AS weight
    FROM kept GROUP BY n, island
    QUALIFY row_number() OVER (PARTITION BY n ORDER BY weight DESC, min(start_s)) <= {MOST}
)
SELECT n, list({{
        'start_s': start_s,
        'end_s': end_s,
        'scores': [
            {{'name': x.name, 'score': CAST(x.score AS FLOAT)}} FOR x IN [
                {{'name': 'speech', 'score': speech}},
                {{'name': 'music', 'score': music}},
                {{'name': tag, 'score': CASE WHEN cue NOT IN ('speech', 'music', 'other') THEN score END}}
            ] IF x.score IS NOT NULL
        ]
    }} ORDER BY start_s) AS evidence
FROM stretches GROUP BY n
"""  # noqa: S608  of constants


def find_evidence(connection: duckdb.DuckDBPyConnection, claims: pa.Table) -> pa.ChunkedArray:
    """The evidence of each of some claims, as `schemas.EVIDENCE` holds it; that which a claim brings stays.

    `connection` has the view ``segments_history``.
    """
    given = claims["evidence"]
    wanted = np.flatnonzero(claims["cue"].is_valid().to_numpy())
    of_claims = claims.select(["track_id", "track_run_id", "cue"]).take(wanted)
    columns = {
        "n": pa.array(wanted),
        "track_id": of_claims["track_id"],
        "run_id": of_claims["track_run_id"],
        "cue": of_claims["cue"],
        "tag": pc.replace_substring_regex(of_claims["cue"], f"^{TAG_CUE}", ""),
    }
    connection.register("cues", pa.table(columns))
    found = connection.sql(_SQL).to_arrow_table()
    connection.unregister("cues")
    nothing = pa.array([[]], EVIDENCE)
    places = np.where(given.is_valid().to_numpy(), np.arange(len(claims)) + 1, 0)
    places[found["n"].to_numpy()] = np.arange(len(found)) + 1 + len(claims)
    chunks = [nothing, *given.chunks, *found["evidence"].cast(EVIDENCE).chunks]
    return pa.chunked_array(chunks, EVIDENCE).take(pa.array(places))
