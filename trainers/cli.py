"""The `rayforge` command: it collects the commands of the systems, and those about all of them.

Thin: it reads arguments, and imports what a command needs only then.
"""

from __future__ import annotations

import difflib
import errno
import inspect
import io
import os
import signal
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rayforge.errors import EXIT_CODES, ConfigurationError, MachineError, RunError, UserError
from rayforge.readers.faults import one_line
from rayforge.settings import changed
from trainers.alignment.commands import AlignTrain, with_method
from trainers.alignment.config import AlignConfig
from trainers.alignment.named_code import confirmed, runs_code
from trainers.alignment.system import ALIGN
from trainers.amodal.commands import AmodalTrain
from trainers.amodal.config import VideoConfig
from trainers.amodal.system import AMODAL
from trainers.analysis.commands import COMMANDS as ANALYSES
from trainers.arguments import read_arguments
from trainers.capacity.command import PlanRun
from trainers.commands import Doctor, Houses, Report, Routes, Tune
from trainers.configuration import read_configuration
from trainers.feedback.commands import COMMANDS as FEEDBACK
from trainers.help import FLAGS, help_of, wants_help
from trainers.irl.commands import Train
from trainers.irl.config import IRLConfig
from trainers.irl.system import IRL
from trainers.runs import stopping
from trainers.systems import is_place

HELP = """usage: rayforge COMMAND ...

RayForge: agents that follow natural-language goals in 3-D homes, and language models that speak
about them.

  rayforge houses DIR           write generated houses in the formats of Room-to-Room
  rayforge routes DIR           write houses with route instructions, for an agent that reviews them
  rayforge irl train            train an agent (LangGoalIRL, or cloning)
  rayforge irl evaluate RUN     score a trained agent on a split
  rayforge irl reward RUN       what its reward knows, what training did to the clone
  rayforge irl adapt RUN        let a trained agent make its own training data in new buildings
  rayforge irl plan RUN         teach a trained agent to choose among paths on a map
  rayforge irl prune RUN        take modules out of a trained circuit: a smaller run
  rayforge irl watch RUN        make a page of its episodes: maps, step by step
  rayforge align train          align a language model (DPO, review by acting, SeRA)
  rayforge align evaluate RUN   compare its answers with those of another run
  rayforge feedback check LOG   read a session log and name what is wrong with it
  rayforge feedback simulate    write a log with truth: simulated users of an agent
  rayforge feedback loop        days of users and nights of learning from their log
  rayforge feedback labels      label the sessions of a log: goals, success, slots
  rayforge feedback rephrases   find which requests of a log were said again, and better
  rayforge feedback tables      rewrites of a log by absorbing chains
  rayforge feedback rewrite     learn from a log how to rewrite requests that will fail
  rayforge feedback serve       answer rewrites over HTTP, on Ray Serve
  rayforge feedback teach       teach a user's private name, delete it, or list them
  rayforge feedback failures    which stage of an agent fails first beyond repair
  rayforge feedback mine        demonstrations and preference pairs from a log
  rayforge feedback report      the page of a loop
  rayforge amodal train         train a network that completes hidden outlines in video
  rayforge amodal evaluate RUN  score it: whole and hidden part
  rayforge amodal watch RUN     make a film of what it completes
  rayforge analyse information RUN   what its weights hold about their task
  rayforge analyse periods FILE      when damage to the data lasts
  rayforge analyse tasks RUN         which tasks are near each other, which run to start from
  rayforge analyse transfer FILE     runs under shift, and what predicts it
  rayforge analyse failures RUN      which stage fails first (as feedback failures)
  rayforge analyse parity RUN        whether it serves groups alike
  rayforge tune FILE            search for settings of a system, or of both at once
  rayforge report RUN...        the report of a run, or of several side by side
  rayforge plan FILE            what a run will need, before it starts
  rayforge doctor               check this machine
  rayforge MODULE:NAME train    train a system of your own

examples:
  rayforge houses runs/houses --seed 0
  rayforge irl train --data runs/houses --run runs/first
  rayforge irl train --data ../r2r --held-out B6ByNegPMKs E9uDoFAP3SH --run runs/r2r
  rayforge irl train --resume runs/r2r
  rayforge irl evaluate runs/r2r --split val_unseen --data ../r2r
  rayforge irl watch runs/r2r --split val_seen
  rayforge irl adapt runs/r2r --scans B6ByNegPMKs,E9uDoFAP3SH --out runs/adapted
  rayforge align train --method sera --run runs/sera
  rayforge align evaluate runs/sera --against runs/dpo
  rayforge tune tune_configs/irl.yaml

rayforge COMMAND --help lists the main settings of a command, --help-all every one;
rayforge --version says which this is.

exit codes: """ + "\n            ".join(f"{code:<4} {said}" for code, said in EXIT_CODES.items())


