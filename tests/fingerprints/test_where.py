"""Where songs may be heard."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.fingerprints.where import may_hold_music, near


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
def test_what_lies_near_something_inside_is_inside(inside: list[bool], beside: int) -> None:
    wider = near(np.array(inside, bool), beside=beside)
    assert wider.tolist() == [any(inside[max(0, i - beside) : i + beside + 1]) for i in range(len(inside))]


def test_sure_speech_alone_holds_no_music() -> None:
    p_speech = np.array([1.0, 1.0, 0.9, 0.2, 0.9, 1.0], np.float32)
    p_music = np.array([0.0, 0.2, 0.0, 0.0, 0.05, 0.05], np.float32)
    assert may_hold_music(p_speech, p_music, beside=0).tolist() == [False, True, False, True, False, False]
    assert may_hold_music(p_speech, p_music, beside=1).tolist() == [True, True, True, True, True, False]
