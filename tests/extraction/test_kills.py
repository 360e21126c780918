"""A sample of the proof in soak/: kill -9 at random moments of an extraction."""

import random
from pathlib import Path

from tests.kills import Job, kill_to_the_same_end


def test_a_killed_extraction_ends_as_if_it_had_not_been(fresh: Path) -> None:
    job = Job(
        ("extract", "-m", "vision", "--workers", "1"),
        "features",
        "*/*/segment-*.h5",
        {"ABAWKIT_EXTRACT_SEGMENT_CLIPS": "4"},
    )
    tally = kill_to_the_same_end(job, fresh, 3, random.Random(2))
    assert tally.phases.total() == 3 and 1 <= tally.ends <= 2, tally
