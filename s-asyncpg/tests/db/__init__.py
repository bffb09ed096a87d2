"""Tests of the layer: guards over the project's models, and a smoke test on its database."""

from shop import db
from shop.db import doctor, migrate, testing
from shop.db.engine import dialect, driver
from shop.db.repository import cursor
from shop.db.testing import databases

__all__ = ["cursor", "databases", "db", "dialect", "doctor", "driver", "migrate", "testing"]
