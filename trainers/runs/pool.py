"""Batches handed to actors that each hold one model at a time; or worked on in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Renewable(Protocol):
    """Work that can go over to another job without being loaded anew."""

    def __call__(self, batch: Any) -> Any: ...

    def renew(self, job: Job) -> bool:
        """Go over to the job; False, with nothing done, where it needs other work than this."""


class Holder:
    """Holds what the last job loaded. An actor is one of these in a process of its own."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.work: Work | None = None

    def run(self, job: Job, batch: Any) -> Any:
        if self.work is None or self.job != job:
            work = self._renewed(job)  # takes it out: what fails half-way is not worked with
            self.work, self.job = work if work is not None else job.load(), job
        return self.work(batch)

    def _renewed(self, job: Job) -> Work | None:
        """The work at hand gone over to another job; None, and the old model freed, where it
        cannot."""
        work, self.work = self.work, None
        return work if isinstance(work, Renewable) and work.renew(job) else None


@dataclass
class Pool:
    """`actors` Ray actors, or with 0 this process, where a breakpoint works."""

    actors: int
    gpus: float = 0.0
    """GPUs an actor asks for."""
    lasting: bool = True
    """Whether actors live on while the trainer works; where both would want the same GPU or the
    same place in a cluster, they must not."""
    split: int = 1
    """Places (GPUs; CPUs where no GPU is asked for) that one actor's model is split among, all on
    one node: a placement group each."""
    answering: Pool | None = None
    """Actors of another kind that answer prompts, where these do not."""
    rival: Pool | None = None
    """Actors that want the same places: they go before these start."""
    _holder: Holder = field(default_factory=Holder)
    _handles: list[Any] = field(default_factory=list)
    _groups: list[Any] = field(default_factory=list)

    def run(self, job: Job, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(number, result) of every batch, in the order in which they get done.

        A batch whose actor dies is worked on again by its replacement. Raises PoolError where an
        actor keeps dying, and whatever a batch raises.
        """
        if self.rival is not None and batches:
            self.rival._give_way()
        if self.actors == 0:
            for number, batch in enumerate(batches):
                yield number, self._holder.run(job, batch)
            return
        yield from self._run_on_actors(job, batches)

    def _run_on_actors(self, job: Job, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        while len(self._handles) < min(self.actors, len(batches)):
            remote = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS, **self._placed())(
                Holder
            )
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

    def _placed(self) -> dict[str, Any]:
        """What Ray is to reserve for one actor."""
        if self.split == 1:
            return {"num_cpus": 1, "num_gpus": self.gpus}
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        kind = {"GPU": self.gpus} if self.gpus else {"CPU": 1.0}
        group = placement_group(
            [{"CPU": 1.0, **kind}, *[kind] * (self.split - 1)], strategy="STRICT_PACK"
        )
        self._groups.append(group)
        # The GPUs are for the engine's own workers, which are started inside the group.
        inside = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        return {
            "num_cpus": 1 if self.gpus else 0, "num_gpus": 0, "scheduling_strategy": inside
        }  # fmt: skip

    def make_room(self) -> None:
        """Called before training: gives up what the trainer needs."""
        if self.answering is not None:
            self.answering.make_room()
        self._give_way()

    def _give_way(self) -> None:
        if not self.lasting:
            self._release_own()

    def release(self) -> None:
        """Give processes and memory back; the next batch starts anew."""
        if self.answering is not None:
            self.answering.release()
        self._release_own()

    def _release_own(self) -> None:
        if self._handles:
            import ray
            from ray.util.placement_group import remove_placement_group

            for handle in self._handles:
                ray.kill(handle)
            for group in self._groups:
                remove_placement_group(group)
            self._handles.clear()
            self._groups.clear()
        self._holder = Holder()
