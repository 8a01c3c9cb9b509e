"""Several residual networks that learn by themselves and answer together.

What recordings of few collections leave open, networks that began elsewhere decide otherwise: their
mean errs less on strange collections than any of them, or than one network of their size
(Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
ensembles", NeurIPS 2017, section 2.4; logits are averaged here, which keeps calibration one line).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from catalog_tagger.models.residual_cnn import ResidualCNN


class ResidualEnsemble(nn.Module):
    """`members` networks as `ResidualCNN`, each with weights of its own.

    Parameters
    ----------
    members
        How many.
    n_labels, channels, bands, hidden, dropout, range_bits, floor_bits
        Of each, see `ResidualCNN`.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        members: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128),
        bands: int = 1,
        hidden: int = 192,
        dropout: float = 0.3,
        range_bits: float = 8.0,
        floor_bits: float = 1.5,
    ) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members {members} make no network")
        self.members = nn.ModuleList(
            ResidualCNN(
                n_labels=n_labels,
                channels=channels,
                bands=bands,
                hidden=hidden,
                dropout=dropout,
                range_bits=range_bits,
                floor_bits=floor_bits,
            )
            for _ in range(members)
        )

    def forward(self, features: Tensor) -> Tensor:
        """The mean of the logits (batch, n_labels) of CQT-grams (batch, frames, bins).

        In training every answer, (members * batch, n_labels), member by member, so that each is
        corrected for its own: together they would divide the work and err together.
        """
        members = [cast("ResidualCNN", member) for member in self.members]
        levelled = members[0].level(features)  # the same for each: they share the settings of it
        answers = [member.of_levelled(levelled) for member in members]
        return torch.cat(answers) if self.training else torch.stack(answers).mean(dim=0)
