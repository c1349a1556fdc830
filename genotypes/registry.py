"""A family of implementations by name: how the catalogues find a class and fill in its options."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from genotypes.genotype import shorten
from genotypes.plain import plain, real, whole

T = TypeVar("T")


class OptionError(ValueError):
    """An unknown name, an unknown option, or a value that an option cannot have; the message says what could be."""


class Registry(Generic[T]):
    """The implementations of one interface, by name; a class is imported when it is asked for.

    ``what`` is the family's name in messages, ``interface`` the base class, ``table`` maps a name to
    ``module:Class``. A user's own class needs no line in the table: wherever a name is taken,
    ``package.module:Class`` is taken too.
    """

    def __init__(self, what: str, interface: type[T], table: Mapping[str, str]) -> None:
        self.what = what
        self.interface = interface
        self._table = dict(table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def find(self, name: str) -> type[T]:
        """Import the class of that name, or the plug-in ``package.module:Class``.

        Raises:
            OptionError: if there is none, it cannot be imported, or it does not implement the interface.
        """
        target = self._table.get(name, name)
        module, colon, attribute = target.partition(":")
        if not colon:
            from difflib import get_close_matches

            near = get_close_matches(name, list(self), 1)
            guess = f" (did you mean {near[0]}?)" if near else ""
            raise OptionError(
                f"there is no {self.what} {shorten(name)!r}{guess}; there are: {', '.join(self)}, "
                "or your own as package.module:Class"
            )
        try:
            kind = getattr(import_module(module), attribute)
        except Exception as error:  # whatever the plug-in's module does when it is imported
            reason = f"{type(error).__name__}: {error}"
            raise OptionError(f"cannot import the {self.what} {shorten(name)!r}; {shorten(reason, 200)}") from error
        if not (isinstance(kind, type) and issubclass(kind, self.interface)):
            raise OptionError(f"{shorten(name)!r} is no {self.what}: it must subclass {self.interface.__name__}")
        return kind

    def build(self, name: str, options: Mapping[str, object]) -> T:
        """Return an instance of the class with these options; text is read as the types of its fields.

        Raises:
            OptionError: if the class is not found, or an option is unknown or has an impossible value.
        """
        return build_with_options(self.find(name), f"{self.what} {name!r}", options)


def build_with_options(kind: type[T], what: str, options: Mapping[str, object]) -> T:
    """Build a dataclass from options by name; ``what`` names it in messages.

    Values may be of the field's type, scalars of numpy, torch or pandas, or text that is read as it: ``5``, ``0.1``,
    ``true``, ``a,b,c`` for a tuple of strings, ``none`` where the field may be ``None``.

    Raises:
        OptionError: if an option is unknown or cannot have that value.
    """
    fields = option_types(kind)
    typed: dict[str, Any] = {}
    for name, value in options.items():
        if name not in fields:
            known = f"its options are: {', '.join(fields)}" if fields else "it has none"
            raise OptionError(f"{what} has no option {shorten(name)!r}; {known}")
        try:
            typed[name] = _read(fields[name], value)
        except (TypeError, ValueError) as error:
            raise OptionError(f"{what}: {name} cannot be {shorten(value)!r}; {error}") from None
    try:
        return kind(**typed)
    except OptionError:
        raise
    except (TypeError, ValueError) as error:
        raise OptionError(f"{what}: {error}") from error


def option_types(kind: type) -> dict[str, Any]:
    """Return the options of a dataclass: name -> type. A class that is no dataclass has none."""
    if not dataclasses.is_dataclass(kind):
        return {}
    types_ = typing.get_type_hints(kind)
    return {field.name: types_[field.name] for field in dataclasses.fields(kind) if field.init}


def default_options(kind: type) -> dict[str, Any]:
    """Return the options of a dataclass that need not be given: name -> what they are then."""
    if not dataclasses.is_dataclass(kind):
        return {}
    return {field.name: field.default for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}


def options_of(instance: object) -> dict[str, Any]:
    """Return the options that an instance was built with, defaults included: name -> value."""
    return {name: getattr(instance, name) for name in option_types(type(instance))}


def _read(kind: Any, value: object) -> object:
    """Turn a value, often text, into the type of a field."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        arms = typing.get_args(kind)
        if value is None or (type(None) in arms and str(value).lower() == "none"):
            return None
        (kind,) = (arm for arm in arms if arm is not type(None))
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str):
            return tuple(filter(None, re.split(r"[+,\s]+", value)))
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(map(str, value))
        raise ValueError("write a list of words")
    if kind is bool:
        if isinstance(plain(value), bool):
            return plain(value)
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ValueError("write true or false")
    if kind is int:
        with suppress(ValueError):
            is_text = isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,19}", value)
            if abs(number := int(value) if is_text else whole(value)) < 2**63:  # type: ignore[call-overload]
                return number
        raise ValueError("write a whole number")
    if kind is float:
        if not isinstance(plain(value), bool):
            with suppress(ValueError):
                return float(value) if isinstance(value, str) else real(value)
        raise ValueError("write a number")
    if kind is Path:
        return Path(str(value))
    if kind is str and isinstance(value, str):
        return str(value)
    raise ValueError(f"expected {getattr(kind, '__name__', kind)}")
