"""The part of the demo that runs inside the generated service, and shows what the layer does."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from my_service.db import Database, NotWritable, UniqueViolation
from my_service.models import Post, PostStatus, Tag, User
from my_service.repositories import PostRepository, UserRepository
from sqlalchemy import event

BOLD, DIM, GREEN, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if os.environ.get("DEMO_COLOUR") else ("",) * 4
)


async def main() -> None:
    async with Database() as database:
        with queries(database, "rows in: one transaction, committed at its end"):
            async with database.transaction() as session:
                users = UserRepository(session)
                people = [
                    await users.create(email=f"{name.lower()}@example.com", name=name)
                    for name in ("Ada", "Grace", "Barbara", "Katherine", "Margaret")
                ]
                tag = Tag(name="history")
                for number, person in enumerate(people):
                    post = Post(author=person, title=f"Note {number}", body="...", tags=[tag])
                    post.status = PostStatus.PUBLISHED
                    session.add(post)
        print(f"  {people[0].name} has the key {people[0].id}, made at {people[0].created_at}")

        with queries(database, "a page out: posts with their authors and tags, newest first"):
            async with database.transaction(read_only=True) as session:
                page = await PostRepository(session).published(tag="history", number=1, size=2)
        for post in page.items:
            tags = ", ".join(tag.name for tag in post.tags)
            print(f"  {post.title} by {post.author.name}, tagged {tags}")
        print(f"  page {page.number} of {page.pages}, {page.total} posts in all")

        with queries(database, "a duplicate: refused, with the field that is to blame"):
            try:
                async with database.transaction() as session:
                    await UserRepository(session).create(email="ada@example.com", name="Imposter")
            except UniqueViolation as error:
                print(f"  {GREEN}UniqueViolation{PLAIN}: fields={error.fields}")

        with queries(database, "a field that nobody may set: refused before any query"):
            try:
                async with database.transaction() as session:
                    await UserRepository(session).create(email="eve@example.com", id=1)
            except NotWritable as error:
                print(f"  {GREEN}NotWritable{PLAIN}: {error}")

        with queries(database, "a user deleted softly: gone from every read, and there to restore"):
            async with database.transaction() as session:
                users = UserRepository(session)
                grace = await users.find_one_or_none(User.email == "grace@example.com")
                assert grace
                await users.delete(grace)
                left, ever = await users.count(), await users.with_deleted().count()
                print(f"  {left} users, {ever} with her")

        health, pool = await database.ping(), database.pool_status()
        print(
            f"\n{BOLD}the database answers{PLAIN}: {health.ok}; in use: {pool.in_use} connections"
        )


@contextmanager
def queries(database: Database, title: str) -> Iterator[None]:
    """Print the statements that the block takes."""
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(" ".join(str(arguments[2]).split()))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    print(f"\n{BOLD}{title}{PLAIN}")
    yield
    event.remove(engine, "before_cursor_execute", note)
    print(f"  {DIM}{len(statements)} statements:{PLAIN}")
    for statement in statements:
        print(f"  {DIM}  {statement if len(statement) <= 86 else statement[:83] + '...'}{PLAIN}")


asyncio.run(main())
