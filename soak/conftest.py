"""The soak proofs use the fixtures of the tests."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[1] / "tests" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("abawkit_test_fixtures", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_FIXTURES = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _FIXTURES
_SPEC.loader.exec_module(_FIXTURES)

for _name in ("small_challenge", "extracted", "extracted_copy", "fresh"):
    globals()[_name] = getattr(_FIXTURES, _name)
