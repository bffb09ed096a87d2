"""A service under load, which is checked to the last row: run in a rendered service."""
