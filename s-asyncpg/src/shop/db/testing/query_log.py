"""A log of the statements that a test sends, to compare their number with what is expected."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import pytest

_MANAGES_A_TRANSACTION = re.compile(
    # Behind a pooler a transaction starts with set_config.
    r"\s*(BEGIN|SAVEPOINT|RELEASE|ROLLBACK|COMMIT|SET|PRAGMA|SELECT set_config)\b"
)


class QueryLog:
    """The statements that were sent, in order, without those that only manage a transaction."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    @contextmanager
    def expect(self, number: int | None = None, *, at_most: int | None = None) -> Generator[None]:
        """Fail the test and show the statements if the block does not send this many."""
        before = len(self.statements)
        yield
        sent = self.statements[before:]
        if len(sent) > at_most if at_most is not None else len(sent) != number:
            wanted = f"at most {at_most}" if at_most is not None else number
            listed = "".join(f"\n{n:3}. {statement}" for n, statement in enumerate(sent, 1))
            pytest.fail(f"expected {wanted} statements, and {len(sent)} were sent:{listed}")

    def note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        """Add a statement, as a listener of SQLAlchemy's `before_cursor_execute`."""
        if not _MANAGES_A_TRANSACTION.match(statement):
            self.statements.append(" ".join(statement.split()))
