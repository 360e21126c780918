"""The challenge folder: layout, labels, validation, statistics, splits."""
