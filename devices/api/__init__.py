"""REST under /api/v1/: each module is one resource; what they share is in `asked` and `pages`."""
