"""Faults that happen to a unit of work, many times over: run in a rendered service."""
