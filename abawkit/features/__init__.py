"""Feature stores: what a feature is, and the files it is kept in."""
