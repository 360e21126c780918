"""Extractors of other packages, which declare them as entry points of the group ``abawkit.extractors``.

An entry point's name is the extractor's name on the command line; its object is a function that takes the
:class:`abawkit.workspace.Workspace` and returns an extractor. ``examples/custom_extractor`` is a whole one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import Any

from abawkit import plugins
from abawkit.errors import AbawkitError, UsageError
from abawkit.features.spec import MODALITIES, PLUGIN, Extractor, FeatureSpec, Workload
from abawkit.workspace import Workspace

GROUP = "abawkit.extractors"


def installed_extractor(name: str, workspace: Workspace) -> Extractor:
    """Returns the extractor of that name, made for the workspace.

    Raises:
        UsageError: No package has an extractor of that name.
        AbawkitError: It cannot be used: the package cannot be imported, or what it makes is not an extractor.
    """
    found = plugins.found(GROUP)
    if name in found.broken:
        raise _unusable(name, found.broken[name])
    if name not in found.objects:
        raise UsageError(
            "no installed package has this extractor",
            got=name,
            expected=", ".join([*found.objects, *found.broken]) or "none is installed",
            todo="install the package that has it in this Python environment",
        )
    return make_extractor(name, found.objects[name], workspace)


def make_extractor(name: str, factory: Any, workspace: Workspace) -> Extractor:
    """Returns what the entry point's object makes, after a check that it is an extractor.

    Raises:
        AbawkitError: It is not, or the factory raised an exception.
    """
    try:
        extractor = factory(workspace)
        problem = _problem(extractor)
    except AbawkitError:
        raise
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        raise _unusable(name, problem)
    made: Extractor = extractor
    return made


def spec_of(name: str, extractor: Extractor) -> FeatureSpec:
    """Returns the specification of an installed extractor's store, which says by which one it was made."""
    return replace(extractor.spec, extractor=f"{PLUGIN}{name}/{extractor.spec.extractor}")


def _problem(extractor: Any) -> str | None:
    """Returns why an object is not an extractor; None when it is one."""
    if isinstance(extractor, type):
        return f"its factory returned the class {extractor.__name__}, not an extractor"
    kind = type(extractor).__name__
    for part, wanted in (("spec", FeatureSpec), ("workload", Workload)):
        if not isinstance(getattr(extractor, part, None), wanted):
            return f"{kind}.{part} is not a {wanted.__name__}"
    for method in ("source", "load", "embed"):
        if not callable(getattr(extractor, method, None)):
            return f"{kind} has no method {method}"
    spec: FeatureSpec = extractor.spec
    if spec.modality not in MODALITIES:
        return f"its modality is {spec.modality!r}, not one of {', '.join(MODALITIES)}"
    if not re.fullmatch(r"\w[\w.+-]*", spec.name):  # it becomes a folder's name
        return f"its name is {spec.name!r}, not letters, digits, dots, plus and minus signs"
    if spec.name == "lite":  # training takes the store of that name in a workspace with the preset lite
        return "its name is 'lite', which is that of the preset's own features"
    _ = spec.signature  # raises where the preprocessing cannot be written as JSON
    if extractor.workload.in_workers:
        ForkingPickler.dumps(extractor)  # raises where it cannot be sent to a worker process
    return None


def _unusable(name: str, reason: str) -> AbawkitError:
    return AbawkitError(
        f"the extractor {name} cannot be used",
        got=" ".join(reason.split()),
        todo="fix or uninstall its package; `abawkit doctor` shows all packages that are broken",
    )
