"""A small challenge that was never recorded: drawn people, synthetic voices, made-up words, simulated raters."""

from abawkit.jobs.synthetic.challenge import SyntheticChallenge, write_challenge

__all__ = ["SyntheticChallenge", "write_challenge"]
