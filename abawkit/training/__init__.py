"""Staged training (paper Sec. 4.1): unimodal stages, then fusion; and the run records that it leaves."""
