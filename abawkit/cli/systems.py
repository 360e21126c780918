"""``systems``: what can be trained, and systems of one's own."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from abawkit.cli.options import JsonOption, SetOption, WorkspaceOption, workspace_if_any

if TYPE_CHECKING:
    from abawkit.systems.schema import System

systems_app = typer.Typer(help="The systems that can be trained.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A system, such as F4, or a TOML file.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    systems_app.command("list", epilog="Example: abawkit systems list")(list_)
    systems_app.command("show", epilog="Example: abawkit systems show F5")(show)
    systems_app.command("check", epilog="Example: abawkit systems check systems/mine.toml")(check)
    systems_app.command("new", epilog="Example: abawkit systems new mine --from F4")(new)
    app.add_typer(systems_app, name="systems")


def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the systems: the paper's, and those of the workspace."""
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.systems.kinds import broken_plugins
    from abawkit.systems.loader import find_systems, load_system

    opened = workspace_if_any(workspace)
    root = None if opened is None else opened.root
    loaded: list[tuple[str, System]] = []
    broken: dict[str, str] = dict(broken_plugins())
    for found in find_systems(root):
        try:
            loaded.append((found.group, load_system(found.name, workspace=root)))
        except UsageError as error:
            broken[str(found.path)] = str(error)
    if as_json:
        systems = [{"group": group, **system.to_json()} for group, system in loaded]
        console.print_json({"systems": systems, "broken": broken})
        return
    for group, members in groupby(loaded, key=lambda each: each[0]):
        rows = [[s.name, s.title, s.ratio, console.number(s.paper.valid, 4)] for s in (system for _, system in members)]
        console.show_table(group, ["name", "what", "split", "paper's r"], rows, left=2, no_fold=True)
    for name, reason in broken.items():
        console.err().print(f"{name} cannot be used: {reason}", style="yellow", markup=False)


def show(
    name: NameArgument, sets: SetOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Show everything about a system as a TOML file: each key, and whether its value is the default."""
    from abawkit.cli import console
    from abawkit.cli.options import set_values
    from abawkit.systems.loader import find_system, load_system, read_table
    from abawkit.systems.write import as_toml

    opened = workspace_if_any(workspace, sets)
    root = None if opened is None else opened.root
    overrides = set_values(sets) if opened is None else opened.settings.system
    sources = None if opened is None else opened.sources
    system = load_system(name, overrides, workspace=root, sources=sources)
    if as_json:
        console.print_json(system.to_json())
        return
    path = find_system(name, root).path
    screen = console.out()
    screen.print(f"# {system.name}: {path}", markup=False, highlight=False, soft_wrap=True)
    text = as_toml(system, read_table(path), load_system(name, workspace=root))
    screen.print(text, markup=False, highlight=False, soft_wrap=True)
    for key, value in overrides.items():
        source = "--set" if opened is None else opened.sources[key]
        screen.print(f"# {key} = {value}: from {source}", markup=False, highlight=False, soft_wrap=True)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file of a system.")],
    as_json: JsonOption = False,
) -> None:
    """Check the file of a system: every key, kind and value in it."""
    from abawkit.cli import console
    from abawkit.systems.loader import build_system, read_table

    system = build_system(read_table(file), file.stem, path=file)
    if as_json:
        console.print_json({"ok": True, "system": system.to_json()})
        return
    stages = ", ".join(dict.fromkeys([*system.unimodal, system.final]))
    console.say(f"{file} is a system of {len(system.slots)} slot(s); its stages: {stages}")
    console.next_steps({f"abawkit train --system {file}": "train it"})


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new system.")],
    template: Annotated[str, typer.Option("--from", metavar="SYSTEM", help="The system to begin with.")] = "F4",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a system of your own into the workspace's folder systems/, as a copy to change."""
    from abawkit.cli import console
    from abawkit.cli.options import open_workspace
    from abawkit.systems.write import new_system

    path = new_system(open_workspace(workspace).root, name, template)
    if as_json:
        console.print_json({"ok": True, "path": str(path)})
        return
    console.say(f"wrote {path}")
    steps: dict[str, Any] = {f"abawkit systems check {path}": "after changing it"}
    console.next_steps(steps | {f"abawkit train --system {name}": "train it"})
