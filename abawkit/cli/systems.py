"""``systems``: what can be trained."""

from __future__ import annotations

from typing import Annotated

import typer

from abawkit.cli.options import JsonOption

systems_app = typer.Typer(help="The systems that can be trained.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    systems_app.command("list", epilog="Example: abawkit systems list")(list_)
    systems_app.command("show", epilog="Example: abawkit systems show F5")(show)
    app.add_typer(systems_app, name="systems")


def list_(as_json: JsonOption = False) -> None:
    """List the systems."""
    from abawkit.cli import console
    from abawkit.systems.loader import load_system, system_names

    systems = [load_system(name) for name in system_names()]
    if as_json:
        console.print_json({"systems": [system.to_json() for system in systems]})
        return
    rows = [[s.name, s.title, s.ratio, console.number(s.paper.get("valid"), 4)] for s in systems]
    console.show_table("Systems", ["name", "what", "split", "paper's validation r"], rows, left=2)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A system, such as F4.")], as_json: JsonOption = False
) -> None:
    """Show everything about a system."""
    from abawkit.cli import console
    from abawkit.systems.loader import load_system

    system = load_system(name)
    if as_json:
        console.print_json(system.to_json())
        return
    screen = console.out()
    screen.print(f"[bold]{system.name}[/]  {system.title}  ({system.source})")
    rows = [[key, str(value)] for key, value in vars(system.hyperparameters).items()]
    console.show_table("Hyper-parameters", ["name", "value"], rows, left=2)
