"""Dataclasses that check themselves: the faces of the seeds keep their documents' plain dataclasses, and no wrong value gets in."""

from dataclasses import asdict
from typing import Any, get_type_hints


def check(config: Any) -> None:
    """Raise `UserError` naming class, field, value and what is allowed, for the first field that its annotation does not admit."""
    from pydantic import ValidationError, create_model

    from pipeline.config import explain
    from pipeline.errors import UserError
    from pipeline.schema.base import Block

    values = asdict(config)
    hints = get_type_hints(type(config), include_extras=True)
    fields: dict[str, Any] = {name: (hints[name], ...) for name in values}
    block = create_model(type(config).__name__, __base__=Block, **fields)
    try:
        block.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{type(config).__name__}.{explain(error, values)}") from None
