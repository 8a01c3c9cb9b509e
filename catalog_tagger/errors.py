"""The one family of errors that users meet.

Every error that bad input, a refused permission or a full disk can cause is a `CatalogTaggerError`
whose message names the thing, its value and the remedy; the command line prints the message alone
and exits with `exit_code`. Anything else that escapes is a defect of the program.

Per-track failures are not errors of the run: they end as a `quarantined` row with one of
`QUARANTINE_CODES`, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_QUARANTINED: Final = 3
EXIT_INTERRUPTED: Final = 130

#: error_code of a quarantined track -> what it means.
QUARANTINE_CODES: Final[dict[str, str]] = {
    "empty": "the object has no bytes",
    "not_audio": "no allowed audio container was recognised in the bytes",
    "unsupported_codec": "the codec, the rate or the number of channels is not on the allow-list",
    "no_audio_stream": "the container holds no audio stream",
    "no_samples": "the audio stream decodes to nothing",
    "decode_failed": "the decoder found nothing it could decode",
    "truncated": "under 90 % of the audio that the headers announce is there",
    "decoder_crashed": "the process that decoded the track died, each time it was tried",
    "decoder_timeout": "decoding, or reading the headers, took longer than is allowed",
    "out_of_memory": "decoding asked for more memory than is allowed",
    "implausible": "the headers announce, or the bytes decode to, more audio than so few bytes can hold",
    "too_long": "the track is longer than the allowed duration",
    "not_found": "the object or the tar member does not exist",
    "unreadable": "the object exists but its bytes could not be read",
    "damaged_tar": "a tar file cannot be read to its end; its row stands for the members that are lost",
    "outside_roots": "the track lies, through a link, outside the configured roots",
    "tagger_crashed": "the tagging process died on this track, each time it was tried",
}


class CatalogTaggerError(Exception):
    """Base of every error a user can cause or mend; the message is the whole report."""

    exit_code: int = EXIT_FAILED


class UsageError(CatalogTaggerError):
    """An argument, configuration file, manifest or bundle is not usable as given."""

    exit_code = EXIT_USAGE


class StorageError(CatalogTaggerError):
    """The store refused or could not be reached; what was committed before stays.

    `systemic` says that no single object is to blame: access denied, no credentials, no connection.
    `transient` says that the same request may succeed later: all attempts at it met faults that pass.
    """

    def __init__(self, message: str, *, systemic: bool = False, transient: bool = False) -> None:
        super().__init__(message)
        self.systemic = systemic
        self.transient = transient

    def __reduce__(self) -> tuple[Callable[..., StorageError], tuple[str]]:
        return partial(type(self), systemic=self.systemic, transient=self.transient), (str(self),)


class RunError(CatalogTaggerError):
    """A run cannot start or go on; its finished shards stay and the run can be resumed."""


class AudioError(CatalogTaggerError):
    """A track cannot be turned into samples.

    Parameters
    ----------
    code
        One of `QUARANTINE_CODES`.
    message
        What was found in these bytes, without paths of the decoding machine.
    """

    def __init__(self, code: str, message: str) -> None:
        if code not in QUARANTINE_CODES:
            raise ValueError(f"unknown quarantine code {code!r}")
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return type(self), (self.code, str(self))


def named(names: Sequence[str], *, most: int, between: str = ", ", last: str = " and ") -> str:
    """The first of some names, and how many there are beyond `most`, for a message."""
    told = between.join(names[:most])
    return f"{told}{last}{len(names) - most} more" if len(names) > most else told


def reason_of(error: Exception) -> str:
    """Why a text file cannot be read, without what the message around it says already."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return (isinstance(error, OSError) and error.strerror) or str(error)
