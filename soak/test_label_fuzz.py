"""2,000 fuzzed label files: no traceback, no wrong "fine", no wrong alarm, judged by an oracle of its own."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.data.fuzz_labels import label_files
from tests.data.test_label_fuzz import assert_agrees

pytestmark = pytest.mark.soak

EXAMPLES = 2000
CODES = {"L201", "L203", "L204", "L206", "L208", "L209", "L210", "L211", "L212"}


def test_the_reader_agrees_with_the_oracle(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    @given(label_files)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    def agree(data: bytes) -> None:
        verdict = assert_agrees(tmp_path, data)
        seen["files"] += 1
        seen["fine" if verdict.fine else "broken"] += 1
        seen.update(verdict.file_errors.union(*verdict.row_errors.values()))

    agree()
    print(dict(seen))
    # A fuzzer that only ever makes rubbish, or nothing but good files, would prove nothing.
    assert seen["files"] >= EXAMPLES and min(seen["fine"], seen["broken"]) > EXAMPLES / 10
    assert min(seen[code] for code in CODES) >= 10
