"""The tests of this service."""
