"""Headers that claim what no recording has: refused before anything is allocated."""

import struct

import pytest

from catalog_tagger.audio import read_pcm
from catalog_tagger.errors import AudioError
from catalog_tagger.tagging.decoding import Encoded, decode


def wav(*, rate_hz: int, channels: int, bits: int = 8, n_bytes: int = 65536) -> bytes:
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate_hz, (rate_hz * align) % 2**32, align % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", n_bytes) + bytes(n_bytes)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("rate_hz", "channels"), [(1, 1), (3999, 2), (768001, 1), (2_100_000_000, 1), (44100, 106)])
def test_rates_and_channels_beyond_reason_are_one_error(rate_hz: int, channels: int) -> None:
    with pytest.raises(AudioError) as caught:
        read_pcm(wav(rate_hz=rate_hz, channels=channels))
    assert caught.value.code == "unsupported_codec"
    assert f"{rate_hz} Hz" in str(caught.value)


@pytest.mark.parametrize(("rate_hz", "channels"), [(4000, 1), (384000, 2), (48000, 8)])
def test_rare_but_real_ones_are_heard(rate_hz: int, channels: int) -> None:
    assert len(read_pcm(wav(rate_hz=rate_hz, channels=channels))) > 0


def test_a_defect_on_hostile_bytes_costs_one_track(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("catalog_tagger.audio._describe", fail)
    encoded = wav(rate_hz=16000, channels=1)
    import numpy as np

    *_, last = decode(Encoded(data=np.frombuffer(encoded, np.uint8)), max_duration_s=60.0)
    assert isinstance(last, AudioError)
    assert last.code == "decode_failed"
