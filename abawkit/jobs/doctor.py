"""``abawkit doctor``: what will work on this machine and what will not, and how to fix it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from abawkit import __version__
from abawkit.errors import AbawkitError, FindingsError
from abawkit.fileio import human_bytes

State = Literal["ok", "warning", "error"]

_PACKAGES = ("torch", "transformers", "numpy", "pandas", "scipy", "h5py", "av", "opencv-python-headless", "typer")


@dataclass(frozen=True)
class Check:
    """One check: its state, what was found, and how to fix it."""

    name: str
    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check is an error."""
        return all(check.state != "error" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Returns ``{"ok", "checks"}``."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def doctor(folder: Path) -> Diagnosis:
    """Returns what was found: versions, device, codecs, disk, memory, models, face detector, OpenFace, plug-ins.

    Args:
        folder: Where the work will be done: its disk is checked.
    """
    machine = (*_versions(), _device(), _codecs(), _disk(folder), _memory())
    return Diagnosis((*machine, *_models(), _detector(), _openface(), *_plugins(folder)))


def _versions() -> Iterator[Check]:
    yield Check("abawkit", "ok", f"{__version__}, Python {sys.version.split()[0]}, {platform.system()}")
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "error", "not installed", f"pip install {name}")
    yield Check("packages", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def _device() -> Check:
    from abawkit.device import pick_device

    try:
        device = pick_device("auto")
    except FindingsError as error:
        return Check("device", "error", f"{error.message}: {error.got}", error.todo or "")
    import torch

    if device == "cpu":
        return Check("device", "ok", f"cpu, {len(os.sched_getaffinity(0))} cores (no GPU here)")
    free, total = torch.cuda.mem_get_info(device)
    name = torch.cuda.get_device_name(device)
    return Check("device", "ok", f"{device}: {name}, {human_bytes(free)} of {human_bytes(total)} free")


def _codecs() -> Check:
    from abawkit.media.codecs import missing_codecs, versions

    missing = missing_codecs()
    if missing:
        return Check("codecs", "error", f"{versions()}; lacks {', '.join(missing)}", "pip install --force-reinstall av")
    return Check("codecs", "ok", versions())


def _disk(folder: Path) -> Check:
    usage = shutil.disk_usage(folder)
    found = f"{human_bytes(usage.free)} free of {human_bytes(usage.total)}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "error", f"{folder} cannot be written to", "choose another workspace")
    if usage.free < 20 * 2**30:  # the paper's features of 17,246 clips take about 13 GiB in float16
        return Check("disk", "warning", found, "features of the whole challenge need about 20 GiB")
    return Check("disk", "ok", found)


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    found = f"{human_bytes(total)}, {human_bytes(available)} unused"
    if total < 4 * 2**30:
        return Check("memory", "warning", found, "extract with --workers 1")
    return Check("memory", "ok", found)


def _models() -> Iterator[Check]:
    from abawkit.backbones.cache import resolve
    from abawkit.backbones.known import model_ref
    from abawkit.extractors.paper import DEFAULTS

    for modality, name in DEFAULTS.items():
        try:
            found = resolve(model_ref(name))
        except AbawkitError as error:
            yield Check(f"{modality} model", "warning", f"{name} is not here", error.todo or "")
        else:
            yield Check(f"{modality} model", "ok", f"{name} in {found}")


def _detector() -> Check:
    from abawkit.extractors.vision import pick_detector

    try:
        found = pick_detector("auto")
    except AbawkitError as error:
        return Check("face detector", "warning", f"{error.message}: {error.got}", error.todo or "")
    if found.name == "yunet":
        return Check("face detector", "ok", f"YuNet in {found.path}")
    return Check("face detector", "ok", "OpenCV's cascade (YuNet is not here), for extract.faces = detect")


def _openface() -> Check:
    found = shutil.which("FeatureExtraction")
    if found is None:
        todo = "only for the motion features of the preset paper; CSVs made elsewhere can be read too"
        return Check("OpenFace", "warning", "FeatureExtraction is not on the PATH", todo)
    return Check("OpenFace", "ok", f"{found}; it is run when extract.openface_bin names it")


def _plugins(folder: Path) -> Iterator[Check]:
    """Yields a check of every plug-in; extractors are made for the workspace, if there is one."""
    from abawkit.extractors.installed import make_extractor
    from abawkit.plugins import found
    from abawkit.systems.kinds import OWN, broken_plugins, known_kinds
    from abawkit.workspace import Workspace

    try:
        workspace = Workspace.open(folder)
    except AbawkitError:
        workspace = None
    extractors = found("abawkit.extractors")
    broken = {f"extractor {name}": reason for name, reason in extractors.broken.items()} | broken_plugins()
    for name, thing in extractors.objects.items():
        if workspace is None:
            yield Check(f"extractor {name}", "ok", "it can be imported")
            continue
        try:
            make_extractor(name, thing, workspace)
        except AbawkitError as error:
            broken[f"extractor {name}"] = error.got or error.message
        else:
            yield Check(f"extractor {name}", "ok", "it can be used")
    for what in ("encoder", "fusion", "loss"):
        for name in list(known_kinds(what))[len(OWN[what]) :]:
            yield Check(f"{what} {name}", "ok", "it can be used")
    for name, reason in broken.items():
        yield Check(name, "warning", reason, "fix or uninstall its package; the rest works without it")
