"""Which places a source may name: a catalogue's manifest comes from others, the job's credentials do not.

A root is a folder or an ``s3://`` prefix, and stands for what lies below it by whole names: the root
``/music`` holds ``/music/a.mp3`` and not ``/musical/a.mp3``. Local paths are compared after ``.``,
``..`` and doubled slashes are resolved by their text. Keys of object storage are literal; one that
leads out of its root were it a path is refused too, since some servers keep objects as files.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.tagging.track_list import tars_of

#: what a path must not have for its text to be what it means
NOT_NORMAL = r"//|/\.{1,2}(/|$)|/$"


def normal_root(root: str) -> str:
    """A root as uris are compared with it, without a slash at the end."""
    if root.startswith("s3://"):
        return root.rstrip("/")
    return os.path.abspath(os.path.expanduser(root.removeprefix("file://"))).rstrip("/")  # noqa: PTH100, PTH111 - text


def first_outside(uris: pa.ChunkedArray, roots: Sequence[str]) -> int | None:
    """Index of the first uri that lies below none of the roots; None where all do.

    Parameters
    ----------
    uris
        Absolute ones, as lists of tracks hold them; what follows ``.tar#`` is a name within the tar.
    roots
        Folders and ``s3://`` prefixes, at least one.
    """
    places = tars_of(uris)
    inside = _inside(places, roots)
    odd = pc.and_(pc.starts_with(places, "s3://"), pc.match_substring_regex(places, r"/\.{1,2}(/|$)"))
    if pc.any(odd).as_py():
        rows = np.flatnonzero(odd.to_numpy())
        resolved = [_resolved(place) for place in places.take(pa.array(rows)).to_pylist()]
        still = _inside(pa.chunked_array([pa.array(resolved, pa.string())]), roots)
        mask = inside.to_numpy().copy()
        mask[rows] &= still.to_numpy()
        inside = pa.chunked_array([pa.array(mask)])
    found: int = pc.index(inside, False).as_py()
    return None if found < 0 else found


def _inside(places: pa.ChunkedArray, roots: Sequence[str]) -> pa.ChunkedArray:
    inside = pa.chunked_array([pa.array(np.zeros(len(places), dtype=bool))])
    for root in map(normal_root, roots):
        inside = pc.or_(inside, pc.or_(pc.starts_with(places, f"{root}/"), pc.equal(places, root)))
    return inside


def _resolved(uri: str) -> str:
    """An object's uri as a server would read it that keeps objects as files."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"s3://{posixpath.normpath(f'/{bucket}/{key}').lstrip('/')}"
