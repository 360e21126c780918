"""Systems as data: what can be trained is a TOML file (``paper/``), read by a strict schema."""
