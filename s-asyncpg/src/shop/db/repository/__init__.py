"""The rows of a model: the repository, pages, cursors, and bulk writes."""
