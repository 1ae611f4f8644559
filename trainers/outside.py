"""The commands of a system from outside RayForge: `rayforge module:NAME train`, `... report`."""

from __future__ import annotations

import sys
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from rayforge.errors import ConfigurationError, RunError
from trainers.arguments import read_arguments
from trainers.configuration import read_configuration
from trainers.help import help_of, wants_help
from trainers.runs.folder import named_folder
from trainers.runs.system import System
from trainers.systems import find_system


def run_outside(place: str, arguments: list[str]) -> None:
    """Run a command of the system `module:NAME`; its module may lie in the current directory.

    `train --run DIR` or `--resume RUN` takes the system's settings, and `--config FILE.yaml`;
    `report RUN` writes a run's report; the system's own commands have the names that it gives.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    system = find_system(place)
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    prog = f"rayforge {place} {name}"
    flag = wants_help(rest)
    if name in system.commands:
        if flag:
            print(help_of(system.commands[name], f"{place} {name}", None, flag == "--help-all"))
            raise SystemExit(0)
        read_arguments(system.commands[name], rest, prog)()
    elif name == "train":
        _train(system, place, rest, prog)
    elif name == "report" and len(rest) == 1 and not rest[0].startswith("-"):
        from trainers.runs.train import write_report

        if not (Path(rest[0]) / "config.yaml").is_file():
            raise RunError(f"{rest[0]} is not a run folder: it has no config.yaml")
        print(write_report(Path(rest[0])))
    else:
        names = ["train --run DIR", "report RUN", *system.commands]
        said = "\n".join(f"  rayforge {place} {n}" for n in names)
        if name not in ("-h", "--help"):
            raise ConfigurationError(f"{place} has the commands {', '.join(names)}")
        print(f"usage: rayforge {place} COMMAND ...\n\n{said}")


def _train(system: System, place: str, arguments: list[str], prog: str) -> None:
    kind = system.configuration
    command: Any = make_dataclass(
        "Train",
        [
            ("settings", Annotated[kind, tyro.conf.arg(name="")]),
            ("run", Annotated[Path | None, tyro.conf.arg(help="Folder of the run.")], None),
            ("resume", Annotated[Path | None, tyro.conf.arg(help="A run to go on with.")], None),
            ("config", Annotated[Path | None, tyro.conf.arg(help="A file of settings.")], None),
        ],
    )
    start, given = kind(), list(arguments)
    for flag in ("--resume", "--config"):
        if flag in given and given.index(flag) + 1 < len(given):
            folder = Path(given[given.index(flag) + 1])
            file = folder / "config.yaml" if flag == "--resume" else folder
            if flag == "--resume" and not file.is_file():
                raise RunError(f"{folder} holds no run to go on with: it has no config.yaml")
            start = read_configuration(kind, file)
    if asked_for := wants_help(given):
        command.__doc__ = kind.__doc__
        name, every = prog.removeprefix("rayforge "), asked_for == "--help-all"
        print(help_of(command, name, command(start), every))
        raise SystemExit(0)
    asked = read_arguments(command, given, prog, default=command(start), description=kind.__doc__)
    run = named_folder(asked.run, asked.resume)
    from trainers.runs.train import train

    train(system, f"{place} train", asked.settings, run, asked.resume is not None)
