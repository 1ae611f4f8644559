"""A function of the user's, called here or in a Ray actor; whatever it does wrong is one line.

Apart from the judges, so that an actor imports nothing but what the function needs.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from rayforge.errors import ConfigurationError, MachineError, UserError
from rayforge.readers.faults import REASON, one_line, shown


@dataclass
class PythonFunction:
    """A function of the user's, `module:function`; where Ray runs, it runs in an actor, with what
    it loads. A module is looked for where Python looks, then in the working directory."""

    name: str
    place: str = field(default_factory=os.getcwd)
    """The working directory."""
    role: str = "judge"
    """What it is asked as, for messages."""
    _actor: Any = None

    def parameters(self) -> int:
        """How many arguments it must be given. Raises ConfigurationError where there is none."""
        found = self._found()
        try:
            known = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            return 0
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in known)

    def __call__(self, *lists: Sequence[Any]) -> list[Any]:
        """Its answer as a list. Raises MachineError where it raises or answers anything else."""
        try:
            return self._ask([list(values) for values in lists])
        except UserError:
            raise
        except Exception as error:  # its actor died, or what was asked does not reach it
            raise self._raised(error) from error

    def _ask(self, lists: Sequence[list[Any]]) -> list[Any]:
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return self.here(lists)
        for attempt in (1, 2):  # an actor that died, or belongs to an earlier cluster, is replaced
            if self._actor is None:
                remote = ray.remote(num_cpus=0)(PythonFunction)
                self._actor = remote.remote(self.name, self.place, self.role)
            try:
                return list(ray.get(self._actor.here.remote(lists)))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # what the function itself raised
            except (ray.exceptions.RayActorError, ValueError):
                self._actor = None
                if attempt == 2:
                    raise
        raise AssertionError

    def here(self, lists: Sequence[list[Any]]) -> list[Any]:
        """The answer, in the process that is asked. The function gets copies: what it changes in
        a prompt's messages is its own affair. Raises MachineError as a call does."""
        function = self._found()
        try:
            answer = function(*copy.deepcopy(lists))
            return self._listed(answer, len(lists[0]))
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's function raises
            raise self._raised(error) from error

    def _listed(self, answer: Any, n: int) -> list[Any]:
        """An answer as a list, plain where it is an array; of an endless one n + 1 values."""
        if getattr(answer, "ndim", 0) == 2 and answer.shape[1] == 1:
            answer = answer[:, 0]  # a column, as models give it
        if hasattr(answer, "tolist"):
            answer = answer.tolist()
        wrong = (str, bytes, Mapping, Set)
        if not isinstance(answer, Iterable) or isinstance(answer, wrong):
            raise MachineError(
                f"the {self.role} `{self.name}` gave {shown(answer)}, of type "
                f"{type(answer).__name__}; it must give a list with one answer for each response"
            )
        return list(itertools.islice(answer, n + 1))

    def _raised(self, error: BaseException) -> MachineError:
        try:
            said = one_line(error)
        except Exception:  # an error of the user's own that cannot be printed
            said = "it does not say why"
        return MachineError(f"the {self.role} `{self.name}` raised {type(error).__name__}: {said}")

    def _found(self) -> Callable[..., Any]:
        module, _, function = self.name.partition(":")
        if self.place not in sys.path:
            sys.path.append(self.place)
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"{self.role} {self.name}: {one_line(error, REASON)}; it names a Python function, "
                "MODULE:FUNCTION, of a module in the working directory or among those installed"
            ) from None
        except (Exception, SystemExit) as error:  # the module's own code is run
            raise ConfigurationError(
                f"{self.role} {self.name}: module {module} cannot be imported: "
                f"{type(error).__name__}: {one_line(error, REASON)}"
            ) from None
        if not callable(found):
            raise ConfigurationError(f"{self.role} {self.name} is no function")
        value: Callable[..., Any] = found
        return value
