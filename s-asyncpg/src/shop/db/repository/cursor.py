"""Cursors: a position in sorted rows, as text that a client sends back."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ..errors import InvalidCursor


@dataclass(frozen=True)
class Cursor:
    """A position in sorted rows.

    Attributes:
        values: The values of the row there, in the order of the sort. None is the beginning, or the
            end if `backwards`.
        backwards: The page lies before the position.
    """

    values: Sequence[object] | None
    backwards: bool

    @property
    def is_start(self) -> bool:
        """Return whether this is the position of the first page."""
        return self.values is None and not self.backwards

    def fit(self, nullable: Sequence[bool]) -> "Cursor":
        """Return the cursor itself, or raise InvalidCursor if no row can have its values."""
        if self.values is not None and (
            len(self.values) != len(nullable)
            or any(x is None and not y for x, y in zip(self.values, nullable, strict=True))
        ):
            raise InvalidCursor("this cursor was not made here")
        return self

    def encode(self, model: type, sort: Sequence[str]) -> str:
        """Return the text of the cursor, which is valid for this model and this sort only."""
        values = None if self.values is None else [_pack(value) for value in self.values]
        text = json.dumps([self.backwards, values], separators=(",", ":")).encode()
        return urlsafe_b64encode(_digest(text, model, sort) + text).decode().rstrip("=")

    @staticmethod
    def decode(given: str | None, model: type, sort: Sequence[str]) -> "Cursor":
        """Return the cursor of a text; None is the first page. Raise InvalidCursor."""
        if given is None:
            return Cursor(None, backwards=False)
        try:
            token = urlsafe_b64decode(given.encode() + b"=" * (-len(given) % 4))
        except ValueError as error:
            raise InvalidCursor("this is not a cursor") from error
        digest, text = token[:_DIGEST_SIZE], token[_DIGEST_SIZE:]
        if digest != _digest(text, model, sort):
            raise InvalidCursor(
                f"this is not a cursor of {model.__name__} sorted by {', '.join(sort) or 'its key'}:"
                " start at the first page"
            )
        try:
            backwards, values = json.loads(text)
            return Cursor(None if values is None else [_unpack(x) for x in values], backwards)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            # The digest finds mistakes. It is no signature: anyone can compute it.
            raise InvalidCursor("this cursor was not made here") from error


_DIGEST_SIZE = 9


def _microseconds(text: str) -> timedelta:
    return timedelta(microseconds=int(text))


# Types that JSON lacks, by a letter. A datetime is also a date, so it comes first.
_TYPES: dict[str, tuple[type, Callable[[str], object]]] = {
    "t": (datetime, datetime.fromisoformat),
    "d": (date, date.fromisoformat),
    "h": (time, time.fromisoformat),
    "n": (Decimal, Decimal),
    "u": (UUID, UUID),
    "b": (bytes, bytes.fromhex),
    "i": (timedelta, _microseconds),
}
_STORABLE = (str, int, float, *(kind for kind, _ in _TYPES.values()))


def can_keep(kind: sa.types.TypeEngine[Any]) -> bool:
    """Return whether a cursor can hold values of this type, which is not a TypeDecorator.

    For a type without a known Python class, `encode` decides by the value.
    """
    if isinstance(kind, sa.types.NullType | sa.types.UserDefinedType):
        return True
    try:
        return issubclass(kind.python_type, _STORABLE)
    except NotImplementedError:
        return False


def _digest(text: bytes, model: type, sort: Sequence[str]) -> bytes:
    about = json.dumps([model.__module__, model.__qualname__, *sort]).encode()
    return blake2b(about + text, digest_size=_DIGEST_SIZE).digest()


def _pack(value: object) -> object:
    for letter, (kind, _) in _TYPES.items():
        if isinstance(value, kind):
            return [letter, _text(value)]
    if value is not None and type(value) not in (str, int, float, bool):
        raise TypeError(
            f"a cursor cannot hold a {type(value).__name__}: sort by another type, for example by"
            " sa.cast(column, sa.String)"
        )
    return value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return str(value // timedelta(microseconds=1) if isinstance(value, timedelta) else value)


def _unpack(value: object) -> object:
    match value:
        case [str(letter), str(text)]:
            return _TYPES[letter][1](text)
        case str() | int() | float() | None:
            return value
        case _:
            raise ValueError("not the value of a column")
