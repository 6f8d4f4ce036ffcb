"""The base of every block of settings."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class StrictModel(BaseModel):
    """Unknown keys, coercions and later changes are errors; YAML keys are camelCase; no value is in an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_default=False,
        hide_input_in_errors=True,
    )
