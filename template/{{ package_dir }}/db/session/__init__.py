"""Sessions: safe commits, callbacks after them, readers, and the guard against sharing."""

from .on_commit import on_commit, run_callbacks
from .session import Session, create_session
from .sync_session import Callback

__all__ = ["Callback", "Session", "create_session", "on_commit", "run_callbacks"]
