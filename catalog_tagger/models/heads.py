"""Heads: from a series of segment features to one score per label.

The four of "Audio event classification using deep learning methods" (Xu, 2018, sections 3.2.9 and
5.1.3, Tables 5 to 7), on (batch, segments, size) as a trunk gives them. Every head answers logits
(batch, n_labels) and an embedding (batch, hidden); `HEADS` knows them by name.

    dnn                    hidden layers per segment, mean over segments, output layer
    lstm                   one LSTM over the segments, its last output, output layer
    attention              hidden layers, then equation 22 on the last of them
    multi_level_attention  equation 22 on several hidden layers, concatenated, output layer

Equation 22: of segment ``x_i`` a layer says for label ``k`` a probability ``f_k(x_i)`` and a weight
``v_k(x_i)``; with ``p_k = softmax over i of v_k`` the answer is ``y_k = sum_i p_k(x_i) f_k(x_i)``.
The paper leaves the kinds of ``f`` and ``v`` open; here they are linear layers, a sigmoid behind
the first. A hidden layer is linear, batch normalisation, ReLU and dropout, as in the paper.
All but the LSTM are indifferent to the order of the segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

_SMALLEST: Final = 1e-6


class Hidden(nn.Module):
    """A hidden layer on every segment of (batch, segments, inputs)."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, segments, inputs) to (batch, segments, outputs)."""
        y = self.linear(x)
        y = self.norm(y.flatten(0, 1)).view_as(y)
        out: Tensor = self.dropout(torch.relu(y))
        return out


class Attention(nn.Module):
    """Equation 22 on one layer."""

    def __init__(self, inputs: int, n_labels: int) -> None:
        super().__init__()
        self.classify = nn.Linear(inputs, n_labels)
        self.weigh = nn.Linear(inputs, n_labels)

    def weights(self, x: Tensor) -> Tensor:
        """``p``: (batch, segments, n_labels), each label's weights add up to 1 over the segments."""
        return torch.softmax(self.weigh(x), dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``y`` (batch, n_labels) of (batch, segments, inputs), and the weights."""
        weights = self.weights(x)
        return (weights * torch.sigmoid(self.classify(x))).sum(dim=1), weights


def _layers(inputs: int, hidden: int, count: int, dropout: float) -> nn.ModuleList:
    sizes = [inputs, *[hidden] * count]
    return nn.ModuleList(Hidden(one, hidden, dropout=dropout) for one in sizes[:-1])


class DNNHead(nn.Module):
    """Hidden layers on each segment, their mean over the segments, an output layer."""

    def __init__(self, inputs: int, n_labels: int, *, hidden: int, layers: int = 3, dropout: float = 0.4) -> None:
        super().__init__()
        self.layers = _layers(inputs, hidden, layers, dropout)
        self.output = nn.Linear(hidden, n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the mean of the last hidden layer."""
        for layer in self.layers:
            x = layer(x)
        embedding = x.mean(dim=1)
        return self.output(embedding), embedding


class LSTMHead(nn.Module):
    """One LSTM layer whose last output goes into an output layer."""

    def __init__(self, inputs: int, n_labels: int, *, hidden: int, layers: int = 3, dropout: float = 0.4) -> None:
        super().__init__()
        del layers  # the paper's has one, whatever the others have
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the last output of the LSTM."""
        embedding = self.norm(self.lstm(x)[0][:, -1])
        return self.output(self.dropout(embedding)), embedding


class AttentionHead(nn.Module):
    """Hidden layers, then attention on the last of them; the logits are those of its probabilities."""

    def __init__(self, inputs: int, n_labels: int, *, hidden: int, layers: int = 3, dropout: float = 0.4) -> None:
        super().__init__()
        self.layers = _layers(inputs, hidden, layers, dropout)
        self.attention = Attention(hidden, n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the last hidden layer's mean by the labels' average weights."""
        for layer in self.layers:
            x = layer(x)
        # bfloat16 cannot tell probabilities near 1 apart, whose logits differ by several
        with torch.autocast(x.device.type, enabled=False):
            probability, weights = self.attention(x.float())
        return torch.logit(probability, eps=_SMALLEST), _pooled(x, weights)


class MultiLevelAttentionHead(nn.Module):
    """Attention on several hidden layers; their answers go into an output layer together.

    Parameters
    ----------
    levels
        Which hidden layers, counted from 1; all where empty.
    """

    def __init__(
        self,
        inputs: int,
        n_labels: int,
        *,
        hidden: int,
        layers: int = 3,
        dropout: float = 0.4,
        levels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.levels = tuple(levels) or tuple(range(1, layers + 1))
        if not all(1 <= level <= layers for level in self.levels):
            raise ValueError(f"levels {list(self.levels)} must lie between 1 and {layers}")
        self.layers = _layers(inputs, hidden, layers, dropout)
        self.attentions = nn.ModuleList(Attention(hidden, n_labels) for _ in self.levels)
        self.output = nn.Linear(n_labels * len(self.levels), n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the highest level's mean by the labels' average weights."""
        answers, embedding = [], x
        at = dict(zip(self.levels, self.attentions, strict=True))
        for level, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if level in at:
                answer, weights = at[level](x)
                answers.append(answer)
                embedding = _pooled(x, weights)
        return self.output(torch.cat(answers, dim=1)), embedding


def _pooled(x: Tensor, weights: Tensor) -> Tensor:
    return (x * weights.mean(dim=2, keepdim=True)).sum(dim=1)


HEADS: Final[dict[str, type[nn.Module]]] = {
    "dnn": DNNHead,
    "lstm": LSTMHead,
    "attention": AttentionHead,
    "multi_level_attention": MultiLevelAttentionHead,
}
