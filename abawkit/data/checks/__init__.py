"""``abawkit validate`` and what it looks at."""
