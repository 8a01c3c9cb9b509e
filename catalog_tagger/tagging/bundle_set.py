"""Which bundles fill the tables together, and which columns each of them fills.

A set has at most one bundle of task `speech_music`, at most one of `voice_gender`, and any number of
`tags` with labels of their own. Columns whose bundle is left out are null: no score stands for a model
that did not listen. A set has one order, by task and name, whatever order its bundles were named in, so
that the same bundles are the same set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from catalog_tagger.errors import UsageError
from catalog_tagger.fingerprints.peaks import PEAKS_VERSION
from catalog_tagger.models.bundle import SPEECH_MUSIC, TAGS, TASKS, VOICE_GENDER, Bundle, load_bundle, shipped_bundles

#: what stands among the bundles of a row for its fingerprints: rows of another version are tagged again
PEAKS_ID: Final = f"peaks@{PEAKS_VERSION}"
_ORDER: Final = list(TASKS)


@dataclass(frozen=True)
class BundleSet:
    """Bundles that are run in one pass, ordered."""

    bundles: tuple[Bundle, ...]

    @property
    def ids(self) -> list[str]:
        """What hears a track, as the tables carry it: ``name@fingerprint`` of every bundle, and `PEAKS_ID`."""
        return [*(bundle.identity for bundle in self.bundles), PEAKS_ID]

    @property
    def presence(self) -> Bundle | None:
        """The one that tells speech and music."""
        return next((bundle for bundle in self.bundles if bundle.task == SPEECH_MUSIC), None)

    @property
    def voices(self) -> Bundle | None:
        """The one that tells voices."""
        return next((bundle for bundle in self.bundles if bundle.task == VOICE_GENDER), None)

    @property
    def decision(self) -> dict[str, float]:
        """Thresholds of the one that tells voices."""
        return {} if self.voices is None else self.voices.decision

    @property
    def taggers(self) -> tuple[Bundle, ...]:
        """Those whose labels are tags."""
        return tuple(bundle for bundle in self.bundles if bundle.task == TAGS)

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels of all taggers, one after the other."""
        return tuple(label for bundle in self.taggers for label in bundle.labels)

    @property
    def embedder(self) -> Bundle | None:
        """The first tagger whose network has an embedding."""
        return next((bundle for bundle in self.taggers if bundle.embedding_size is not None), None)


def load_bundles(names: Sequence[str] | None = None) -> BundleSet:
    """Load bundles that are to fill the tables together.

    Parameters
    ----------
    names
        Of shipped bundles, or folders; by default all that ship.

    Raises
    ------
    UsageError
        A bundle is missing or altered, none is given, or two would fill the same column.
    """
    bundles = [load_bundle(name) for name in (shipped_bundles() if names is None else names)]
    if not bundles:
        raise UsageError("no bundle to listen with: give one with --bundle, by name or folder")
    for task in (SPEECH_MUSIC, VOICE_GENDER):
        same = [bundle.identity for bundle in bundles if bundle.task == task]
        if len(same) > 1:
            raise UsageError(f"bundles {' and '.join(same)} are both of task {task}: leave one of them out")
    first: dict[str, Bundle] = {}
    for bundle in bundles:
        for tag in bundle.labels if bundle.task == TAGS else ():
            other = first.setdefault(tag, bundle)
            if other is not bundle:
                raise UsageError(f"bundles {other.identity} and {bundle.identity} both tell {tag!r}: leave one out")
    return BundleSet(tuple(sorted(bundles, key=lambda one: (_ORDER.index(one.task), one.identity))))
