"""Splits into train and valid: how they are drawn, and the files that hold them."""
