"""The application. `uv run fastapi dev` serves `app`; tests create their own."""

from fastapi import FastAPI

from . import api
from .db import Database
from .db.fastapi import add_error_handlers, health, lifespan
from .db.replicas import ReplicatedDatabase


def create_app(database: Database | None = None) -> FastAPI:
    """Return the service, on this database or on the one that the settings name."""
    app = FastAPI(
        title="My Service",
        lifespan=lambda app: lifespan(app, database or ReplicatedDatabase()),
    )
    add_error_handlers(app)
    app.include_router(health)
    app.include_router(api.router)
    return app


app = create_app()
