"""Batches handed to actors that each hold one model at a time; or worked on in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rayforge.errors import MachineError

Work = Callable[[Any], Any]

RESTARTS = 3
"""How often an actor that dies is replaced before the run gives up."""


class PoolError(MachineError):
    """Actors died again and again; the message says what to do."""


class Job(Protocol):
    """What to load and do; compared by value, so an actor knows what it holds already."""

    def load(self) -> Work:
        """Load the model; what comes back works on one batch."""


class Holder:
    """Holds what the last job loaded. An actor is one of these in a process of its own."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.work: Work | None = None

    def run(self, job: Job, batch: Any) -> Any:
        if self.work is None or self.job != job:
            self.work = None  # frees the old model before the new one is loaded
            self.work, self.job = job.load(), job
        return self.work(batch)


@dataclass
class Pool:
    """`actors` Ray actors, or with 0 this process, where a breakpoint works."""

    actors: int
    gpus: float = 0.0
    """GPUs an actor asks for."""
    lasting: bool = True
    """Whether actors live on while the trainer works; where both would want the same GPU or the
    same place in a cluster, they must not."""
    _holder: Holder = field(default_factory=Holder)
    _handles: list[Any] = field(default_factory=list)

    def run(self, job: Job, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(number, result) of every batch, in the order in which they get done.

        A batch whose actor dies is worked on again by its replacement. Raises PoolError where an
        actor keeps dying, and whatever a batch raises.
        """
        if self.actors == 0:
            for number, batch in enumerate(batches):
                yield number, self._holder.run(job, batch)
            return
        yield from self._run_on_actors(job, batches)

    def _run_on_actors(self, job: Job, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        while len(self._handles) < min(self.actors, len(batches)):
            remote = ray.remote(
                num_cpus=1, num_gpus=self.gpus, max_restarts=RESTARTS, max_task_retries=RESTARTS
            )(Holder)
            self._handles.append(remote.remote())
        waiting = list(enumerate(batches))[::-1]
        going: dict[Any, tuple[int, Any]] = {}
        free = self._handles * 2  # a second batch waits at each actor while the first is worked on
        while waiting or going:
            while waiting and free:
                number, batch = waiting.pop()
                handle = free.pop(0)
                going[handle.run.remote(job, batch)] = (number, handle)
            (done,), _ = ray.wait(list(going), num_returns=1)
            number, handle = going.pop(done)
            free.append(handle)
            try:
                yield number, ray.get(done)
            except RayActorError as error:
                raise PoolError(
                    f"the actor of batch {number} died {RESTARTS + 1} times "
                    f"({str(error).splitlines()[0]}): most often memory ran out; use smaller "
                    "batches or fewer actors, and go on with --resume"
                ) from error
            except RayTaskError as error:
                raise error.cause from error

    def make_room(self) -> None:
        """Called before training: gives up what the trainer needs."""
        if not self.lasting:
            self.release()

    def release(self) -> None:
        """Give processes and memory back; the next batch starts anew."""
        if self._handles:
            import ray

            for handle in self._handles:
                ray.kill(handle)
            self._handles.clear()
        self._holder = Holder()
