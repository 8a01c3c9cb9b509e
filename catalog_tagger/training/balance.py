"""How much the examples of validation weigh, where nobody knows how often what they hold occurs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


def balanced(
    truth: npt.NDArray[np.floating], known: npt.NDArray[np.bool_], sources: npt.NDArray[np.str_]
) -> Float32Array:
    """Weights of examples [shape=(examples, labels)], their mean about 1.

    Presence and absence of a label have equal mass: no collection knows how often either occurs where
    a bundle will be used. Within each a source weighs by the square root of its examples, so that
    neither a large collection nor a tiny one decides.

    Parameters
    ----------
    truth
        0 or 1 [shape=(examples, labels)].
    known
        Where the truth counts, same shape; elsewhere the weight is 0.
    sources
        Of each example.
    """
    weight = np.zeros(truth.shape, np.float32)
    for label in range(truth.shape[1]):
        for answer in (0.0, 1.0):
            counted = known[:, label] & (truth[:, label] == answer)
            if counted.any():
                _, place, counts = np.unique(sources[counted], return_inverse=True, return_counts=True)
                mass = 1 / np.sqrt(counts[place])
                weight[counted, label] = mass / mass.sum() * len(truth) / 2
    return weight
