"""Headers that claim what no recording has: refused before anything is allocated."""

import struct
from pathlib import Path

import av
import numpy as np
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


@pytest.mark.parametrize("byte_rate", [1, 1000, 2**32 - 1])
@pytest.mark.parametrize("encoder", ["pcm_s16le", "pcm_alaw", "adpcm_ms", "adpcm_ima_wav"])
def test_a_wrong_byte_rate_in_a_wav_file_costs_nothing(encoder: str, byte_rate: int, tmp_path: Path) -> None:
    """Encoders write what they were asked for, FFmpeg's for ADPCM too; players never look at it."""
    with av.open(str(tmp_path / "a.wav"), "w") as output:
        kind = "s16p" if encoder == "adpcm_ima_wav" else "s16"
        stream = output.add_stream(encoder, rate=22050, layout="mono", format=kind)
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        for start in range(0, 5 * 22050 - size, size):
            part = np.random.default_rng(start).integers(-9000, 9000, (1, size), dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
            frame.sample_rate, frame.pts = 22050, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"fmt ") + 16
    whole = read_pcm(bytes(data))
    data[at : at + 4] = struct.pack("<I", byte_rate)
    np.testing.assert_array_equal(read_pcm(bytes(data)), whole)
    with pytest.raises(AudioError, match="ends after") as caught:
        read_pcm(bytes(data[: len(data) // 2]))
    assert caught.value.code == "truncated"


def test_a_defect_on_hostile_bytes_costs_one_track(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("catalog_tagger.audio._describe", fail)
    encoded = wav(rate_hz=16000, channels=1)
    *_, last = decode(Encoded(data=np.frombuffer(encoded, np.uint8)), max_duration_s=60.0)
    assert isinstance(last, AudioError)
    assert last.code == "decode_failed"
