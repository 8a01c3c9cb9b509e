from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.tagging.pieces import Piece, pieces_left

SHARDS = st.dictionaries(
    st.text("abc-0123456789", min_size=1, max_size=8), st.integers(min_value=1, max_value=5000), min_size=1, max_size=6
)


def whole(shard: str = "000000-ab", *, total: int = 100) -> Piece:
    return Piece(shard=shard, index=0, first=0, count=total, total=total)


def covered(pieces: list[Piece]) -> list[tuple[str, int]]:
    return [(piece.shard, at) for piece in pieces for at in range(piece.first, piece.first + piece.count)]


def test_a_whole_shard_is_called_by_its_name_and_a_part_by_its_place() -> None:
    assert whole().name == "000000-ab"
    assert Piece(shard="000000-ab", index=0, first=10, count=5, total=100).name == "000000-ab.000010-000015"


@given(st.integers(min_value=1, max_value=10_000))
def test_the_parts_of_a_piece_cover_it_once_and_reach_single_tracks_in_few_rounds(total: int) -> None:
    pieces, rounds = [whole(total=total)], 0
    while any(piece.count > 1 for piece in pieces):
        parts = [part for piece in pieces for part in piece.split()]
        assert covered(parts) == covered(pieces)
        pieces, rounds = parts, rounds + 1
        assert all(part.count >= 1 for part in parts)
    assert rounds <= 4


@given(SHARDS)
def test_with_nothing_finished_every_shard_is_left_whole(shards: dict[str, int]) -> None:
    left, counted = pieces_left(shards, [])
    assert [piece.name for piece in left] == list(shards)
    assert [piece.index for piece in left] == list(range(len(shards)))
    assert counted == []


@given(SHARDS, st.data())
def test_what_is_left_and_what_counts_hold_every_track_once(shards: dict[str, int], data: st.DataObject) -> None:
    by_name: dict[str, Piece] = {}
    for shard, total in shards.items():
        for _ in range(data.draw(st.integers(min_value=0, max_value=4))):
            first = data.draw(st.integers(min_value=0, max_value=total - 1))
            count = data.draw(st.integers(min_value=1, max_value=total - first))
            piece = Piece(shard=shard, index=0, first=first, count=count, total=total)
            by_name[piece.name] = piece
    finished = data.draw(st.permutations(list(by_name)))
    left, counted = pieces_left(shards, finished)
    assert set(counted) <= set(by_name)
    every = sorted((shard, at) for shard, total in shards.items() for at in range(total))
    assert sorted(covered(left) + covered([by_name[name] for name in counted])) == every


def test_files_of_another_plan_do_not_count() -> None:
    shards = {"a": 10}
    left, counted = pieces_left(shards, ["b", "b.000000-000005", "a.000008-000012", "a.x"])
    assert [piece.name for piece in left] == ["a"]
    assert counted == []


def test_a_resumed_split_does_the_rest_of_its_shard_only() -> None:
    shards = {"a": 10, "b": 3}
    left, counted = pieces_left(shards, ["a.000000-000004", "a.000006-000007", "b"])
    assert [piece.name for piece in left] == ["a.000004-000006", "a.000007-000010"]
    assert counted == ["a.000000-000004", "a.000006-000007", "b"]