COMMANDS: dict[tuple[str, ...], type[Any]] = {
    ("houses",): Houses,
    ("routes",): Routes,
    **{(s.name, name): c for s in (IRL, ALIGN, AMODAL) for name, c in s.commands.items()},
    **{("feedback", name): command for name, command in FEEDBACK.items()},
    **{("analyse", name): command for name, command in ANALYSES.items()},
    ("analyse", "failures"): FEEDBACK["failures"],
    ("tune",): Tune,
    ("report",): Report,
    ("plan",): PlanRun,
    ("doctor",): Doctor,
}


TRAINED: dict[type[Any], type[Any]] = {
    Train: IRLConfig,
    AlignTrain: AlignConfig,
    AmodalTrain: VideoConfig,
}
"""Commands that start from a file of settings, and what these are."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; its exit codes are those of `rayforge.errors`."""
    given = sys.argv[1:] if arguments is None else arguments
    open_streams()
    with stopping.listening():
        _main(given)


def open_streams() -> None:
    """Make the three standard streams usable, whatever this process was started with.

    One that is closed becomes /dev/null: the next file that is opened would take its number, and
    whatever a library prints would go into it. A letter that a terminal or log cannot show is
    escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (for good)
        elif number and isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _main(given: list[str]) -> None:
    try:
        try:
            _run(given)
        except Exception as error:
            if stopping.asked():  # what a signal broke in two is not told as a fault of its own
                raise KeyboardInterrupt(stopping.how_to_go_on()) from error
            raise
        finally:
            sys.stdout.flush()  # a reader that is gone is noticed here, not at the very end
    except BrokenPipeError:  # as in `rayforge ... | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except KeyboardInterrupt as stop:
        print(f"rayforge: {str(stop) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(stopping.EXIT_CODE) from None
    except UserError as error:
        print(f"rayforge: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ImportError as error:  # a library's file that found no room, or is not of this machine
        if "shared object" not in str(error) and "annot allocate" not in str(error):
            raise
        print(f"rayforge: {_not_loaded(error)}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
    except MemoryError as error:
        print(f"rayforge: {_too_much(error)}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
    except RuntimeError as error:
        if "allocate" not in str(error) or "memory" not in str(error):  # torch's own MemoryError
            raise
        print(f"rayforge: {_too_much(error)}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
    except OSError as error:
        said, code = _said_of(error)
        if not said:
            raise
        print(f"rayforge: {said}", file=sys.stderr)
        raise SystemExit(code) from None


def _not_loaded(error: ImportError) -> str:
    return (
        f"a library cannot be loaded ({one_line(error, 160)}): give this process more memory "
        "(ulimit -v), or install RayForge again"
    )


def _too_much(error: Exception) -> str:
    said = one_line(error, 160) or "out of memory"
    return f"not enough memory ({said}): ask for less (smaller sizes or batches), or give it more"


_PLACE_SHOWN = 150
"""Characters of a file's place in a message: more than of values, for it has to be found."""
_NO_PLACE = (
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO,
    errno.ENODEV, errno.EIO, errno.ESTALE, errno.EEXIST, errno.ENOTEMPTY,
)  # fmt: skip
"""A file or folder that was named is none that can be used so."""


def _said_of(error: OSError) -> tuple[str, int]:
    """What the system refused and what to do, in one line, and the exit code; "" for what is a
    fault of ours."""
    said = one_line(error.strerror or error)
    if error.filename is not None:
        said += f": {one_line(os.fsdecode(error.filename), _PLACE_SHOWN)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{said}; free some disk space, and go on with --resume where it was training",
            MachineError.exit_code,
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"{said}; give yourself the right to read and write there, or name another place",
            MachineError.exit_code,
        )
    if error.errno in _NO_PLACE and error.filename is not None:
        return f"{said}; name another place", ConfigurationError.exit_code
    return "", 0


def _run(given: list[str]) -> None:
    if not given:
        print(HELP, file=sys.stderr)
        raise SystemExit(ConfigurationError.exit_code)
    if given[0] in ("-h", "--help"):
        print(HELP)
        return
    if given[0] == "--version":
        print(f"rayforge {version('rayforge')}")
        return
    if is_place(given[0]):
        from trainers.outside import run_outside

        run_outside(given[0], given[1:])
        return
    given = _with_new_name(given)
    name = next((n for n in COMMANDS if tuple(given[: len(n)]) == n), None)
    if name is None and given[1:2] and given[1] in FLAGS and (said := _commands_of(given[0])):
        print(said)
        return
    if name is None:
        raise ConfigurationError(_unknown(given))
    _read(COMMANDS[name], " ".join(name), given[len(name) :])()


