"""Scores, comparison and combination of runs, from their prediction files only."""
