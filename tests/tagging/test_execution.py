"""Which pieces a run takes apart, which it gives up, and when it is hopeless."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from catalog_tagger.errors import RunError
from catalog_tagger.tagging.cluster import piece_row
from catalog_tagger.tagging.execution import _collected, _next_round
from catalog_tagger.tagging.pieces import Piece


class Held:
    """A lease that is never lost."""

    def check(self) -> None:
        return


def shards(count: int, *, tracks: int) -> list[dict[str, Any]]:
    return [piece_row(Piece(shard=f"{i:06d}-x", index=i, first=0, count=tracks, total=tracks)) for i in range(count)]


def killing(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {"status": json.dumps({"name": row["name"], "deaths": 2, "reason": "RuntimeError: why"})}


def test_a_poison_track_stands_alone_after_a_few_rounds_and_is_given_up() -> None:
    rows = [row for row in shards(5, tracks=4000) if row["name"].startswith("000003")]
    given_up: list[dict[str, Any]] = []
    for _ in range(6):
        poisoned = [row for row in rows if row["first"] <= 1234 < row["first"] + row["count"]]
        assert len(poisoned) == 1
        given_up = [row for row in rows if row["give_up"]]
        if given_up:
            break
        _, found = _collected(killing(poisoned), Held())
        rows = _next_round(rows, found)
    assert [(row["first"], row["count"]) for row in given_up] == [(1234, 1)]
    assert given_up[0]["reason"] == "the tagging process died 2 times on this track alone: RuntimeError: why"


def test_poison_tracks_side_by_side_are_all_given_up() -> None:
    (whole,) = shards(1, tracks=3)
    _, found = _collected(killing([whole]), Held())
    singles = _next_round([whole], found)
    _, found = _collected(killing(singles), Held())
    assert [row["give_up"] for row in _next_round(singles, found)] == [True] * 3


@pytest.mark.parametrize("tracks", [1, 100])
def test_when_the_first_shards_all_kill_their_actors_it_is_not_the_tracks(tracks: int) -> None:
    with pytest.raises(RunError, match=r"3 work shards, and no other was done, .*\(RuntimeError: why\)"):
        _collected(killing(shards(4, tracks=tracks)), Held())
