"""The layer's module for FastAPI, for the tests of it."""

from shop.db import fastapi

__all__ = ["fastapi"]
