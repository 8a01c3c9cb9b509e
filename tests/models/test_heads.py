"""Heads and the tagger's network: shapes, order, and the formula of the paper."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.models import build_model
from catalog_tagger.models.heads import HEADS, Attention, AttentionHead, MultiLevelAttentionHead
from catalog_tagger.models.vgg import VGGTagger


def head(name: str, *, inputs: int = 6, n_labels: int = 3, hidden: int = 5) -> torch.nn.Module:
    torch.manual_seed(0)
    made = HEADS[name](inputs, n_labels, hidden=hidden)
    made(torch.randn(16, 7, inputs))  # its normalisation needs to have met something
    return made.eval()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("segments", [1, 9])
def test_each_head_answers_logits_and_an_embedding(name: str, segments: int) -> None:
    logits, embedding = head(name)(torch.randn(4, segments, 6))
    assert logits.shape == (4, 3)
    assert embedding.shape == (4, 5)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", HEADS)
def test_only_the_lstm_minds_the_order_of_segments(name: str) -> None:
    made, x = head(name), torch.randn(3, 8, 6)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    same = all(torch.allclose(one, other, atol=1e-5) for one, other in zip(made(x), made(x[:, order]), strict=True))
    assert same == (name != "lstm")


@settings(deadline=None, max_examples=20)
@given(batch=st.integers(1, 4), segments=st.integers(1, 12), scale=st.floats(0.1, 50))
def test_attention_weights_add_up_to_one_over_the_segments(batch: int, segments: int, scale: float) -> None:
    weights = Attention(4, 3).weights(scale * torch.randn(batch, segments, 4))
    assert weights.shape == (batch, segments, 3)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch, 3))


def test_attention_is_equation_22() -> None:
    torch.manual_seed(0)
    attention, x = Attention(4, 2), torch.randn(1, 3, 4)
    answer, weights = attention(x)
    f = 1 / (1 + torch.exp(-(x[0] @ attention.classify.weight.T + attention.classify.bias)))
    v = torch.exp(x[0] @ attention.weigh.weight.T + attention.weigh.bias)
    for label in range(2):
        p = v[:, label] / v[:, label].sum()
        torch.testing.assert_close(weights[0, :, label], p)
        torch.testing.assert_close(answer[0, label], (p * f[:, label]).sum())


def test_logits_of_the_attention_head_are_those_of_its_probabilities() -> None:
    made, x = head("attention"), torch.randn(2, 5, 6)
    assert isinstance(made, AttentionHead)
    hidden = x
    for layer in made.layers:
        hidden = layer(hidden)
    torch.testing.assert_close(torch.sigmoid(made(x)[0]), made.attention(hidden)[0])


def test_multi_level_attention_concatenates_the_levels_it_is_given() -> None:
    torch.manual_seed(0)
    made = MultiLevelAttentionHead(6, 3, hidden=5, levels=(1, 3)).eval()
    x = torch.randn(2, 4, 6)
    first = made.layers[0](x)
    third = made.layers[2](made.layers[1](first))
    both = torch.cat([made.attentions[0](first)[0], made.attentions[1](third)[0]], dim=1)
    torch.testing.assert_close(made(x)[0], made.output(both))


def test_tagger_answers_labels_and_an_embedding_of_the_size_it_says() -> None:
    model = build_model({"name": "vgg_tagger", "n_labels": 4, "channels": [4, 8], "hidden": 12}).eval()
    logits, embedding = model.embed(torch.rand(3, 216, 144) * 12)
    assert logits.shape == (3, 4)
    assert embedding.shape == (3, model.embedding_size) == (3, 12)
    torch.testing.assert_close(model(torch.zeros(1, 216, 144)), model.embed(torch.zeros(1, 216, 144))[0])


@pytest.mark.parametrize("name", HEADS)
def test_tagger_fits_in_a_bundle_of_five_megabytes(name: str) -> None:
    model = build_model({"name": "vgg_tagger", "n_labels": 28, "head": name})
    assert 4 * sum(one.numel() for one in model.state_dict().values()) < 4_900_000


def test_tagger_ignores_the_level_and_bears_silence() -> None:
    torch.manual_seed(0)
    model = VGGTagger(n_labels=2, channels=(4, 8), hidden=8).eval()
    features = torch.rand(2, 216, 144) * 4 + 4
    torch.testing.assert_close(model(features), model(features + 3.0), atol=1e-4, rtol=1e-4)
    assert bool(torch.isfinite(model(torch.zeros(1, 216, 144))).all())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"head": "oracle"}, "unknown head 'oracle'"),
        ({"head": "dnn", "levels": [1]}, "levels are for the head multi_level_attention"),
        ({"levels": [4]}, "must lie between 1 and 3"),
        ({"channels": [8]}, "make no network"),
        ({"hidden": 0}, "make no network"),
    ],
)
def test_bad_parameters_of_the_tagger_are_one_clear_error(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_model({"name": "vgg_tagger", "n_labels": 2, **parameters})
