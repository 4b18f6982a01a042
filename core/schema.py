"""The types of settings, and the check of a person's settings against them."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    TypeAdapter,
)

from core.errors import nearest


class Block(BaseModel):
    """One block of settings: every key has a type and a shipped value. It is immutable.

    removed : a key of earlier versions → what to say to who still gives it
    """

    removed: ClassVar[dict[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _number(value: Any) -> Any:
    """Return a number, also for a text that is one: YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("no number")
    return float(value) if isinstance(value, str) else value


def _path(value: Any) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("no text")
    return Path(value)


_NUMBER = BeforeValidator(_number)
MOST = 1e300

Boolean = Annotated[StrictBool, Field(description="true or false")]
Text = Annotated[str, StringConstraints(min_length=1), Field(description="a text")]
OptionalText = Annotated[Text | None, Field(description="a text, or nothing")]
Directory = Annotated[Path, BeforeValidator(_path), Field(description="a text")]
Count = Annotated[int, _NUMBER, Field(ge=1, le=2**31, description="a whole number of 1 or more")]
Natural = Annotated[int, _NUMBER, Field(ge=0, le=2**31, description="a whole number of 0 or more")]
CountFromTwo = Annotated[
    int, _NUMBER, Field(ge=2, le=2**31, description="a whole number of 2 or more")
]
EvenCount = Annotated[
    int, _NUMBER, Field(ge=2, multiple_of=2, description="an even number of 2 or more")
]
Positive = Annotated[float, _NUMBER, Field(ge=1e-300, le=MOST, description="a number above 0")]
NotNegative = Annotated[float, _NUMBER, Field(ge=0, le=MOST, description="a number of 0 or more")]
Fraction = Annotated[float, _NUMBER, Field(ge=0, le=1, description="a number between 0 and 1")]
Part = Annotated[float, _NUMBER, Field(ge=0, lt=1, description="a number of 0 or more and below 1")]
Inside = Annotated[float, _NUMBER, Field(gt=0, lt=1, description="a number above 0 and below 1")]
Rate = Annotated[float, _NUMBER, Field(gt=0, le=1, description="a number above 0, at most 1")]
Decibels = Annotated[
    float, _NUMBER, Field(ge=0, le=1e9, description="a number of 0 or more (0: no limit)")
]
Counts = Annotated[
    list[Count], Field(min_length=1, description="a list of whole numbers of 1 or more")
]
Fractions = Annotated[
    list[Fraction], Field(min_length=1, description="a list of numbers between 0 and 1")
]
FourCounts = Annotated[
    list[Count],
    Field(min_length=4, max_length=4, description="a list of four whole numbers of 1 or more"),
]
Bottlenecks = Annotated[
    list[FourCounts],
    Field(min_length=1, description="a list of lists of four whole numbers of 1 or more"),
]
Pair = Annotated[
    list[Count],
    Field(min_length=2, max_length=2, description="a list of two whole numbers of 1 or more"),
]
Pairs = Annotated[
    list[Pair],
    Field(min_length=1, description="a list of lists of two whole numbers of 1 or more"),
]
Blocks = Annotated[
    list[dict[str, Any]] | None, Field(description="a list of blocks of keys, or nothing")
]


def check_tree(
    tree: Any,
    model: type[BaseModel],
    where: str,
    at: str = "",
    leave_out: Collection[str] = (),
    also: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Check some settings, as a person gives them, against the block that they belong to.

    Parameters
    ----------
    tree : keys and values; a key may be left out, and a block may be empty
    model : the block
    where : the file, or the option, for the messages
    at : the dotted key of the block
    leave_out : keys of the block that may not be given here
    also : other keys that may be given here, for the hint to a misspelt one

    Returns
    -------
    The tree with its values converted; and one line per unknown key, with the nearest known one,
    and per value of a wrong kind, with its whole path and what was expected.
    """
    if tree is None:
        return {}, []
    if not isinstance(tree, dict):
        return {}, [f"{where}: {at} is {tree!r}; expected a block of keys"]
    known = {name: field for name, field in model.model_fields.items() if name not in leave_out}
    converted: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in tree.items():
        key = f"{at}.{name}" if at else str(name)
        if name not in known:
            instead = getattr(model, "removed", {}).get(name)
            hint = f"; {instead}" if instead else nearest(str(name), [*known, *also])
            problems.append(f"{where}: unknown key {key}{hint}")
        elif block := _block_class(known[name].annotation):
            converted[name], more = check_tree(value, block, where, key)
            problems += more
        elif block := _named_block_class(known[name].annotation):
            converted[name], more = check_named(value, block, where, key)
            problems += more
        else:
            try:
                if isinstance(value, bool) and typing.get_origin(known[name].annotation) is Literal:
                    raise ValueError("true is not the choice 1")
                converted[name] = _adapter(model, name).validate_python(value)
            except ValueError:  # of pydantic too
                problems.append(f"{where}: {key} is {value!r}; expected {expected(model, name)}")
    return converted, problems


def check_named(
    tree: Any, model: type[BaseModel], where: str, at: str, leave_out: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Check blocks under names that the person chose, such as machine types, as `check_tree`."""
    if tree is None:
        return {}, []
    if not isinstance(tree, dict):
        return {}, [f"{where}: {at} is {tree!r}; expected a block of keys"]
    converted: dict[str, Any] = {}
    problems: list[str] = []
    for name, block in tree.items():
        # YAML reads a machine type named 3018 as a number.
        converted[str(name)], more = check_tree(block, model, where, f"{at}.{name}", leave_out)
        problems += more
    return converted, problems


def expected(model: type[BaseModel], name: str) -> str:
    """Return in words what a value of a key must be."""
    field = model.model_fields[name]
    if field.description:
        return field.description
    if typing.get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(field.annotation))
    raise TypeError(f"{model.__name__}.{name}: its type says nothing for the person")


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter:
    field = model.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata, Field())])


def _block_class(annotation: Any) -> type[BaseModel] | None:
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def _named_block_class(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, types.GenericAlias) and annotation.__origin__ is dict:
        return _block_class(annotation.__args__[1])
    return None
