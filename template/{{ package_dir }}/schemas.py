"""Input and output: nobody sets or sees more of a table than is named here."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from .db import Key
from .models import PostStatus

# PostgreSQL takes no NUL in a text.
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Line = Annotated[Text, StringConstraints(strip_whitespace=True)]
Body = Annotated[Text, Field(max_length=50_000)]

# Whether mail arrives is for a mail to tell; this much is certain.
Email = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=320, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$"),
]
TagName = Annotated[Line, StringConstraints(to_lower=True, max_length=50)]
TagNames = Annotated[list[TagName], Field(max_length=20)]


class Input(BaseModel):
    """Input: a field that is not expected is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """Output: made from a model, by `model_validate`."""

    model_config = ConfigDict(from_attributes=True)


class Change(Input):
    """Fields that are left out stay as they are. No column may be empty, so null is an error."""

    @field_validator("*")
    @classmethod
    def _refuse_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("leave the field out, or give it a value")
        return value


class UserCreate(Input):
    email: Email
    name: Annotated[Line, Field(max_length=100)]


class UserUpdate(Change):
    email: Email | None = None
    name: Annotated[Line, Field(max_length=100)] | None = None


class UserResponse(Output):
    id: Key
    email: str
    name: str
    created_at: datetime
    updated_at: datetime


class TagResponse(Output):
    id: Key
    name: str


class PostCreate(Input):
    title: Annotated[Line, Field(max_length=200)]
    body: Body
    status: PostStatus = PostStatus.DRAFT
    tags: TagNames = []


class PostUpdate(Change):
    """A change of the post that was read at this `version`."""

    version: int
    title: Annotated[Line, Field(max_length=200)] | None = None
    body: Body | None = None
    status: PostStatus | None = None


class PostResponse(Output):
    id: Key
    title: str
    body: str
    status: PostStatus
    version: int
    author: UserResponse
    tags: list[TagResponse]
    created_at: datetime
    updated_at: datetime
