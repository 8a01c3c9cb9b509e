"""The references are `librosa`'s filters and features, and the formulas of the published networks."""

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.mel import LogMel, hertz_to_mel, mel_filters, mel_to_hertz
from catalog_tagger.frontends.mfcc import MFCC, slope_in_time

RATE_HZ = 16000
SIGNAL = np.random.default_rng(0).uniform(-0.5, 0.5, 12000).astype(np.float32)


def apply(module: torch.nn.Module, signal: np.ndarray = SIGNAL) -> np.ndarray:
    return module(torch.from_numpy(signal)[None])[0].double().numpy()


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("equal_area", [False, True])
@pytest.mark.parametrize(
    ("n_bands", "f_min_hz", "f_max_hz"), [(64, 125.0, 7500.0), (40, 130.0, 6854.0), (8, 0.0, 8000.0)]
)
def test_triangles_along_hertz_agree_with_librosa(
    scale: str, equal_area: bool, n_bands: int, f_min_hz: float, f_max_hz: float
) -> None:
    filters = mel_filters(
        sample_rate_hz=RATE_HZ,
        n_fft=1024,
        n_bands=n_bands,
        f_min_hz=f_min_hz,
        f_max_hz=f_max_hz,
        scale=scale,  # type: ignore[arg-type]
        equal_area=equal_area,
    )
    wanted = librosa.filters.mel(
        sr=RATE_HZ,
        n_fft=1024,
        n_mels=n_bands,
        fmin=f_min_hz,
        fmax=f_max_hz,
        htk=scale == "htk",
        norm="slaney" if equal_area else None,
        dtype=np.float64,
    )
    np.testing.assert_allclose(filters, wanted.T, atol=1e-12)


def test_triangles_along_mel_are_straight_along_mel_and_add_up_to_one() -> None:
    filters = mel_filters(sample_rate_hz=RATE_HZ, n_fft=512, n_bands=64, f_min_hz=125.0, f_max_hz=7500.0, slopes="mel")
    bins_mel = 2595.0 * np.log10(1.0 + np.arange(257) * RATE_HZ / 512 / 700.0)
    edges_mel = np.linspace(2595 * np.log10(1 + 125 / 700), 2595 * np.log10(1 + 7500 / 700), 66)
    for band in range(64):
        wanted = np.interp(bins_mel, edges_mel[band : band + 3], [0.0, 1.0, 0.0])
        np.testing.assert_allclose(filters[:, band], wanted, atol=1e-9)
    between = (bins_mel > edges_mel[1]) & (bins_mel < edges_mel[-2])
    np.testing.assert_allclose(filters[between].sum(axis=1), 1.0)


@given(hertz=st.floats(0.0, 24000.0), scale=st.sampled_from(["htk", "slaney"]))
def test_the_mel_scale_is_invertible(hertz: float, scale: str) -> None:
    there = hertz_to_mel(np.array([hertz]), scale)  # type: ignore[arg-type]
    np.testing.assert_allclose(mel_to_hertz(there, scale), hertz, rtol=1e-9, atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(there, librosa.hz_to_mel(hertz, htk=scale == "htk"), rtol=1e-9, atol=1e-6)


def test_the_defaults_with_whole_windows_are_vggish_s_formula() -> None:
    values = apply(LogMel(padding="none"))
    frames = np.lib.stride_tricks.sliding_window_view(SIGNAL.astype(np.float64), 400)[::160]
    spectrum = np.abs(np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)), 512))
    filters = mel_filters(sample_rate_hz=RATE_HZ, n_fft=512, n_bands=64, f_min_hz=125.0, f_max_hz=7500.0, slopes="mel")
    np.testing.assert_allclose(values, np.log(spectrum @ filters + 0.01), atol=1e-4)


def test_power_decibels_and_mirrored_ends_agree_with_librosa() -> None:
    module = LogMel(
        window_ms=32.0,
        f_min_hz=50.0,
        f_max_hz=8000.0,
        scale="slaney",
        slopes="hertz",
        equal_area=True,
        power=2.0,
        logarithm="decibel",
        floor=1e-10,
        padding="reflect",
    )
    spectrum = librosa.feature.melspectrogram(
        y=SIGNAL.astype(np.float64),
        sr=RATE_HZ,
        n_fft=512,
        hop_length=160,
        n_mels=64,
        fmin=50,
        fmax=8000,
        pad_mode="reflect",
    )
    wanted = librosa.power_to_db(spectrum, ref=1.0, amin=1e-10, top_db=None).T
    np.testing.assert_allclose(apply(module), wanted, atol=1e-3)


