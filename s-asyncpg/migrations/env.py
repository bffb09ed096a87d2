"""What Alembic runs: the migrations of these tables."""

from shop.db import migrate

# The metadata of your models, all of them imported: a table that is not on it would be dropped.
from shop.models import metadata

migrate.run(metadata)
