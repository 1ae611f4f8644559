"""How good are the goal generator's instructions, before and after they are judged?

    python -m benchmarks.goal_generator --data ../shared/data/r2r --out runs/goals
    python -m benchmarks.goal_generator --data houses --out runs/goals-houses

Four runs of `rayforge irl train`: a follower and a judge (cloning, two seeds), the generator with
its default settings, and a plain one, trained a quarter as long without free bits and hidden
features. The follower takes part in choosing instructions; what they are worth is measured with the
judge, who never saw the choice. On generated houses an oracle executes every instruction as well.
On R2R neither the eight buildings of reported figures nor the eight for tuning are trained on;
`--tuning` measures on the latter. Resumable.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro

from benchmarks.demo import SMALL
from benchmarks.r2r import HELD_OUT, TUNING
from benchmarks.sub_runs import run_all, training
from envs.houses.checking import Outcome, check
from envs.houses.dataset import HousesConfig, read_houses, write_houses
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import write_json, write_text
from rayforge.goals.agreement import Scores, accepted
from rayforge.goals.generator import unit_kl
from rayforge.goals.information import active_units, mutual_information
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.labelling import judge, label_paths
from rayforge.irl.networks import Policy
from rayforge.irl.pairs import path_batch
from rayforge.language.vocabulary import PAD
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import follow
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.run_folder import data_folder, load_run
from trainers.irl.task import Task, read_task, shuffled

CHUNK = 64
"""Paths labelled at a time, as runners do."""
SAMPLES = 8
"""Samples of z in the bound on log p(G | tau)."""
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Settings of `generator.agreement` whose share kept is told."""


class Kind(NamedTuple):
    """Instructions of one kind for the same paths."""

    tokens: np.ndarray  # int16 [n, N]
    kept: np.ndarray  # bool [n]


PLAIN: dict[str, Any] = {"updates": 400, "latent": 32, "free_nats": 0.0, "feature_dropout": 0.0}
"""What the default settings of a generator are measured against."""

CHOSEN: dict[str, Any] = {"candidates": 16, "agreement": 0.4}
"""How instructions are chosen where they are."""


@dataclass(frozen=True)
class Benchmark:
    """Perplexity, latent, and how well instructions are followed."""

    data: str
    """Folder of R2R data, or "houses": generated ones."""
    out: Path = Path("runs/goals")
    """Folder of runs and results."""
    tuning: bool = False
    """Measure on the buildings for tuning (R2R), or on houses of another seed."""
    instructions: int = 600
    """Held-out instructions measured at most."""
    follower_updates: int = 1200
    """Updates of the follower, as long as a run's cloned policy."""
    judge_updates: int = 600
    """Updates of the judge."""
    seed: int = 0
    """Seed of runs, of the sample of instructions and of what is written."""
    parallel: int = 1
    """Runs at a time, one core each."""

    def __call__(self) -> None:
        common = self._common()
        agent = replace(common, method="gcbc")
        writer = replace(common, method="langgoal", warm_start=False, seed=self.seed)
        plain = replace(writer.generator, **PLAIN)
        runs = {
            "follower": replace(agent, clone_updates=self.follower_updates, seed=self.seed),
            "generator": writer,
            "judge": replace(agent, clone_updates=self.judge_updates, seed=self.seed + 1),
            "plain": replace(writer, generator=plain),
        }
        run_all(training("irl", {self.out / n: c for n, c in runs.items()}), self.parallel)
        task, split = self._task()
        results = {
            name: Measurement(self, task, split, name).results() for name in ("plain", "generator")
        }
        write_json(self.out / f"results{'-tuning' if self.tuning else ''}.json", results)
        print(table(results))

    @property
    def houses(self) -> bool:
        return self.data == "houses"

    def _common(self) -> IRLConfig:
        """Of all runs: nothing of their own beyond cloning, and no evaluation at the end."""
        if not self.houses:
            data = str(Path(self.data).absolute())
            return IRLConfig(data=data, held_out=(*HELD_OUT, *TUNING), updates=0, evaluate=())
        folder = self.out / "houses"
        if not (folder / "houses.json").is_file():
            sizes = HousesConfig(train_houses=60, unseen_houses=24, paths_per_house=40)
            write_houses(folder, **{**asdict(sizes), "seed": self.seed, "scenes": False})
        # The demo's small networks, with the generator's usual number of updates.
        usual = replace(SMALL.generator, updates=IRLConfig().generator.updates)
        data = str(folder.absolute())
        return replace(SMALL, data=data, generator=usual, updates=0, evaluate=())

    def _task(self) -> tuple[Task[Any], Demonstrations]:
        """Held-out episodes, a sample of them, of the buildings that are asked for."""
        config, vocabulary, objects = load_run(self.out / "generator")
        name = "val_unseen" if self.houses else "held_out"
        task = read_task(data_folder(config), config, (name,), vocabulary, objects)
        split = task.splits[name]
        scans = sorted({episode.scan for episode in split.episodes})
        if self.houses:  # every second house is for tuning
            wanted = set(scans[int(self.tuning) :: 2])
        else:
            wanted = set(TUNING if self.tuning else HELD_OUT)
        rows = np.array([k for k, e in enumerate(split.episodes) if e.scan in wanted])
        rng = np.random.default_rng(self.seed)
        rows = np.sort(rng.choice(rows, min(self.instructions, len(rows)), replace=False))
        return task, Demonstrations(
            tuple(split.episodes[row] for row in rows), split.paths[rows], split.goal[rows],
            0, split.building[rows], split.route[rows],
        )  # fmt: skip