@pytest.mark.parametrize("n_fft", [512, 1024])
def test_a_window_shorter_than_the_transform_is_mirrored_as_librosa_does(n_fft: int) -> None:
    module = LogMel(n_fft=n_fft, slopes="hertz", logarithm="none", padding="reflect")
    spectrum = np.abs(
        librosa.stft(SIGNAL.astype(np.float64), n_fft=n_fft, win_length=400, hop_length=160, pad_mode="reflect")
    )
    filters = librosa.filters.mel(sr=RATE_HZ, n_fft=n_fft, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None)
    np.testing.assert_allclose(apply(module), (filters @ spectrum).T, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(("padding", "frames"), [("zeros", 501), ("reflect", 501), ("none", 498)])
def test_five_seconds_have_their_frames(padding: str, frames: int) -> None:
    module = LogMel(padding=padding)  # type: ignore[arg-type]
    assert apply(module, np.zeros(80000, np.float32)).shape == (frames, 64)
    assert module.n_frames(80000) == frames


@given(n_samples=st.integers(0, 2000), batch=st.integers(0, 2), padding=st.sampled_from(["zeros", "reflect", "none"]))
@settings(max_examples=30, deadline=None)
def test_any_length_and_batch_has_its_shape(n_samples: int, batch: int, padding: str) -> None:
    module = LogMel(padding=padding)  # type: ignore[arg-type]
    out = module(torch.rand(batch, n_samples, dtype=torch.float64))
    assert out.shape == (batch, module.n_frames(n_samples), 64)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


def test_coefficients_agree_with_scipy_s_transform_of_librosa_s_bands() -> None:
    spectrum = np.abs(
        librosa.stft(SIGNAL.astype(np.float64), n_fft=1024, hop_length=743, center=True, pad_mode="constant")
    )
    filters = librosa.filters.mel(sr=RATE_HZ, n_fft=1024, n_mels=40, fmin=130, fmax=6854, htk=True, norm=None)
    logarithm = np.log((filters @ spectrum).T + 1e-3)
    wanted = scipy.fft.dct(logarithm, type=2, norm="ortho", axis=1)[:, 1:13]
    np.testing.assert_allclose(apply(MFCC()), wanted, atol=1e-4)


def test_coefficients_of_five_seconds_have_the_shape_of_the_paper_and_ignore_the_level() -> None:
    signal = np.random.default_rng(1).uniform(-0.5, 0.5, 80000).astype(np.float32)
    loud = apply(MFCC(), signal)
    assert loud.shape == (108, 12)
    np.testing.assert_allclose(
        apply(MFCC(), 0.5 * signal), loud, atol=0.02
    )  # the first, which is left out, is the level


@given(frames=st.integers(1, 40), width=st.sampled_from([3, 5, 9]), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_slopes_agree_with_librosa(frames: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((frames, 3))
    slopes = slope_in_time(torch.from_numpy(values)[None], width=width)[0].numpy()
    extended = np.pad(values, ((width, width), (0, 0)), mode="edge")
    wanted = librosa.feature.delta(extended.T, width=width, mode="nearest").T[width:-width]
    np.testing.assert_allclose(slopes, wanted, atol=1e-9)


def test_the_slope_of_a_line_is_its_slope() -> None:
    line = (2.5 * torch.arange(30.0))[:, None]
    torch.testing.assert_close(slope_in_time(line)[4:-4], torch.full((22, 1), 2.5))


def test_no_frames_have_no_slope() -> None:
    assert slope_in_time(torch.zeros(2, 0, 12)).shape == (2, 0, 12)


@pytest.mark.parametrize("width", [1, 2, 8])
def test_a_width_without_a_middle_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=f"not {width}"):
        slope_in_time(torch.zeros(1, 5, 1), width=width)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"f_min_hz": 8000.0}, "bands from 8000.0 to 7500.0 Hz"),
        ({"f_max_hz": 8001.0}, "half the sample rate, 8000 Hz"),
        ({"n_bands": 0}, "n_bands must be positive"),
        ({"n_bands": 200}, "200 bands are too narrow for 512 points"),
        ({"floor": 0.0}, "floor must be positive"),
        ({"n_fft": 256}, "n_fft 256 must be at least the window, 400 samples"),
        ({"power": 3.0}, "power is 3.0; it must be one of 1.0, 2.0"),
        ({"scale": "bark"}, "scale is 'bark'; it must be one of htk, slaney"),
        ({"slopes": "log"}, "slopes is 'log'"),
        ({"padding": "wrap"}, "padding is 'wrap'; it must be one of zeros, reflect, none"),
        ({"logarithm": "two"}, "logarithm is 'two'"),
    ],
)
def test_parameters_that_cannot_work_are_refused(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LogMel(**parameters)  # type: ignore[arg-type]


def test_more_coefficients_than_bands_are_refused() -> None:
    with pytest.raises(UsageError, match="40 coefficients need more than 40 bands"):
        MFCC(n_coefficients=40)
