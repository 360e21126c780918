"""The direction of imports: each layer knows only the layers below it."""

import ast
from pathlib import Path

import pytest

import abawkit

PACKAGE = Path(abawkit.__file__).parent
FLOOR = {
    "abawkit",
    "challenge",
    "errors",
    "findings",
    "fileio",
    "records",
    "metrics",
    "plugins",
    "progress",
    "settings",
    "workspace",
    "device",
    "workers",
}

#: The layers, lowest first; each may import the floor, itself and those before it that are named.
ALLOWED = {
    **{name: FLOOR for name in FLOOR},
    "layout": FLOOR,
    "media": FLOOR | {"layout"},
    "data": FLOOR | {"layout", "media"},
    "backbones": FLOOR | {"features.spec"},
    "features": FLOOR | {"layout", "data"},
    "extractors": FLOOR | {"layout", "data", "media", "backbones", "features"},
    "extraction": FLOOR | {"layout", "data", "media", "backbones", "features", "extractors"},
    "models": set(),  # torch only
    "optim": {"models"},  # torch only
    "systems": FLOOR | {"features.spec", "models", "optim"},
    "runs": FLOOR | {"data", "features.spec"},
    "training": FLOOR | {"layout", "data", "features", "models", "optim", "systems", "runs"},
    # Run records are all that later steps read of a training; they need neither torch nor a model.
    "evaluation": FLOOR | {"data", "runs"},
    "submission": FLOOR | {"layout", "data", "features", "runs", "evaluation"},
    "report": FLOOR | {"layout", "data", "runs", "evaluation", "submission"},
    "jobs": FLOOR
    | {
        "layout",
        "data",
        "media",
        "backbones",
        "features",
        "extractors",
        "extraction",
        "models",
        "optim",
        "systems",
        "runs",
        "training",
        "evaluation",
        "submission",
    },
}

#: Libraries that one layer alone may import.
KEPT = {
    "av": {"media"},
    "cv2": {"media"},
    "h5py": {"features"},
    "transformers": {"backbones"},
    "rich": {"cli"},
    "jinja2": {"report"},
}

PICKLE = {("pickle", "loop.py"), ("pickle", "exports.py")}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "abawkit" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_layers_below_it(path: Path) -> None:
    here = layer(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "abawkit" and here != "cli" and rest and rest != ["__version__"]:
            target = ".".join(rest)
            allowed = ALLOWED[here] | {here}
            assert any(target == a or target.startswith(a + ".") for a in allowed), f"{here} imports {name}"
        if top in KEPT:
            assert here in KEPT[top], f"{here} imports {name}"
        assert not (top == "typer" and here != "cli"), f"{here} imports {name}"
        # Written for others by the export; the training loop only names the exception. Nothing is ever unpickled.
        assert top not in ("click", "pickle") or (top, path.name) in PICKLE, f"{path} imports {name}"


def test_every_layer_is_known() -> None:
    assert {layer(path) for path in modules()} <= set(ALLOWED) | {"cli"}