class Measurement:
    """One generator with the follower, measured with the judge."""

    def __init__(
        self, benchmark: Benchmark, task: Task[Any], split: Demonstrations, name: str
    ) -> None:
        self.out, self.task, self.split, self.name = benchmark.out, task, split, name
        self.seed, self.tuning = benchmark.seed, benchmark.tuning
        self.chosen = self._agent(**CHOSEN)
        # As written: the first candidate, whatever anybody thinks of it.
        self.unjudged = self._agent(candidates=1, agreement=0.0)
        self.follower = self._policy("follower")
        self.judge = self._policy("judge")
        self.houses = read_houses(task.folder) if benchmark.houses else {}

    def _agent(self, **changes: Any) -> Agent:
        """The generator of the run beside the follower's policy."""
        config, _, _ = load_run(self.out / self.name)
        weights = load_weights(self.out / self.name, config)
        follower, _, _ = load_run(self.out / "follower")
        policy = load_weights(self.out / "follower", follower)
        weights |= {name: value for name, value in policy.items() if name.startswith("policy.")}
        generator = replace(config.generator, **changes)
        config = replace(config, warm_start=True, generator=generator)
        module = agent_with(weights, sizes_of(config, self.task))
        module.attach(self.task.world.observer())
        return module

    def _policy(self, name: str) -> Policy:
        config, _, _ = load_run(self.out / name)
        weights = load_weights(self.out / name, config)
        return agent_with(weights, sizes_of(config, self.task)).policy

    def results(self) -> dict[str, Any]:
        print(f"measuring {self.name} on {len(self.split)} instructions", flush=True)
        found: dict[str, Any] = {"instructions": len(self.split), **self._language()}
        kinds, scores, seconds = self._written()
        found["seconds_a_path"] = seconds
        human = self._reached(self.judge, self.split.paths.tokens)
        for name, kind in kinds.items():
            found[name] = self._followed(name, kind, human)
        found["human"] |= {
            "follower": bootstrap_interval(
                self._reached(self.follower, self.split.paths.tokens)
            ).as_dict()
        }
        found["thresholds"] = {
            name: {
                str(t): round(float(accepted(part, t).float().mean()), 3) for t in THRESHOLDS
            }
            for name, part in scores.items()
        }  # fmt: skip
        if self.name == "generator":
            self._samples(kinds, scores)
        return found

    def _chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.split), CHUNK):
            yield np.arange(start, min(start + CHUNK, len(self.split)))

    def _others(self) -> np.ndarray:
        """Rows whose instruction (or path) is another path's, of the same building where
        possible."""
        return shuffled(self.split.building, self.split.route, self.seed)

    @torch.no_grad()
    def _language(self) -> dict[str, Any]:
        """Perplexity, the latent, and whether a path is told from another of its building."""
        module, paths, other = self.chosen, self.split.paths, self._others()
        generator = module.generator
        assert generator is not None
        generator.eval()
        random = torch.Generator().manual_seed(self.seed)
        words: list[np.ndarray] = []
        evidence, reconstruction, means, variances, right = [], [], [], [], []
        for rows in self._chunks():
            c = {k: torch.from_numpy(v) for k, v in path_batch(paths[rows]).items()}
            seen = module.observe(c)
            args = (seen, c["action"], c["length"])
            bound, latent = generator.log_evidence(*args, c["tokens"], SAMPLES, random)
            evidence.append(-bound)
            reconstruction.append(generator.loss(*args, c["tokens"]).reconstruction * len(rows))
            means.append(latent.mean)
            variances.append(latent.log_variance)
            words.append((paths.tokens[rows] != PAD).sum(1))
            wrong = paths[other[rows]].with_tokens(paths.tokens[rows])
            w = {k: torch.from_numpy(v) for k, v in path_batch(wrong).items()}
            own = generator.log_likelihood(*generator.encode_path(*args), c["tokens"])
            against = generator.encode_path(module.observe(w), w["action"], w["length"])
            right.append(own > generator.log_likelihood(*against, w["tokens"]))
        count = float(np.concatenate(words).sum())
        mean, log_variance = torch.cat(means), torch.cat(variances)
        return {
            "perplexity": math.exp(float(torch.cat(evidence).sum()) / count),
            "perplexity_given_z": math.exp(float(torch.stack(reconstruction).sum()) / count),
            "kl": float(unit_kl(mean, log_variance).sum(1).mean()),
            "mutual_information": float(mutual_information(mean, log_variance, random)),
            "active_units": active_units(mean),
            "tells_paths_apart": bootstrap_interval(torch.cat(right).numpy()).as_dict(),
        }

    def _written(self) -> tuple[dict[str, Kind], dict[str, Scores], dict[str, float]]:
        """Instructions of every kind, the scores of those that are judged, seconds a path."""
        split, world, others = self.split, self.task.world, self._others()
        modes = {
            "paraphrase": (self.unjudged, True), "paraphrase, chosen": (self.chosen, True),
            "free": (self.unjudged, False), "free, chosen": (self.chosen, False),
        }  # fmt: skip
        every = np.ones(len(split), bool)
        kinds = {"human": Kind(split.paths.tokens, every)}
        scores: dict[str, Scores] = {}
        seconds: dict[str, float] = {}
        for name, (module, rephrase) in modes.items():
            print(f"  writing: {name}", flush=True)
            started = time.process_time()
            parts = [
                label_paths(module, world, split.paths[rows], self.seed + int(rows[0]), rephrase)
                for rows in self._chunks()
            ]
            seconds[name] = (time.process_time() - started) / len(split)
            kinds[name] = Kind(
                np.concatenate([part.tokens for part in parts]),
                np.concatenate([part.kept for part in parts]),
            )
        chosen = kinds["paraphrase, chosen"]
        fallen_back = np.zeros_like(chosen.tokens)
        fallen_back[:, : split.paths.tokens.shape[1]] = split.paths.tokens
        fallen_back[chosen.kept] = chosen.tokens[chosen.kept]
        kinds["paraphrase, else human"] = Kind(fallen_back, every)
        judged = {**{name: kind.tokens for name, kind in kinds.items()},
                  "another path's": split.paths.tokens[others]}  # fmt: skip
        for name, tokens in judged.items():
            print(f"  judging: {name}", flush=True)
            parts_ = [
                judge(self.chosen, world, split.paths[rows], tokens[rows, None], self.seed)
                for rows in self._chunks()
            ]
            scores[name] = Scores(
                *(torch.cat(column)[:, 0] for column in zip(*parts_, strict=True))
            )
        return kinds, scores, seconds

    def _reached(self, policy: Policy, tokens: np.ndarray) -> np.ndarray:
        """Success of a policy's greedy walks under instructions [n, N], float [n]."""
        paths = follow(policy, self.task.world, self.split, tokens).paths
        reached: np.ndarray = self.task.world.reached(self.split, np.arange(len(paths)), paths)
        return reached.astype(float)

    def _followed(self, name: str, kind: Kind, human: np.ndarray) -> dict[str, Any]:
        """How instructions are followed; differences from human ones over the same paths."""
        print(f"  following: {name}", flush=True)
        reached = self._reached(self.judge, kind.tokens)
        kept = kind.kept
        found: dict[str, Any] = {
            "kept": float(kept.mean()), "success": bootstrap_interval(reached).as_dict(),
            "minus_human": paired_difference(reached, human).as_dict(),
        }  # fmt: skip
        if not kept.all():
            found["success_of_kept"] = bootstrap_interval(reached[kept]).as_dict()
            found["kept_minus_human"] = paired_difference(reached[kept], human[kept]).as_dict()
        if self.houses:
            arrives = self._arrives(kind.tokens)
            found["oracle"] = bootstrap_interval(arrives).as_dict()
            found["oracle_of_kept"] = bootstrap_interval(arrives[kept]).as_dict()
        return found

    def _arrives(self, tokens: np.ndarray) -> np.ndarray:
        """Which instructions the executor of generated houses accepts, float [n]."""
        decode = self.task.vocabulary.decode
        return np.array(
            [
                check(decode(row), self.houses[e.scan], e.path, e.heading).outcome
                is Outcome.ARRIVES
                for row, e in zip(tokens, self.split.episodes, strict=True)
            ],
            float,
        )

    def _samples(self, kinds: dict[str, Kind], scores: dict[str, Scores]) -> None:
        """`instructions.jsonl`: every kind for each path, with what is thought of it."""
        decode = self.task.vocabulary.decode
        lines = []
        for row, episode in enumerate(self.split.episodes):
            line: dict[str, Any] = {"scan": episode.scan, "path": list(episode.path)}
            for name, kind in kinds.items():
                line[name] = {
                    "sentence": decode(kind.tokens[row]), "kept": bool(kind.kept[row]),
                    "follower": round(float(scores[name].follower[row].exp()), 4),
                    "generator": round(float(scores[name].speaker[row].exp()), 4),
                }  # fmt: skip
            lines.append(json.dumps(line) + "\n")
        name = f"instructions{'-tuning' if self.tuning else ''}.jsonl"
        write_text(self.out / name, "".join(lines))


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: one column a generator."""

    def span(figure: Any) -> str:
        if not isinstance(figure, dict):
            return f"{figure:.3g}"
        return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"

    names = list(results)
    rows: list[tuple[str, Sequence[str]]] = []
    first = results[names[0]]
    for key, value in first.items():
        if key in ("thresholds", "seconds_a_path"):
            for inner in value:
                found = [results[n][key][inner] for n in names]
                told = [
                    " ".join(f"{t}: {share}" for t, share in f.items())
                    if isinstance(f, dict)
                    else f"{f:.4f}"
                    for f in found
                ]
                rows.append((f"{key.replace('_', ' ')}: {inner}", told))
        elif isinstance(value, dict) and "mean" not in value:
            rows += [
                (f"{key}: {inner.replace('_', ' ')}",
                 [span(results[n][key][inner]) if inner in results[n][key] else "" for n in names])
                for inner in value
            ]  # fmt: skip
        else:
            rows.append((key.replace("_", " "), [span(results[n][key]) for n in names]))
    lines = [f"| | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(told)} |" for name, told in rows)])


if __name__ == "__main__":
    tyro.cli(Benchmark, description=__doc__)()
