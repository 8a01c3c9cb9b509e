"""Which actors a piece of work has killed by itself, and what is counted when it is done twice."""

import pytest

from catalog_tagger.tagging import progress
from catalog_tagger.tagging.progress import Board, Counts, Deaths


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The nodes that Ray would call alive."""
    nodes = {"a", "b"}
    monkeypatch.setattr(progress, "_alive_nodes", lambda: nodes)
    return nodes


def test_a_piece_that_is_begun_for_the_first_time_has_killed_nobody(alive: set[str]) -> None:
    assert Board().begin("p", "a") == Deaths()


def test_actors_that_died_on_living_nodes_count(alive: set[str]) -> None:
    board = Board()
    board.begin("p", "a")
    assert board.begin("p", "a") == Deaths(count=1)
    board.blame("p", "RuntimeError: why")
    assert board.begin("p", "a") == Deaths(count=2, reason="RuntimeError: why")
    assert board.begin("q", "a") == Deaths()


def test_the_loss_of_a_node_never_counts_however_often(alive: set[str]) -> None:
    board = Board()
    for _ in range(10):
        alive.add("spot")
        board.begin("p", "spot")
        alive.remove("spot")
    assert board.begin("p", "a").count == 0


def test_a_death_on_another_node_is_told_apart_until_that_node_is_known_to_be_lost(alive: set[str]) -> None:
    board = Board()
    board.begin("p", "b")
    board.begin("p", "b")
    assert board.begin("p", "a") == Deaths(count=2, elsewhere=True)
    alive.remove("b")
    assert board.deaths("p") == Deaths()


def test_a_piece_that_has_ended_starts_anew(alive: set[str]) -> None:
    board = Board()
    board.begin("p", "a")
    board.end("p")
    assert board.begin("p", "a") == Deaths()


def test_what_is_done_twice_counts_once(alive: set[str]) -> None:
    board = Board()
    board.begin("p", "a")
    board.add("p", Counts(tracks=3, audio_s=9.0, size_bytes=100, quarantined=1))
    board.begin("q", "b")
    board.add("q", Counts(tracks=1, audio_s=1.0, size_bytes=7))
    board.begin("p", "a")
    assert board.total() == Counts(tracks=1, audio_s=1.0, size_bytes=7)
    board.add("p", Counts(tracks=5, audio_s=15.0, size_bytes=200))
    board.end("p")
    assert board.total() == Counts(tracks=6, audio_s=16.0, size_bytes=207)
