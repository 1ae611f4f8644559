"""A function of the user's, called here or in a Ray actor.

Apart from the judges, so that an actor imports nothing but what the function needs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayforge.errors import ConfigurationError, MachineError, UserError


@dataclass
class PythonFunction:
    """A function of the user's, `module:function`; where Ray runs, it runs in an actor, with what
    it loads. A module is looked for where Python looks, then in the working directory."""

    name: str
    place: str = field(default_factory=os.getcwd)
    """The working directory."""
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
        except Exception as error:  # whatever a user's function raises
            said = str(error).strip().splitlines()[:1] or [""]
            raise MachineError(
                f"the judge `{self.name}` raised {type(error).__name__}: {said[0][:80]}"
            ) from error

    def _ask(self, lists: Sequence[list[Any]]) -> list[Any]:
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return list(self._found()(*lists))
        for attempt in (1, 2):  # an actor that died, or belongs to an earlier cluster, is replaced
            if self._actor is None:
                remote = ray.remote(num_cpus=0)(PythonFunction)
                self._actor = remote.remote(self.name, self.place)
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
        """The answer, in the process that is asked."""
        return list(self._found()(*lists))

    def _found(self) -> Callable[..., Any]:
        module, _, function = self.name.partition(":")
        if self.place not in sys.path:
            sys.path.append(self.place)
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"judge {self.name}: {error}; it names a Python function, MODULE:FUNCTION, of a "
                "module in the working directory or among those installed"
            ) from None
        if not callable(found):
            raise ConfigurationError(f"judge {self.name} is no function")
        value: Callable[..., Any] = found
        return value
