"""Whole recipes over the library."""
