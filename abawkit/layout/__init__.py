"""Which files a clip has, in every layout seen; no media are opened."""
