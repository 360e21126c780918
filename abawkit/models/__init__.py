"""The networks: torch only, no paths, no files, no settings."""
