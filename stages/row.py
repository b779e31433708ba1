"""A row: the part of params.yaml that one run of a stage reads, and that DVC tracks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stages.recipes import describe

__all__ = ["At", "Count", "Fraction", "Name", "Pattern", "Row", "places", "read", "read_row"]

PARAMS = Path("params.yaml")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*-]+$")]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class At(str):
    """Where in params.yaml a field of a row is: ``Annotated[int, At("settings.{setting}.n_tune")]``."""


class Row(BaseModel):
    """Parameters; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=Row)


def places(model: type[Row], **names: str) -> dict[str, str]:
    """Return where in params.yaml each field of a row is; dvc.yaml tracks just these."""
    return {
        name: place.format(**names)
        for name, field in model.model_fields.items()
        for place in field.metadata
        if isinstance(place, At)
    }


def read(path: Path) -> Any:
    """Read a YAML file; ValueError, in one line, if it is missing or no YAML."""
    try:
        return yaml.load(path.read_text(), yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ValueError(f"{path} must be a file: {error.strerror}") from None


def read_row(model: type[R], **names: str) -> R:
    """Read what one run of a stage, given by setting and key, takes from params.yaml, and check it."""
    whole, found = read(PARAMS), {}
    for field, place in places(model, **names).items():
        value = whole
        for key in place.split("."):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{PARAMS} must have {place}, got nothing there; add it")
            value = value[key]
        found[field] = value
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise ValueError(f"{PARAMS}: {describe(error)}") from None
