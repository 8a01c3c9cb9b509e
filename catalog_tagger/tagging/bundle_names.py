"""What bundles a run listens with, by name: their order, their identities, and which of them go together.

A set has at most one bundle of task `speech_music`, at most one of `voice_gender`, and any number of `tags` with
labels of their own; it has one order, by task and name, whatever order its bundles were named in, so that the same
bundles are the same set. A driver needs to know no more of them than that, and loads nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from catalog_tagger.bundle_files import (
    SPEECH_MUSIC,
    TAGS,
    TASKS,
    VOICE_GENDER,
    check_task,
    read_bundle,
    shipped_bundles,
)
from catalog_tagger.errors import UsageError
from catalog_tagger.fingerprints.version import PEAKS_VERSION

#: what stands among the bundles of a row for its fingerprints: rows of another version are tagged again
PEAKS_ID: Final = f"peaks@{PEAKS_VERSION}"
_ORDER: Final = list(TASKS)


class Named(Protocol):
    """What has to be known of a bundle here."""

    @property
    def identity(self) -> str:
        """``name@fingerprint``."""

    @property
    def task(self) -> str:
        """A key of `TASKS`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells."""


Kind = TypeVar("Kind", bound=Named)


def arranged(bundles: Sequence[Kind]) -> tuple[Kind, ...]:
    """Bundles in the order of a set.

    Raises
    ------
    UsageError
        There is none, or two would fill the same column.
    """
    if not bundles:
        raise UsageError("no bundle to listen with: give one with --bundle, by name or folder")
    for task in (SPEECH_MUSIC, VOICE_GENDER):
        same = [bundle.identity for bundle in bundles if bundle.task == task]
        if len(same) > 1:
            raise UsageError(f"bundles {' and '.join(same)} are both of task {task}: leave one of them out")
    first: dict[str, Kind] = {}
    for bundle in bundles:
        for tag in bundle.labels if bundle.task == TAGS else ():
            other = first.setdefault(tag, bundle)
            if other is not bundle:
                raise UsageError(f"bundles {other.identity} and {bundle.identity} both tell {tag!r}: leave one out")
    return tuple(sorted(bundles, key=lambda one: (_ORDER.index(one.task), one.identity)))


def ids_of(bundles: Sequence[Named]) -> list[str]:
    """What hears a track, as the tables carry it: ``name@fingerprint`` of every bundle, and `PEAKS_ID`."""
    return [*(bundle.identity for bundle in bundles), PEAKS_ID]


def name_bundles(names: Sequence[str] | None = None) -> list[str]:
    """As `ids_of` what `bundle_set.load_bundles` would load, by a look at the files.

    Raises
    ------
    UsageError
        A bundle is missing or altered or of an unknown task, none is given, or two would fill the same column.
    """
    files = [read_bundle(name) for name in (shipped_bundles() if names is None else names)]
    for one in files:
        check_task(one.folder, one.task, one.labels)
    return ids_of(arranged(files))
