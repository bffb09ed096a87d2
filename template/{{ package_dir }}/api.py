"""The routes: what the service does, over HTTP. Errors become answers in db/fastapi.py."""

import logging
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import StreamingResponse

from . import service
from .db import CursorPage, Database, Key, Page
from .db.fastapi import PROBLEMS, AppDatabase, DbSession, PathKey, ReadSession, Stream
from .db.fastapi_lists import ListQuery, cursor_query, page_query
from .repositories import PostRepository, UserRepository
from .schemas import (
    PostCreate,
    PostResponse,
    PostUpdate,
    TagName,
    TagNames,
    TagResponse,
    UserCreate,
    UserResponse,
    UserUpdate,
)

logger = logging.getLogger(__name__)

# Any of them may answer these besides, for the documentation at /docs.
router = APIRouter(responses=PROBLEMS)

# The parameters of the lists: pages, orders, and the filters that the repositories declare.
UserQuery = Annotated[ListQuery, page_query(UserRepository, sort=("-created_at",))]
PostQuery = Annotated[ListQuery, cursor_query(PostRepository, sort=("-created_at",), size=20)]


@router.post("/users", status_code=201, tags=["users"])
async def create_user(
    session: DbSession,
    database: AppDatabase,
    new: UserCreate,
    background: BackgroundTasks,
) -> UserResponse:
    user = await service.create_user(session, new)
    background.add_task(_welcome, database, user.id)
    return user


async def _welcome(database: Database, key: Key) -> None:
    """Runs when the answer is out and its session closed: so it takes its own."""
    async with database.transaction(read_only=True) as session:
        user = await service.get_user(session, key)
    logger.info("welcome, %s", user.name)


@router.get("/users", tags=["users"])
async def list_users(session: ReadSession, query: UserQuery) -> Page[UserResponse]:
    page = await query.page(UserRepository(session))
    return page.map(UserResponse.model_validate)


@router.get("/users/{key}", tags=["users"])
async def get_user(session: ReadSession, key: PathKey) -> UserResponse:
    return await service.get_user(session, key)


@router.patch("/users/{key}", tags=["users"])
async def update_user(session: DbSession, key: PathKey, change: UserUpdate) -> UserResponse:
    return await service.update_user(session, key, change)


@router.delete("/users/{key}", status_code=204, tags=["users"])
async def delete_user(session: DbSession, key: PathKey) -> None:
    await service.delete_user(session, key)


@router.post("/users/{key}/restore", tags=["users"])
async def restore_user(session: DbSession, key: PathKey) -> UserResponse:
    return await service.restore_user(session, key)


@router.post("/users/{key}/posts", status_code=201, tags=["posts"])
async def create_post(session: DbSession, key: PathKey, new: PostCreate) -> PostResponse:
    return await service.create_post(session, key, new)


@router.get("/posts", tags=["posts"])
async def list_posts(
    session: ReadSession, query: PostQuery, tag: TagName | None = None
) -> CursorPage[PostResponse]:
    """The published posts, of one tag or of all."""
    posts = PostRepository(session)
    page = await query.cursor_page(posts, *posts.seen(tag), options=posts.shown)
    return page.map(PostResponse.model_validate)


@router.get("/posts.jsonl", tags=["posts"], response_class=StreamingResponse)
async def export_posts(database: AppDatabase) -> Stream:
    """All published posts, one a line."""
    return Stream(service.export_posts(database), "application/jsonl")


@router.get("/posts/{key}", tags=["posts"])
async def get_post(session: ReadSession, key: PathKey) -> PostResponse:
    return await service.get_post(session, key)


@router.patch("/posts/{key}", tags=["posts"])
async def update_post(session: DbSession, key: PathKey, change: PostUpdate) -> PostResponse:
    return await service.update_post(session, key, change)


@router.put("/posts/{key}/tags", tags=["posts"])
async def set_tags(session: DbSession, key: PathKey, names: TagNames) -> PostResponse:
    return await service.set_tags(session, key, names)


@router.delete("/posts/{key}", status_code=204, tags=["posts"])
async def delete_post(session: DbSession, key: PathKey) -> None:
    await service.delete_post(session, key)


@router.post("/posts/{key}/restore", tags=["posts"])
async def restore_post(session: DbSession, key: PathKey) -> PostResponse:
    return await service.restore_post(session, key)


@router.get("/tags", tags=["tags"])
async def list_tags(session: ReadSession) -> list[TagResponse]:
    return await service.list_tags(session)
