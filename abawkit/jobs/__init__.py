"""Complete jobs built on the library."""
