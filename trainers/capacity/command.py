"""`rayforge plan`: what a run will need, before it starts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rayforge.errors import ConfigurationError, MachineError
from rayforge.settings import WRITES_FILE, AtLeast


@dataclass(frozen=True)
class PlanRun:
    """Say what a run needs: memory of each process, places, speed, disk, and what does not fit.

    Nothing is started and no weight is made. Exit code 6 where something does not fit.

    Examples:
      rayforge plan runs/sera/config.yaml
      rayforge plan align.yaml --cluster cluster-of-gpus.yaml --tokens 512
      RAY_ADDRESS=10.0.0.1:6379 rayforge plan align.yaml --cluster cluster.yaml --check
    """

    file: tyro.conf.Positional[Path]
    """A configuration (`config.yaml` of a run, or a file for `--config`), or a run folder."""
    cluster: Path | None = None
    """Description of a cluster (docs/scaling.md); left out, this machine."""
    tokens: Annotated[int | None, AtLeast(2)] = None
    """Tokens of prompt and response; left out, max_tokens of the configuration."""
    measure: bool = False
    """Measure what a core of this machine reaches in matrix products, instead of 30 GFLOP/s."""
    check: bool = False
    """Compare the description with the cluster that RAY_ADDRESS names."""
    json: Annotated[Path | None, WRITES_FILE] = None
    """Write the plan there as well."""

    def __call__(self) -> None:
        from dataclasses import replace

        from rayforge.files import write_text
        from trainers.capacity.cluster import read_cluster, this_machine
        from trainers.capacity.measuring import core_gflops
        from trainers.capacity.plan import document_of, make_plan, read_run_configuration, text_of

        config = read_run_configuration(self.file)
        cluster = read_cluster(self.cluster) if self.cluster else this_machine()
        if self.measure:
            reached = core_gflops()
            print(f"a core of this machine: {reached:.0f} GFLOP/s")
            nodes = tuple(replace(node, core_gflops=reached) for node in cluster.nodes)
            cluster = replace(cluster, nodes=nodes)
        if self.check:
            self._check_live()
        plan = make_plan(config, cluster, self.tokens)
        print(text_of(plan))
        if self.json:
            write_text(self.json, json.dumps(document_of(plan), indent=1))
        if plan.problems:
            raise MachineError(f"{len(plan.problems)} part(s) of this run do not fit, see above")

    def _check_live(self) -> None:
        import ray

        from trainers.capacity.cluster import read_cluster
        from trainers.capacity.plan import check_live
        from trainers.cluster import join_cluster, own_ray

        if self.cluster is None:
            raise ConfigurationError("--check compares a description: name it with --cluster")
        if not os.environ.get("RAY_ADDRESS"):
            raise ConfigurationError("--check needs RAY_ADDRESS, the cluster to look at")
        with own_ray():
            join_cluster(log_to_driver=False)
            check_live(read_cluster(self.cluster), ray.nodes())
        print("the cluster is as described")
