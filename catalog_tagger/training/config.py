"""The YAML file that describes a training, checked before anything is read or decoded.

Paths are relative to the working directory. An unknown key or a bad value gives one error that
names the file, the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog_tagger.errors import UsageError, reason_of

Penalty = Literal["l1", "l2", "l1_l2", "l12", "l21"]
Recipe = Literal["speech", "music", "song", "speech+music", "neither", "sequence", "unknown"]


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ValidationConfig(Strict):
    """What is kept from training: patterns against `source/original_path`, and a share of the rest.

    A share of the recordings and voices, or of the sources, whole ones in either case; see `manifest`.
    """

    hold_out: tuple[str, ...] = ()
    fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    by: Literal["recording", "source"] = "recording"
    scenes: int = Field(default=1200, ge=0, description="composed examples to validate on")
    mixtures: int = Field(default=200, ge=1, description="examples per level of speech over music, at the end")


class ClipConfig(Strict):
    """Special clips, by shell patterns against the label or `source/original_path`.

    `singing` is drawn more often than its minutes would have it, `notes` are single notes (phrases
    of them are music, one alone teaches nothing about music), `unknown` are certainly not speech,
    `neither` are clips of the role `tag` whose labels name things that are neither speech nor music,
    `exclude` is left out.
    """

    exclude: tuple[str, ...] = ()
    singing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    neither: tuple[str, ...] = ()


class SyntheticConfig(Strict):
    """How many recordings `synthetic` makes out of the voices of each side of the split."""

    sung: int = Field(default=0, ge=0, description="solo singing out of speech")
    choir: int = Field(default=0, ge=0, description="choirs out of speech")
    resung: int = Field(default=0, ge=0, description="the clips of singing in other voices")
    respoken: int = Field(default=0, ge=0, description="speech with another intonation")
    whispered: int = Field(default=0, ge=0, description="speech without a voice")


class OptimisationConfig(Strict):
    """AdamW with a warm-up, a cosine to zero and an exponential average of the weights.

    Training ends after `steps` batches, near `max_minutes` if that is clearly sooner, or after
    `patience` validations in a row that were no better than the best; the learning rate follows
    whichever of the first two leads. Only a training that time never leads is repeatable to the bit.
    """

    steps: int = Field(ge=1)
    max_minutes: float = Field(default=55.0, gt=0)
    batch_size: int = Field(default=64, ge=2, description="examples of one process at one step")
    method: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    penalty: Penalty | None = Field(default=None, description="see `regularizers`")
    penalty_strength: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    validate_every_steps: int = Field(default=500, ge=1)
    patience: int = Field(default=0, ge=0, description="validations without a better one that end it; 0: never")
    mixup_alpha: float = Field(default=0.0, ge=0, description="of the Beta that blends examples; 0: no blends")
    mask_frames: int = Field(default=24, ge=0, description="widest stripe of time blanked")
    mask_bins: int = Field(default=16, ge=0, description="widest stripe of frequency blanked")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU where there is one")
    bfloat16: bool = Field(
        default=False, description="products in bfloat16, where the device has instructions for them"
    )
    compile: bool = Field(
        default=False,
        description="fuse the network's operations: half the time of a step on a CPU, a minute before the first; "
        "needs a C++ compiler",
    )
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _penalised(self) -> OptimisationConfig:
        if (self.penalty is None) != (self.penalty_strength == 0):
            raise ValueError(
                "penalty and penalty_strength belong together: give both, the strength above 0, or neither"
            )
        return self


class TrainingConfig(Strict):
    """A whole training."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    task: Literal["speech_music", "voice_gender", "tags"] = "speech_music"
    options: dict[str, Any] = Field(default_factory=dict, description="what the task alone knows; checked by it")
    seed: int = 0
    manifest: Path
    architecture: dict[str, Any] = Field(default_factory=lambda: {"name": "residual_cnn"})
    frontend: dict[str, Any] = Field(default_factory=lambda: {"name": "cqt"})
    start_from: str | None = Field(default=None, description="bundle, by name or folder, whose weights come first")
    validation: ValidationConfig = ValidationConfig()
    clips: ClipConfig = ClipConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    recipes: dict[Recipe, float] = Field(
        default_factory=dict, description="shares of the kinds of scenes; those of `scenes` where empty"
    )
    optimisation: OptimisationConfig
    report_on_test: bool = Field(default=False, description="measure the rows of the split `test` at the end")
    notes: str = Field(default="", description="a line for the bundle's card")
    limits: tuple[str, ...] = Field(default=(), description="known failures, for the bundle's card")

    @model_validator(mode="after")
    def _named(self) -> TrainingConfig:
        if self.recipes and not (min(self.recipes.values()) >= 0 and sum(self.recipes.values()) > 0):
            raise ValueError("recipes must be shares, none negative and one positive")
        for part in ("architecture", "frontend"):
            if "name" not in getattr(self, part):
                raise ValueError(f"{part} needs a name")
        if "n_labels" in self.architecture:
            raise ValueError("architecture.n_labels follows from the task; leave it out")
        return self


def read_config(path: Path, settings: Sequence[str] = (), **overrides: Any) -> TrainingConfig:
    """Read and check a configuration.

    Parameters
    ----------
    settings
        ``KEY=VALUE`` as a command line gives them, the key with dots, the value as YAML; they
        replace keys of the file.
    overrides
        Replace top-level keys of the file.

    Raises
    ------
    UsageError
        The file cannot be read, is not YAML, or a key or value is wrong.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {reason_of(error)}; name the YAML file of a training") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: must hold keys and values, not {type(data).__name__}")
    if isinstance(data.get("manifest"), str) and "manifest" not in overrides:
        data["manifest"] = path.parent / data["manifest"]  # as names in a manifest are relative to the manifest
    for setting in settings:
        _put(data, setting)
    from catalog_tagger.training.tasks import task_named

    try:
        config = TrainingConfig.model_validate({**data, **overrides})
    except ValidationError as error:
        raise UsageError("\n".join(_describe(path, one) for one in error.errors())) from error
    try:
        task_named(config.task).Options.model_validate(config.options)
    except ValidationError as error:
        raise UsageError("\n".join(_describe(path, one, below="options") for one in error.errors())) from error
    return config


def _put(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {setting}: expected KEY=VALUE, such as optimisation.steps=500")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {setting}: the value is not YAML") from error
    *parts, last = key.split(".")
    for part in parts:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {setting}: {part!r} has no keys of its own")
    data[last] = value


def _describe(path: Path, error: Any, *, below: str = "") -> str:
    key = ".".join(str(part) for part in (below, *error["loc"]) if part != "")
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key {key!r}; remove it or correct its spelling"
    if error["type"] == "missing":
        return f"{path}: the key {key!r} is missing; add it"
    where = f"{key!r} is {error['input']!r}" if key else "not usable"
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{path}: {where}: {reason[:1].lower()}{reason[1:]}"
