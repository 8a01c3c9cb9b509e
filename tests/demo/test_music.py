import numpy as np
import pytest

from catalog_tagger.demo import instruments
from catalog_tagger.demo.music import STYLES, Style, compose

RATE_HZ = 22050


@pytest.mark.parametrize("name", instruments.PITCHED)
@pytest.mark.parametrize("note", [45, 60, 69])
def test_an_instrument_sounds_the_note_it_is_asked_for(name: str, note: int) -> None:
    sound = instruments.PITCHED[name](note, 1.0, RATE_HZ)
    assert sound.shape == (RATE_HZ,)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() == pytest.approx(1.0)
    assert abs(sound[-1]) < 1e-6
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    wanted_hz = instruments.midi_to_hz(note)
    near = np.abs(hz / wanted_hz - 1.0) < 0.03
    assert spectrum[near].max() > 0.1 * spectrum.max(), f"{name} has nothing near {wanted_hz:.0f} Hz"


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.title)
def test_a_piece_is_whole_stereo_and_the_same_every_time(style: Style) -> None:
    piece = compose(style, seed=0, length_s=6.0, rate_hz=RATE_HZ)
    assert piece.shape == (2, 6 * RATE_HZ)
    assert piece.dtype == np.float32
    assert np.abs(piece).max() == pytest.approx(0.8)
    assert np.sqrt((piece**2).mean()) > 0.05
    np.testing.assert_array_equal(piece, compose(style, seed=0, length_s=6.0, rate_hz=RATE_HZ))
    assert not np.array_equal(piece, compose(style, seed=1, length_s=6.0, rate_hz=RATE_HZ))


def test_pieces_differ_in_key_tempo_and_sound() -> None:
    assert len({style.title for style in STYLES}) == len(STYLES) == 12
    assert len({style.beats_per_minute for style in STYLES}) >= 10
    assert len({style.scale for style in STYLES}) == 4
    assert {bool(style.drums) for style in STYLES} == {True, False}
