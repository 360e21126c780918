"""Entry points of other packages: what is found, and what a broken one says."""

import sys
from pathlib import Path

import pytest

from abawkit import plugins
from tests.examples.plugin_package import install

GROUP = "abawkit.extractors"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_without_packages_there_are_none() -> None:
    assert plugins.found("abawkit.nothing") == plugins.Plugins({}, {})


def test_the_objects_of_a_group_are_found_by_name(site: Path) -> None:
    code = "def pitch(): return 'pitch'\ndef tone(): return 'tone'\ndef other(): ...\n"
    entries = {
        GROUP: {"tone": "plug_found:tone", "pitch": "plug_found:pitch"},
        "abawkit.losses": {"other": "plug_found:other"},
    }
    install(site, "plug_found", code, entries)
    found = plugins.found(GROUP)
    assert {name: thing() for name, thing in found.objects.items()} == {"pitch": "pitch", "tone": "tone"}
    assert list(found.objects) == ["pitch", "tone"]
    assert found.broken == {}


def test_nothing_is_imported_before_it_is_asked_for(site: Path) -> None:
    install(site, "plug_lazy", "thing = 1\n", {GROUP: {"lazy": "plug_lazy:thing"}})
    plugins.found("abawkit.losses")
    assert "plug_lazy" not in sys.modules
    plugins.found(GROUP)
    assert "plug_lazy" in sys.modules


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("other = 1\n", "AttributeError: module 'plug_broken' has no attribute 'thing'"),
        ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
        ("raise SystemExit('no licence')\n", "SystemExit: no licence"),
        ("def :\n", "SyntaxError: "),
    ],
)
def test_a_broken_package_has_its_reason_and_harms_no_other(
    site: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.delitem(sys.modules, "plug_broken", raising=False)
    install(site, "plug_broken", code, {GROUP: {"bad": "plug_broken:thing"}})
    install(site, "plug_whole", "thing = 1\n", {GROUP: {"good": "plug_whole:thing"}})
    found = plugins.found(GROUP)
    assert found.objects == {"good": 1}
    assert list(found.broken) == ["bad"]
    assert found.broken["bad"].startswith(f"plug_broken:thing of plug_broken 1.0: {reason}")


def test_two_packages_that_claim_one_name_break_it(site: Path) -> None:
    install(site, "plug_one", "thing = 1\n", {GROUP: {"same": "plug_one:thing"}})
    install(site, "plug_two", "thing = 2\n", {GROUP: {"same": "plug_two:thing"}})
    found = plugins.found(GROUP)
    assert found.objects == {}
    assert "plug_one:thing of plug_one 1.0, plug_two:thing of plug_two 1.0" in found.broken["same"]
