"""Which bundles fill the tables together, and which columns each of them fills.

`bundle_names` says which bundles go together and in what order. Columns whose bundle is left out are null: no score
stands for a model that did not listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog_tagger.models.bundle import SPEECH_MUSIC, TAGS, VOICE_GENDER, Bundle, load_bundle, shipped_bundles
from catalog_tagger.tagging.bundle_names import PEAKS_ID, arranged, ids_of

__all__ = ["PEAKS_ID", "BundleSet", "load_bundles"]


@dataclass(frozen=True)
class BundleSet:
    """Bundles that are run in one pass, ordered."""

    bundles: tuple[Bundle, ...]

    @property
    def ids(self) -> list[str]:
        """What hears a track, as the tables carry it: ``name@fingerprint`` of every bundle, and `PEAKS_ID`."""
        return ids_of(self.bundles)

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
    return BundleSet(arranged([load_bundle(name) for name in (shipped_bundles() if names is None else names)]))
