"""The layer as a service has it: rendered for a driver, and what is used of it here."""

import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import ModuleType, new_class
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from .tables import Entry, User

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class CursorPage(Protocol[M_co]):
    @property
    def items(self) -> Sequence[M_co]: ...
    @property
    def next(self) -> str | None: ...


class Page(Protocol[M_co]):
    @property
    def items(self) -> Sequence[M_co]: ...


class Repository(Protocol[M]):
    async def get(self, key: object, /) -> M | None: ...
    async def get_one(self, key: object, /) -> M: ...
    async def find(
        self, *where: sa.ColumnExpressionArgument[bool], order_by: object, limit: int
    ) -> list[M]: ...
    async def create(self, **values: object) -> M: ...
    async def update(self, row: M, /, **values: object) -> M: ...
    async def page(self, *, number: int, size: int, sort: Sequence[str]) -> Page[M]: ...
    async def cursor_page(
        self,
        *where: sa.ColumnExpressionArgument[bool],
        size: int,
        cursor: str | None = None,
        sort: Sequence[str],
    ) -> CursorPage[M]: ...
    async def count(self) -> int: ...
    def batches(self) -> AsyncIterator[Sequence[M]]: ...
    def stream(self) -> AbstractAsyncContextManager[AsyncIterator[M]]: ...
    async def insert_many(self, rows: Iterable[Mapping[str, object]], /) -> int: ...
    async def upsert_many(
        self, rows: Iterable[Mapping[str, object]], /, *, on: Sequence[str]
    ) -> int: ...
    async def update_rows(self, rows: Iterable[Mapping[str, object]], /) -> int: ...
    async def delete_many(self, keys: Iterable[object], /) -> int: ...


class Database(Protocol):
    @property
    def engine(self) -> AsyncEngine: ...
    def session(self) -> AbstractAsyncContextManager[AsyncSession]: ...
    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]: ...
    def reader(self) -> AbstractAsyncContextManager[AsyncSession]: ...


class Layer:
    """The layer of the service in `build/benchmarks`, whose package must be importable."""

    def __init__(self, driver: str) -> None:
        self.driver, self.package = driver, f"bench_{driver}"
        db = importlib.import_module(f"{self.package}.db")
        self._db = db
        self._dialect = importlib.import_module(f"{self.package}.db.testing.databases")
        self.users = self.repository(User)
        self.entries = _repository(
            db, Entry, {"day": Entry.day, "title": Entry.title, "score": Entry.score}
        )

    def repository(self, model: type[M]) -> Callable[[AsyncSession], Repository[M]]:
        """A repository of a model, without names to sort by."""
        return _repository(self._db, model)

    def server(self) -> AbstractContextManager[sa.URL]:
        """A server of the benchmark's own, as the service's tests have one."""
        server: AbstractContextManager[sa.URL] = self._dialect.temporary_server()
        return server

    async def create_database(self, server: sa.URL, name: str) -> sa.URL:
        url: sa.URL = await self._dialect.create_database(server, name)
        return url

    def database(self, url: sa.URL, **options: object) -> AbstractAsyncContextManager[Database]:
        settings = self._db.DatabaseSettings(
            url=url, statement_timeout=0, command_timeout=0, idle_in_transaction_timeout=0
        )
        database: AbstractAsyncContextManager[Database] = self._db.Database(settings, **options)
        return database


def _repository(
    db: ModuleType,
    model: type[M],
    sortable: Mapping[str, object] | None = None,
) -> Callable[[AsyncSession], Repository[M]]:
    def fill(namespace: dict[str, object]) -> None:
        namespace["sortable"] = sortable or {}

    made: Callable[[AsyncSession], Repository[M]] = new_class(
        f"{model.__name__}Repository", (db.Repository[model],), exec_body=fill
    )
    return made
