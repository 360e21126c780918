"""Proxy groups, for data without subject ids: guessing them, and what they say about splits."""
