"""Building blocks of params sections: kinds of numbers and lists, and the error that names a key and its rule."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, NoReturn, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

T = TypeVar("T")


class RuleError(ValueError):
    """A value that its type allows and a rule does not; the message is one line: key, value, rule, what to do."""

    def __init__(self, key: str, value: object, rule: str) -> None:
        self.key, self.value, self.rule = key, value, rule
        super().__init__(f"{key}: {in_yaml(value)} is not allowed: {rule}")

    def within(self, section: str) -> RuleError:
        """The same, its key preceded by its section's name."""
        return RuleError(f"{section}.{self.key}", self.value, self.rule)


class Section(BaseModel):
    """A part of params.yaml: frozen, typed, without defaults. What its keys mean is said there, beside their values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, tree: Any) -> Self:
        """Check a tree of plain values, as YAML and JSON give them. Raises pydantic's ValidationError."""
        return cls.model_validate_json(json.dumps(tree, default=str))

    def refuse(self, key: str, rule: str) -> NoReturn:
        """Raise the RuleError of one of the section's own keys."""
        raise RuleError(key, getattr(self, key), rule)


def in_yaml(value: object) -> str:
    """A value as params.yaml says it, in one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def _read_number(value: Any) -> Any:
    """YAML 1.1 reads 1e-05, which DVC writes for 0.00001, as text: where a float belongs, it is one."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def no_repeats(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values. Raises ValueError where one stands twice."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"it holds {in_yaml(value)} twice; name each once")
    return values


def _match(pattern: str, rule: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(rule)
        return text

    return AfterValidator(check)


Number = Annotated[float, BeforeValidator(_read_number)]  # finite, by the sections' config
PositiveNumber = Annotated[Number, Field(gt=0.0)]
NonNegativeNumber = Annotated[Number, Field(ge=0.0)]
Share = Annotated[Number, Field(ge=0.0, le=1.0)]
ShareBelowOne = Annotated[Number, Field(ge=0.0, lt=1.0)]
Fps = Annotated[Number, Field(ge=0.1, le=50.0)]  # a GIF's shortest delay is 2/100 s

Count = Annotated[int, Field(ge=0, le=100_000_000)]
Positive = Annotated[int, Field(ge=1, le=100_000_000)]
Width = Annotated[int, Field(ge=1, le=16_384)]  # of a layer, or how many heads or blocks
Frames = Annotated[int, Field(ge=1, le=1024)]
Pixels = Annotated[int, Field(ge=1, le=1024)]  # of a side
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
ClipsPerShard = Annotated[int, Field(ge=1, le=10_000)]
GridRows = Annotated[int, Field(ge=1, le=16)]  # of a square of samples to look at
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Text = Annotated[str, Field(min_length=1)]
Ground = Annotated[
    str, _match("white|gray|black|#[0-9a-f]{6}", "allowed: white, gray, black, or '#rrggbb' in quotes and lower case")
]
Sha256 = Annotated[str, _match(r"[0-9a-fA-F]{64}", "a SHA-256 has 64 hexadecimal digits; copy it anew, or take null")]
KaggleSlug = Annotated[
    str, _match(r"[\w.-]+/[\w.-]+(/[0-9]+)?", "it is no Kaggle data set; write owner/name or owner/name/version")
]

PerLevel = Annotated[tuple[T, ...], Field(min_length=1, max_length=10)]
Distinct = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(no_repeats)]
Columns = Annotated[tuple[Text, ...], AfterValidator(no_repeats)]  # of the captions; none is allowed
Betas = tuple[ShareBelowOne, ShareBelowOne]
