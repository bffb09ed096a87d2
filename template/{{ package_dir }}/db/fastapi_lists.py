"""FastAPI: the query parameters of a list, made from what a repository declares."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from keyword import iskeyword
from typing import Any, Literal, TypeVar

from fastapi import Depends, Query, Request
from sqlalchemy import ColumnExpressionArgument
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm.interfaces import ORMOption

from .errors import UnknownField
from .fastapi import request_names
from .repository.filters import filters_of
from .repository.pages import CursorPage, Page
from .repository.repository import Repository

M = TypeVar("M", bound=DeclarativeBase)

Criterion = ColumnExpressionArgument[bool]


@dataclass(frozen=True)
class ListQuery:
    """A request for a list.

        InvoiceQuery = Annotated[ListQuery, page_query(InvoiceRepository)]

        @router.get("/invoices")
        async def list_invoices(session: ReadSession, query: InvoiceQuery) -> Page[InvoiceResponse]:
            page = await query.page(InvoiceRepository(session))
            return page.map(InvoiceResponse.model_validate)

    Attributes:
        filters: The values of the filters that the request has, by their names.
        size: How many rows a page has.
        sort: The order, as names of `sortable`.
        number: The number of the page, from 1.
        cursor: The cursor of the page, or None for the first page.
    """

    filters: Mapping[str, object]
    size: int
    sort: Sequence[str] = ()
    number: int = 1
    cursor: str | None = None

    async def page(
        self, repository: Repository[M], *where: Criterion, options: Sequence[ORMOption] = ()
    ) -> Page[M]:
        """Return the numbered page of the rows that meet the filters and the criteria."""
        criteria, number = repository.filters(self.filters), self.number
        return await repository.page(
            *where, *criteria, number=number, size=self.size, sort=self.sort, options=options
        )

    async def cursor_page(
        self, repository: Repository[M], *where: Criterion, options: Sequence[ORMOption] = ()
    ) -> CursorPage[M]:
        """Return the page at the cursor of the rows that meet the filters and the criteria."""
        criteria, cursor = repository.filters(self.filters), self.cursor
        return await repository.cursor_page(
            *where, *criteria, cursor=cursor, size=self.size, sort=self.sort, options=options
        )


def page_query(
    repository: type[Repository[Any]],
    *,
    sort: Sequence[str] = (),
    size: int = 50,
    max_size: int = 100,
) -> Any:
    """Return the dependency that makes a ListQuery for numbered pages.

    Its parameters are `page`, `size`, `sort`, and the filters that `filterable` declares, each
    with its type. A request with any other parameter than those of its route is refused.

    Args:
        repository: The class that declares `sortable` and `filterable`.
        sort: The order, unless the request has one.
        size: How many rows a page has, unless the request says so.
        max_size: How many rows a request may ask for.
    """
    page = _parameter("page", int, Query(1, ge=1, le=10_000))
    return Depends(_Dependency(repository, page, sort, size, max_size))


def cursor_query(
    repository: type[Repository[Any]],
    *,
    sort: Sequence[str] = (),
    size: int = 50,
    max_size: int = 100,
) -> Any:
    """Return the dependency that makes a ListQuery for pages by cursor. See `page_query`."""
    cursor = _parameter("cursor", str | None, Query(None, max_length=1000))
    return Depends(_Dependency(repository, cursor, sort, size, max_size))


class _Dependency:
    """What FastAPI calls for a ListQuery. Its signature has the parameters of the request."""

    def __init__(
        self,
        repository: type[Repository[Any]],
        place: Parameter,
        sort: Sequence[str],
        size: int,
        max_size: int,
    ) -> None:
        self._filters = filters_of(repository)
        if isinstance(sort, str) or not {x.removeprefix("-") for x in sort} <= {
            *repository.sortable
        }:
            raise ValueError(f"sort has names of {repository.__name__}.sortable, not {sort!r}")
        if not 1 <= size <= max_size:
            raise ValueError(f"size is from 1 to max_size, {max_size}, not {size}")
        parameters = [
            Parameter("request", Parameter.KEYWORD_ONLY, annotation=Request),
            place,
            _parameter("size", int, Query(size, ge=1, le=max_size)),
        ]
        names = [f"{sign}{name}" for name in repository.sortable for sign in ("", "-")]
        if names:
            order: Any = Literal[tuple(names)]
            most = len(repository.sortable)
            parameters.append(_parameter("sort", list[order], Query([*sort], max_length=most)))
        odd = [x for x in self._filters if not x.isidentifier() or iskeyword(x)]
        if odd:
            raise TypeError(
                f"{repository.__name__}.filterable has a name that is no Python identifier:"
                f" {odd[0]!r}. Write letters, digits and underscores, as in author_name"
            )
        taken = {parameter.name for parameter in parameters}.intersection(self._filters)
        if taken:
            raise TypeError(
                f"{repository.__name__}.filterable has names that the list itself has:"
                f" {', '.join(sorted(taken))}. Give these columns other names there"
            )
        for name, each in self._filters.items():
            query = Query(None, description=each.description)
            parameters.append(_parameter(name, each.type | None, query))
        self.__signature__ = Signature(parameters)

    async def __call__(self, request: Request, **given: Any) -> ListQuery:
        known, lists = request_names(request), {"sort", *(x for x in given if x.endswith("__in"))}
        times = Counter(name for name, _ in request.query_params.multi_items())
        twice = {name for name, n in times.items() if n > 1 and name in given} - lists
        unknown = times.keys() - known if known else set[str]()
        if unknown or twice:
            raise UnknownField(ListQuery, unknown | twice, known)
        filters = {name: given.pop(name) for name in self._filters}
        chosen = {name: value for name, value in filters.items() if value is not None}
        return ListQuery(chosen, number=given.pop("page", 1), **given)


def _parameter(name: str, kind: Any, query: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=query)
