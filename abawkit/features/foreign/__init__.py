"""Features that others made, read and written in their forms."""
