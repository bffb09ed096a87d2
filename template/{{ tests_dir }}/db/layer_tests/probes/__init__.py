"""The layer's own tests, with tables of their own, on this project's kind of database."""

from .. import cursor, databases, db, dialect, doctor, driver, migrate, testing

__all__ = ["cursor", "databases", "db", "dialect", "doctor", "driver", "migrate", "testing"]
