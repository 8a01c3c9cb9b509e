"""Signals and files that the tests listen to: known tones, in every codec the product reads."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from catalog_tagger.demo import CODECS, SUFFIXES, write_audio

Signal = npt.NDArray[np.float64]

#: name -> (suffix, libsndfile's format, its sample type), the codecs that `write_audio` lacks
SNDFILE_CODECS = {
    "wav_u8": (".wav", "WAV", "PCM_U8"),
    "wav_24": (".wav", "WAV", "PCM_24"),
    "wav_32": (".wav", "WAV", "PCM_32"),
    "wav_float": (".wav", "WAV", "FLOAT"),
    "wav_double": (".wav", "WAV", "DOUBLE"),
    "wav_ulaw": (".wav", "WAV", "ULAW"),
    "wav_alaw": (".wav", "WAV", "ALAW"),
    "w64": (".w64", "W64", "PCM_16"),
    "aiff_24": (".aiff", "AIFF", "PCM_24"),
    "flac_24": (".flac", "FLAC", "PCM_24"),
    "vorbis_mono": (".ogg", "OGG", "VORBIS"),
}
ALL_CODECS = (*CODECS, *SNDFILE_CODECS)
EXACT_CODECS = ("wav", "aiff", "flac", "alac", "wav_24", "wav_32", "wav_float", "wav_double", "w64", "aiff_24")


def tone(length_s: float, *, rate_hz: int, hz: float = 1000.0, level: float = 0.5, channels: int = 1) -> Signal:
    """Shape (channels, samples): the same sine in every channel."""
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    return np.tile(level * np.sin(2 * np.pi * hz * t), (channels, 1))


def glide(length_s: float, *, rate_hz: int, channels: int = 1) -> Signal:
    """Shape (channels, samples): a sine whose pitch names the time, from 300 Hz up by 50 Hz per second."""
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    return np.tile(0.4 * np.sin(2 * np.pi * (300.0 + 25.0 * t) * t), (channels, 1))


def write(path: Path, signal: Signal, *, rate_hz: int, codec: str) -> Path:
    """Encode by `write_audio`, or by libsndfile where that has the codec."""
    if codec in CODECS:
        return write_audio(path, signal, sample_rate_hz=rate_hz, codec=codec)
    _, kind, subtype = SNDFILE_CODECS[codec]
    with soundfile.SoundFile(path, "w", rate_hz, signal.shape[0], subtype=subtype, format=kind) as file:
        for start in range(0, signal.shape[1], 4096):  # libsndfile overflows its stack on long Vorbis writes
            file.write(signal[:, start : start + 4096].T)
    return path


def suffix_of(codec: str) -> str:
    return SUFFIXES[codec] if codec in SUFFIXES else SNDFILE_CODECS[codec][0]


def encoded(signal: Signal, *, rate_hz: int, codec: str, folder: Path) -> bytes:
    """The file's bytes."""
    return write(folder / f"encoded{suffix_of(codec)}", signal, rate_hz=rate_hz, codec=codec).read_bytes()


def wav_bytes(samples: npt.NDArray[np.int16], *, rate_hz: int = 16000) -> bytes:
    """A 16-bit WAV file of shape (samples,) or (samples, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def strongest_hz(pcm: npt.NDArray[np.int16]) -> float:
    """Frequency of the strongest component at 16 kHz."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * 16000 / len(pcm))


def rms(pcm: npt.NDArray[np.int16]) -> float:
    """Root mean square, full scale 1."""
    return float(np.sqrt(np.mean((pcm / 32768.0) ** 2)))


def ogg_crc(page: bytes) -> int:
    """The checksum of an Ogg page whose own is zero."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc
