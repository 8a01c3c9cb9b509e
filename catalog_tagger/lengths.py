"""How long a track may be: what the user allows, and what its bytes can hold at all.

A few kilobytes of constant frames can decode to days of silence, and a header can claim any length. No honest
file is longer than `FLOOR_S` plus one second for every `LEAST_BYTES_PER_S` bytes. Twenty minutes of digital silence
in the sparsest files that common encoders make, in bytes per second:

| | 4 kHz | 8 kHz | 44.1 or 48 kHz |
|---|---|---|---|
| FLAC (libFLAC) | 12.7 | 24 | 138 |
| FLAC, frames of 65 535 samples (FFmpeg, asked to) | | 8.5 | 16 |
| ALAC in MP4 (FFmpeg) | | 38 | 205 |
| AAC in MP4 (FFmpeg) | | 64 | 348 |
| Vorbis (libvorbis) | | 68 | 94 |
| Opus (libopus, with and without DTX) | | 228 | 228 |
| MP3 (LAME at 8 kb/s) | | 1000 | 4000 |

Anything with sound in it takes more; Opus at 6 kb/s has 560.

Which of the codes a file gets: ``implausible`` before ``too_long`` before ``truncated``.

- Headers that announce more than `LONGEST_CLAIM_S` and more than the bytes can hold: ``implausible``, undecoded.
- Headers that announce more than the user allows: ``too_long``, undecoded.
- Less than that is decoded, whatever the number of bytes: a download that stopped after a kilobyte is ``truncated``.
- A track that decodes to more than its bytes can hold, or than the user allows, ends there with the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from catalog_tagger.errors import AudioError

LEAST_BYTES_PER_S: Final = 8
FLOOR_S: Final = 600.0
#: a claim up to this costs nothing but the decoding of what is there
LONGEST_CLAIM_S: Final = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class LengthLimit:
    """The bounds for one file; both checks raise `AudioError` ``implausible`` or ``too_long``."""

    size_bytes: int
    max_duration_s: float

    @property
    def longest_s(self) -> float:
        """The most audio that so many bytes can hold."""
        return FLOOR_S + self.size_bytes / LEAST_BYTES_PER_S

    def check_announced(self, seconds: float) -> None:
        """Judge what trustworthy headers say."""
        if seconds > max(self.longest_s, LONGEST_CLAIM_S):
            raise self._implausible(f"the headers announce {seconds:.0f} s")
        if seconds > self.max_duration_s:
            raise AudioError(
                "too_long", f"more than {self.max_duration_s:.0f} s of audio: the headers announce {seconds:.0f} s"
            )

    def check_decoded(self, seconds: float) -> None:
        """Judge what was decoded so far."""
        if seconds > self.longest_s:
            raise self._implausible(f"more than {self.longest_s:.0f} s decode")
        if seconds > self.max_duration_s:
            raise AudioError("too_long", f"more than {self.max_duration_s:.0f} s of audio")

    def _implausible(self, found: str) -> AudioError:
        return AudioError(
            "implausible", f"{found} from {self.size_bytes} bytes, which hold {self.longest_s:.0f} s at most"
        )
