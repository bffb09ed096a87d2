"""The service: `db` is its data layer, `models` its tables."""
