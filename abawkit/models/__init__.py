"""The paper's networks: torch modules only, no paths, no files, no settings."""