def _commands_of(group: str) -> str:
    """The commands of a group, such as `irl`, as `--help` lists them; "" where there is none."""
    lines = [line for line in HELP.splitlines() if line.startswith(f"  rayforge {group} ")]
    listed = [line for line in lines if line in HELP.partition("\nexamples:")[0]]
    said = f"\n\nrayforge {group} COMMAND --help lists the settings of each."
    return "\n".join([f"usage: rayforge {group} COMMAND ...\n", *listed]) + said if listed else ""


OLD_NAMES = {("irl", "evidence"): ("irl", "reward")}
"""Commands of older versions, which are still taken."""


def _with_new_name(given: list[str]) -> list[str]:
    for old, new in OLD_NAMES.items():
        if tuple(given[: len(old)]) == old:
            said = f"rayforge {' '.join(old)} is an old name: write rayforge {' '.join(new)}"
            print(said, file=sys.stderr)
            return [*new, *given[len(old) :]]
    return given


def _unknown(given: list[str]) -> str:
    """What to say of words that name no command: the nearest one, or those of their group."""
    group = [" ".join(name) for name in COMMANDS if len(name) > 1 and name[0] == given[0]]
    if group and (len(given) == 1 or given[1].startswith("-")):
        return f"{given[0]} needs a command: {', '.join(group)}"
    length = 2 if group else max(1, min(2, next((i for i, word in enumerate(given)
                                                if word.startswith("-")), len(given))))  # fmt: skip
    names = [" ".join(name) for name in COMMANDS]
    for words in (" ".join(given[:length]), given[0]):
        near = difflib.get_close_matches(words, names, 1, 0.6)
        # `train` alone is the last word of two commands.
        near += [n for n in names if n.split()[-1] == words]
        if near:
            return f"there is no command {words[:80]!r}; did you mean: rayforge {near[0]}"
    return f"there is no command {given[0][:80]!r}: rayforge --help names them all"


def _read(command: type, name: str, arguments: list[str]) -> Any:
    """A command with its arguments; `train` starts from a YAML file where one is named."""
    asked = wants_help(arguments)
    given: dict[str, Any] = {"prog": f"rayforge {name}", "description": inspect.getdoc(command)}
    if command in TRAINED:
        kind = TRAINED[command]
        config, arguments = _take(arguments, "--config")
        resume, _ = _take(arguments, "--resume")
        if config is not None and resume is not None:
            raise ConfigurationError("--resume goes on under the run's own settings: drop --config")
        if resume is not None and not (Path(resume) / "config.yaml").is_file():
            raise RunError(f"{resume} holds no run to go on with: it has no config.yaml")
        file = config or (resume and str(Path(resume) / "config.yaml"))
        settings = read_configuration(kind, Path(file)) if file else kind()
        if command is AlignTrain and file and not asked:
            return _with_judge(settings, file, arguments, given)
        given["default"] = command(settings)
    if command is AlignTrain and config is None and resume is None:
        arguments = with_method(arguments)
    if asked:
        print(help_of(command, name, given.get("default"), asked == "--help-all"))
        raise SystemExit(0)
    return _started(read_arguments(command, arguments, **given))


def _started(asked: Any) -> Any:
    """A training whose start is to be found among finished runs, with the run that was found."""
    if not isinstance(asked, Train) or not asked.settings.start_from.startswith("auto:"):
        return asked
    from trainers.analysis.tasks import start_from

    return replace(asked, settings=start_from(asked.settings))


def _with_judge(
    settings: AlignConfig, file: str, arguments: list[str], given: dict[str, Any]
) -> AlignTrain:
    """Alignment from a file's settings; a judge or score in it that runs code must be named
    again."""
    named = {name: getattr(settings, name) for name in ("judge", "score")}
    shown = {name: "" if runs_code(value) else value for name, value in named.items()}
    given["default"] = AlignTrain(changed(settings, shown))
    asked = read_arguments(AlignTrain, arguments, **given)
    used = {
        name: confirmed(value, getattr(asked.settings, name), file, name)
        for name, value in named.items()
    }
    found: AlignTrain = replace(asked, settings=changed(asked.settings, used))
    return found


def _take(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag, and the arguments without it."""
    for place, word in enumerate(arguments):
        if word == flag:
            if place + 1 == len(arguments):
                raise ConfigurationError(f"{flag} needs a value")
            return arguments[place + 1], arguments[:place] + arguments[place + 2 :]
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1], arguments[:place] + arguments[place + 1 :]
    return None, arguments


if __name__ == "__main__":
    main()
