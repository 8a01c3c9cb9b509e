"""Which bundles may fill the tables together, and that each front end runs once for those that share it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import put_untrained

from catalog_tagger.audio import SEGMENT_SAMPLES
from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import load_bundle, shipped_bundles
from catalog_tagger.tagging.bundle_set import PEAKS_ID, load_bundles
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.tagger import Scorer


def test_the_same_bundles_are_the_same_set_in_whatever_order_they_are_named(bundles: tuple[str, str, str]) -> None:
    expected = [load_bundle(folder).identity for folder in bundles]
    assert [name.split("@")[0] for name in expected] == ["untrained", "voices", "tagger"]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        assert load_bundles([bundles[i] for i in order]).ids == [*expected, PEAKS_ID]


def test_a_set_knows_what_its_bundles_are_for(bundles: tuple[str, str, str]) -> None:
    whole, tagger = load_bundles(bundles), load_bundles(bundles[2:])
    assert whole.presence is whole.bundles[0]
    assert whole.voices is whole.bundles[1]
    assert (whole.tags, whole.decision) == (("dog", "flute", "rain"), {"abstain_below": 0.55})
    assert whole.embedder is whole.bundles[2]
    assert (tagger.presence, tagger.voices, tagger.decision) == (None, None, {})
    assert tagger.taggers == tagger.bundles


def test_all_that_ship_fit_together_and_are_the_default() -> None:
    shipped = [load_bundle(name).identity for name in shipped_bundles()]
    assert sorted(load_bundles().ids) == sorted([*shipped, PEAKS_ID])
    assert load_bundles().presence is not None
    assert make_config(source="a", warehouse="w").bundles == shipped_bundles()


@pytest.mark.parametrize("task", [0, 1])
def test_two_bundles_that_fill_the_same_columns_are_refused(task: int, bundles: tuple[str, ...]) -> None:
    name = ("speech_music", "voice_gender")[task]
    with pytest.raises(UsageError, match=f"are both of task {name}: leave one of them out"):
        load_bundles([bundles[task], bundles[task]])


def test_two_taggers_may_work_together_as_long_as_their_tags_differ(bundles: tuple[str, ...], tmp_path: Path) -> None:
    other = put_untrained(tmp_path / "moods", labels=["calm", "flute"], task="tags")
    with pytest.raises(UsageError, match=r"bundles tagger@\w+ and moods@\w+ both tell 'flute': leave one out"):
        load_bundles([bundles[2], other])
    another = put_untrained(tmp_path / "genres", labels=["calm", "loud"], task="tags")
    both = load_bundles([bundles[2], another])
    assert both.tags == ("calm", "loud", "dog", "flute", "rain"), "by the bundles' names"
    scores = Scorer([bundles[2], another]).score(np.zeros((1, SEGMENT_SAMPLES), np.int16)).tags
    assert scores is not None
    alone = Scorer([bundles[2]]).score(np.zeros((1, SEGMENT_SAMPLES), np.int16)).tags
    np.testing.assert_allclose(scores[:, 2:], alone, atol=1e-6)


def test_no_bundle_is_one_error() -> None:
    with pytest.raises(UsageError, match="no bundle to listen with"):
        load_bundles([])


def test_a_front_end_runs_once_for_all_bundles_that_share_it(bundles: tuple[str, ...]) -> None:
    scorer, calls = Scorer(bundles), []
    for one in scorer.bundles.bundles:
        one.frontend.register_forward_hook(lambda module, *_: calls.append(id(module)))
    together = scorer.score(np.zeros((2, SEGMENT_SAMPLES), np.int16))
    assert len(calls) == 1
    alone = Scorer(bundles[1:2]).score(np.zeros((2, SEGMENT_SAMPLES), np.int16))
    np.testing.assert_allclose(together.voices, alone.voices, atol=1e-6)
    assert (alone.presence, alone.tags) == (None, None)


def test_bundles_with_another_front_end_hear_by_their_own(bundles: tuple[str, ...], tmp_path: Path) -> None:
    # the same network, hearing by another compression of the same bins
    folder = put_untrained(
        tmp_path / "other", labels=["calm"], task="tags", frontend={"name": "cqt", "compression": 10.0}
    )
    noise = (np.random.default_rng(0).standard_normal((20, SEGMENT_SAMPLES)) * 2000).astype(np.int16)
    scorer, calls = Scorer([*bundles, folder], batch_segments=16), []
    for one in scorer.bundles.bundles:
        one.frontend.register_forward_hook(lambda module, *_: calls.append(id(module)))
    tags = scorer.score(noise).tags
    assert tags is not None
    assert len(set(calls)) == 2
    assert len(calls) == 4, "two front ends, two batches"
    np.testing.assert_allclose(tags[:, :1], Scorer([folder]).score(noise).tags, atol=1e-5)
    np.testing.assert_allclose(tags[:, 1:], Scorer(bundles).score(noise).tags, atol=1e-5)


def test_a_bundle_that_was_altered_is_refused_by_name(bundles: tuple[str, ...], tmp_path: Path) -> None:
    copy = shutil.copytree(bundles[1], tmp_path / "copy")
    card = copy / "bundle.json"
    card.write_text(card.read_text().replace('"voice_gender"', '"speech_music"'))
    with pytest.raises(UsageError, match=r"copy: bundle\.json was altered"):
        load_bundles([bundles[0], str(copy)])
