"""The leaderboard file: written, checked, compared with what was sent before, and fixed."""
