"""The systems that can be trained, as data: one TOML file each, and their loader."""
