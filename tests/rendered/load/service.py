"""The service of the load: transfers between accounts, and a file of what each of them came to."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel
from shop.app import create_app
from shop.db import (
    Base,
    BigIntPrimaryKey,
    CommitOutcomeUnknown,
    Database,
    Repository,
    on_commit,
)
from shop.db.fastapi import AppDatabase, DbSession, Stream
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Every process of the service writes its notes here.
NOTES = Path(os.environ.get("LOAD_NOTES", "notes"))
SEND_TIMEOUT = 2
ACCOUNTS, BALANCE = 40, 1_000_000


class Account(BigIntPrimaryKey, Base):
    __tablename__ = "load_accounts"

    balance: Mapped[int]


class Entry(BigIntPrimaryKey, Base):
    """One transfer. Its name is not unique: that would hide a transfer that was made twice."""

    __tablename__ = "load_entries"

    name: Mapped[str] = mapped_column(sa.String(50))
    source: Mapped[int]
    target: Mapped[int]
    amount: Mapped[int]


class Transfer(BaseModel):
    """A transfer, and for how many seconds its transaction and its callback last at least."""

    name: str
    source: int
    target: int
    amount: int
    hold: float = 0
    callback: float = 0


class NotedDatabase(Database):
    """A database that notes a unit of which nobody knows whether it was committed."""

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncGenerator[AsyncSession]:
        """Open a transaction, as the layer does."""
        session = None
        try:
            async with super().transaction(**options) as session:
                yield session
        except BaseException as error:
            # The notes of a cancellation say how the transaction ended.
            text = " ".join([repr(error), *getattr(error, "__notes__", ())])
            if session and CommitOutcomeUnknown.__name__ in text:
                note("unknown", session.info.get("name", "?"))
            raise


def note(kind: str, name: str) -> None:
    """Append a line to the notes, in one system call: several processes do so."""
    with NOTES.open("ab", buffering=0) as file:
        file.write(f"{kind} {name}\n".encode())


async def move(session: AsyncSession, new: Transfer) -> None:
    session.info["name"] = new.name
    accounts = Repository[Account](session)
    # In any order: some transfers are to meet a deadlock.
    source = await accounts.get_one(new.source, for_update="wait")
    target = await accounts.get_one(new.target, for_update="wait")
    await asyncio.sleep(new.hold)
    source.balance -= new.amount
    target.balance += new.amount
    session.add(Entry(**new.model_dump(include={"name", "source", "target", "amount"})))
    on_commit(session, partial(_called_back, new))


async def _called_back(new: Transfer) -> None:
    await asyncio.sleep(new.callback)
    note("callback", new.name)


router = APIRouter()


@router.post("/transfers", status_code=201)
async def transfer(session: DbSession, new: Transfer) -> int:
    await move(session, new)
    return os.getpid()


@router.post("/retried", status_code=201)
async def retried(database: AppDatabase, new: Transfer) -> int:
    """Make the transfer in a unit that is repeated where that is safe."""
    await database.run(lambda session: move(session, new))
    return os.getpid()


@router.get("/accounts")
async def accounts(database: AppDatabase) -> Stream:
    """Send more than any network keeps, in short reads."""
    return Stream(_lines(database), "text/plain", send_timeout=SEND_TIMEOUT)


async def _lines(database: Database) -> AsyncGenerator[str]:
    async with database.reader() as session:
        async for batch in Repository[Account](session).batches(size=1):
            for account in batch:
                yield f"{account.balance:500000}\n"


@router.get("/pool")
async def pool(database: AppDatabase, response: Response) -> dict[str, int]:
    response.headers["Connection"] = "close"
    return {"pid": os.getpid(), "in_use": database.pool_status().in_use}


class LeaveWithTheClient:
    """Middleware that cancels what is done for a client when the client leaves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def listen() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                messages.put_nowait(message)
            messages.put_nowait(message)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await self._app(scope, messages.get, send)
            group.cancel_scope.cancel()


app = create_app(NotedDatabase())
app.include_router(router)
app.add_middleware(LeaveWithTheClient)
