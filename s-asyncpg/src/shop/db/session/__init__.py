"""Sessions: safe commits, callbacks after a commit, readers, slots, the guard against sharing."""

from .on_commit import on_commit, run_callbacks
from .session import JoinMode, Session, create_session
from .slots import Slots
from .sync_session import Callback, sync_session_of

__all__ = [
    "Callback",
    "JoinMode",
    "Session",
    "Slots",
    "create_session",
    "on_commit",
    "run_callbacks",
    "sync_session_of",
]
