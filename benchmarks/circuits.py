"""Four trunks on navigation graphs, in buildings that are new: equal parameters and updates.

    python -m benchmarks.circuits ../shared/data/r2r --out runs/circuits
    rayforge houses runs/houses
    python -m benchmarks.circuits runs/houses --out runs/circuits-houses

The LSTM, a transformer, a circuit, and a circuit conditioned on the instruction clone the same
batches of demonstrations from the same seeds; step sizes are equal and were not tuned for any of
them. Success is that of greedy roll-outs. Of Room-to-Room the eight buildings of `benchmarks.r2r`
are new, of generated houses those of val_unseen. Also measured: the agents under the shifts of
`envs.shifts`, low-shot adaptation to a building, the priors of the wiring, and speed against
success as modules are dropped. Every part is written as it is done, and one that is there is not
done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import tyro
from safetensors.torch import load_file, save_file

from benchmarks.r2r import HELD_OUT
from benchmarks.sub_runs import same_settings
from rayforge.circuits.config import CircuitConfig, Prior
from rayforge.circuits.pruning import pruned
from rayforge.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from rayforge.files import write_json
from rayforge.irl.agent import Agent
from rayforge.irl.config import NetworkConfig
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.pairs import Role, pair_batch
from rayforge.irl.trunks.circuit import CircuitTrunk
from rayforge.irl.trunks.making import parameters
from rayforge.irl.update import Update, cosine
from rayforge.reports.section import span
from trainers.analysis.targets import seen_otherwise, told_otherwise
from trainers.analysis.transfer_config import Target
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import scores_of
from trainers.irl.task import Task, read_task
from trainers.runs.folder import hardware

TRUNKS = ("lstm", "transformer", "circuit", "circuit-conditioned")
SHOTS = (10, 50, 200)
KEPT = (1.0, 0.75, 0.5, 0.25, 0.125)
SHIFTED = (
    Target(words="dropped:3", name="dropped:3"),
    Target(features="hidden:3", name="hidden:3"),
)
"""Shifts that are scored in new buildings."""


@dataclass(frozen=True)
class Circuits:
    """Compare the trunks."""

    data: tyro.conf.Positional[Path]
    """Folder of R2R data."""
    out: Path = Path("runs/circuits")
    """Folder of the results."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each trunk."""
    hidden: int = 64
    """Size of the LSTM's states; all trunks have its parameters."""
    modules: int = 12
    """Processing modules of the circuits."""
    updates: int = 240
    """Updates of cloning."""
    batch: int = 64
    """Demonstrations of each."""
    rate: float = 1e-3
    """Adam's step size, falling along a cosine."""
    episodes: int = 200
    """Episodes scored of each split."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        own = {k: v for k, v in asdict(self).items() if k not in {"out", "seeds"}}
        same_settings(self.out, own)
        config = self.config("lstm", 0)
        splits = ("train", "val_seen", "held_out" if config.held_out else "val_unseen")
        task = read_task(self.data, config, splits)
        rng = np.random.default_rng(0)
        scored = {}
        for name in splits[1:]:
            split = task.splits[name]
            rows = np.sort(rng.permutation(len(split))[: self.episodes])
            scored["seen" if name == "val_seen" else "new"] = split.take(rows)
        task = replace(task, splits={**task.splits, "new": task.splits[splits[2]]})
        for seed in self.seeds:
            for trunk in TRUNKS:
                self.measure(task, scored, trunk, seed, "planted-partition")
                if seed == self.seeds[0] and not (self.out / f"shots-{trunk}.json").is_file():
                    agent = self.trained(task, trunk, seed, "planted-partition")
                    write_json(self.out / f"shots-{trunk}.json", self.low_shot(task, agent))
        if not (self.out / "dropped.json").is_file():
            agent = self.trained(task, "circuit", self.seeds[0], "planted-partition")
            write_json(self.out / "dropped.json", self.dropped(task, scored, agent))
        for prior in get_args(Prior):
            self.measure(task, scored, "circuit", self.seeds[0], prior)
        print(summary(self.out))

    def config(self, trunk: str, seed: int, prior: str = "planted-partition") -> IRLConfig:
        circuit = CircuitConfig(modules=self.modules, prior=prior)  # type: ignore[arg-type]
        network = NetworkConfig(
            trunk=trunk, word=self.hidden, hidden=self.hidden, dropout=0.2,  # type: ignore[arg-type]
            feature_dropout=0.3, circuit=circuit,
        )  # fmt: skip
        return IRLConfig(
            method="gcbc", data=str(self.data), held_out=self.held_out, network=network, seed=seed,
            learning_rate=self.rate,
        )  # fmt: skip

    @property
    def held_out(self) -> tuple[str, ...]:
        """The eight buildings where the data is Room-to-Room's."""
        there = (self.data / "connectivity" / f"{HELD_OUT[0]}_connectivity.json").is_file()
        return HELD_OUT if there else ()

    def place(self, trunk: str, seed: int, prior: str) -> Path:
        return self.out / f"{trunk}-{prior}-{seed}"

    def trained(self, task: Task[Any], trunk: str, seed: int, prior: str) -> Agent:
        """The agent; trained unless its weights are there."""
        config = self.config(trunk, seed, prior)
        torch.manual_seed(seed)
        agent = Agent(**sizes_of(config, task))
        agent.attach(task.world.observer())
        file = self.place(trunk, seed, prior).with_suffix(".safetensors")
        if file.is_file():
            agent.load_state_dict(load_file(file))
            return agent
        began = time.perf_counter()
        for step, loss in enumerate(self.cloned(agent, task.splits["train"], self.updates, seed)):
            if step % 50 == 49:
                left = (time.perf_counter() - began) / (step + 1) * (self.updates - step - 1)
                done = f"update {step + 1}, loss {loss:.3f}, {left:.0f} s left"
                print(f"{trunk} {prior} {seed}: {done}", flush=True)
        save_file({k: v.contiguous() for k, v in agent.state_dict().items()}, file)
        return agent

    def cloned(
        self, agent: Agent, split: Demonstrations, updates: int, seed: int, rate: float = 0.0
    ) -> Iterator[float]:
        """Train in place; the loss of each update. Batches depend on the seed alone."""
        agent.train()
        rng, update = np.random.default_rng(seed), Update(agent)
        for step in range(updates):
            for group in update.optimizers["policy"].param_groups:
                group["lr"] = cosine(rate or self.rate, step, updates)
            rows = rng.choice(len(split), size=min(self.batch, len(split)), replace=False)
            role = np.full(len(rows), int(Role.CLONE))
            batch = {k: torch.as_tensor(v) for k, v in pair_batch(split.paths[rows], role).items()}
            yield update(batch)["clone/loss"]

    def measure(
        self, task: Task[Any], scored: dict[str, Demonstrations], trunk: str, seed: int, prior: str
    ) -> None:
        file = self.place(trunk, seed, prior).with_suffix(".json")
        if file.is_file():
            return
        began = time.process_time()
        agent = self.trained(task, trunk, seed, prior)
        took = time.process_time() - began
        found: dict[str, Any] = {
            "trunk": trunk, "prior": prior, "seed": seed, "cpu_seconds": took,
            "parameters": parameters(agent.policy.trunk), "hardware": hardware(),
            "updates": self.updates, "success": {},
        }  # fmt: skip
        for name, split in scored.items():
            found["success"][name] = scores_of(agent.policy, task.world, split)["success"].tolist()
        if prior == "planted-partition":
            config, new = self.config(trunk, seed, prior), scored["new"]
            for target in SHIFTED:
                other = seen_otherwise(task, config, target, 0)
                told = told_otherwise(new, np.arange(len(new)), target, task, 0)
                success = scores_of(agent.policy, other.world, told)["success"]
                found["success"][f"new, {target.title}"] = success.tolist()
        write_json(file, found)
        print(trunk, prior, seed, {k: float(np.mean(v)) for k, v in found["success"].items()},
              f"{took:.0f} s of CPU", flush=True)  # fmt: skip

    def low_shot(self, task: Task[Any], agent: Agent) -> dict[str, Any]:
        """Success in the largest new building after 60 updates on few of its demonstrations."""
        split = task.splits["new"]
        building = int(np.bincount(split.building).argmax())
        rows = np.flatnonzero(split.building == building)
        routes = np.random.default_rng(0).permutation(np.unique(split.route[rows]))
        learnt, tested = routes[: 2 * len(routes) // 3], routes[2 * len(routes) // 3 :]
        pool = rows[np.isin(split.route[rows], learnt)]
        test = split.take(rows[np.isin(split.route[rows], tested)])
        start = {k: v.clone() for k, v in agent.state_dict().items()}
        found = {"0": scores_of(agent.policy, task.world, test)["success"].tolist()}
        for shots in SHOTS:
            agent.load_state_dict(start)
            few = split.take(np.random.default_rng(1).permutation(pool)[:shots])
            for _ in self.cloned(agent, few, 60, 0, rate=3e-4):
                pass
            found[str(shots)] = scores_of(agent.policy, task.world, test)["success"].tolist()
        agent.load_state_dict(start)
        return {"building": split.episodes[int(rows[0])].scan, "pool": len(pool), "success": found}

    def dropped(
        self, task: Task[Any], scored: dict[str, Demonstrations], agent: Agent
    ) -> dict[str, Any]:
        """Success and milliseconds of a forward pass with fewer and fewer modules."""
        rows = []
        for share in KEPT:
            small = Agent(**{**sizes_of(agent.config, task), "config": self.smaller(agent, share)})  # type: ignore[arg-type]
            weights = {k: v.numpy() for k, v in agent.state_dict().items()}
            cut = pruned(weights, agent.config.network.circuit, share)
            small.load_state_dict({k: torch.from_numpy(v) for k, v in cut.weights.items()})
            small.attach(task.world.observer())
            success = scores_of(small.policy, task.world, scored["new"])["success"]
            rows.append(
                {"kept": share, "modules": cut.modules, "success": success.tolist(),
                 **{f"ms_{n}": self.milliseconds(task, small, n) for n in (1, 256)}}
            )  # fmt: skip
            print(
                rows[-1]["kept"],
                float(success.mean()),
                rows[-1]["ms_1"],
                rows[-1]["ms_256"],
                flush=True,
            )
        return {"rows": rows, "hardware": hardware()}

    def smaller(self, agent: Agent, share: float) -> Any:
        weights = {k: v.numpy() for k, v in agent.state_dict().items()}
        network = agent.config.network
        cut = pruned(weights, network.circuit, share)
        circuit = replace(network.circuit, modules=cut.modules, inner=cut.inner)
        return replace(agent.config, network=replace(network, circuit=circuit))

    @torch.inference_mode()
    def milliseconds(self, task: Task[Any], agent: Agent, count: int) -> float:
        """Of the trunk's forward pass over whole paths, the fastest of five."""
        split = task.splits["val_seen"]
        rows = np.sort(np.random.default_rng(0).permutation(len(split))[:count])
        role = np.full(len(rows), int(Role.CLONE))
        batch = {k: torch.as_tensor(v) for k, v in pair_batch(split.paths[rows], role).items()}
        agent.eval()
        seen, instructions = agent.observe(batch), agent.policy.instruction_encoder(batch["tokens"])
        trunk = agent.policy.trunk
        assert isinstance(trunk, CircuitTrunk)
        times = []
        for _ in range(6 if count > 1 else 30):
            began = time.perf_counter()
            trunk(seen, instructions, batch["length"])
            times.append(1e3 * (time.perf_counter() - began))
        return min(times)


def spoken(found: Interval, signed: bool = False) -> str:
    """A mean and its interval."""
    return f"{found.mean:{'+' if signed else ''}.3f} {span(found, signed=signed)}"


def summary(folder: Path) -> str:
    """The tables of the page."""
    found = [json.loads(f.read_text()) for f in sorted(folder.glob("*-[0-9].json"))]
    lines = []
    columns = ("seen", "new", *(f"new, {target.title}" for target in SHIFTED))
    runs = {(d["trunk"], d["prior"], d["seed"]): d for d in found}
    for trunk in TRUNKS:
        mine = [
            d for (t, p, _), d in sorted(runs.items()) if t == trunk and p == "planted-partition"
        ]
        parts = []
        for column in columns:
            values = np.concatenate([d["success"][column] for d in mine])
            part = spoken(bootstrap_interval(values))
            if trunk != "lstm":
                base = np.concatenate(
                    [runs["lstm", "planted-partition", d["seed"]]["success"][column] for d in mine]
                )
                part += f" ({spoken(paired_difference(values, base), signed=True)})"
            parts.append(f"{column} {part}")
        seconds = np.mean([d["cpu_seconds"] for d in mine])
        said = f"{trunk}, {len(mine)} seeds, {mine[0]['parameters']} parameters, {seconds:.0f} s: "
        lines.append(said + "; ".join(parts))
    for prior in get_args(Prior):
        run = runs.get(("circuit", prior, 0))
        if run:
            said = ", ".join(
                f"{c} {spoken(bootstrap_interval(np.array(run['success'][c])))}"
                for c in columns[:2]
            )
            lines.append(f"prior {prior}: {said}")
    for trunk in TRUNKS:
        file = folder / f"shots-{trunk}.json"
        if file.is_file():
            shots = json.loads(file.read_text())
            lines.append(
                f"low shot {trunk} in {shots['building']}: "
                + ", ".join(f"{k}: {np.mean(v):.3f}" for k, v in shots["success"].items())
                + f" of {len(shots['success']['0'])}"
            )
    if (folder / "dropped.json").is_file():
        for row in json.loads((folder / "dropped.json").read_text())["rows"]:
            lines.append(
                f"modules {row['modules']}: success {np.mean(row['success']):.3f}, "
                f"{row['ms_1']:.2f} ms for 1, {row['ms_256']:.1f} ms for 256"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Circuits, description=__doc__)()
