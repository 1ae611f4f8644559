"""A trained agent that acts on what the public Gymnasium environments show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rayforge.irl.agent import Agent
from rayforge.irl.image_encoder import ImageEncoder
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions
from rayforge.language.vocabulary import END, PAD, Vocabulary
from rayforge.paths.frame_store import FrameStore, pack_images
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation
from rayforge.paths.walk_observation import WalkObserver

Observed = Mapping[str, np.ndarray]
"""An observation of `envs.graph_env` or `envs.continuous_env`."""


class Plan(NamedTuple):
    """A whole path that an instruction is taken to mean."""

    actions: tuple[int, ...]
    """One after the other, the last of them STOP."""
    places: tuple[str, ...]
    """The viewpoints that they lead through, the start included."""
    probability: float
    """What the planner gives to its success."""


class ActingAgent:
    """Acts step by step in a batch of episodes, with a memory of each.

        agent = load_agent(run)
        env = gym.make("rayforge/GraphGoal-v0", data=data, split=split, **agent.environment)
        observation, _ = env.reset()
        agent.reset()
        action = agent.act(observation)

    `environment` holds what the environment must be made with so that it shows what this agent
    reads: how instructions become tokens, the step limit, and in 3-D scenes the categories.
    """

    def __init__(
        self,
        agent: Agent,
        vocabulary: Vocabulary,
        step_limit: int,
        *,
        text: bool = True,
        turn: float | None = None,
        categories: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            agent: what was learnt.
            vocabulary: its words.
            step_limit: actions of an episode at most.
            text: whether it reads instructions.
            turn: degrees of a turn in 3-D scenes; None in navigation graphs.
            categories: those that it tells apart in images.
        """
        self.agent, self.vocabulary, self.step_limit = agent.eval(), vocabulary, step_limit
        self.text, self.categories = text, categories
        self.planner: Callable[[int, int, np.ndarray], Plan] | None = None
        """A plan from a viewpoint and heading bin under tokens, for an agent with maps."""
        self._walks: WalkObserver | None = None
        self.environment: dict[str, Any] = {
            "encode": self.encode, "text_length": agent.config.max_words, "max_steps": step_limit
        }  # fmt: skip
        if turn is not None:
            self._walks = WalkObserver(FrameStore(None, 1), turn, step_limit)
            # A STOP forced by the limit is no success there, and it is the environment that cuts.
            self.environment |= {"max_steps": step_limit - 1, "categories": categories}
        self._count = 0  # episodes that go on
        self._memory: Memory | None = None
        self._instructions: Instructions

    def encode(self, instruction: str) -> np.ndarray:
        """Tokens int64 [text_length] of an instruction, as the agent reads it."""
        limit = self.agent.config.max_words
        tokens = self.vocabulary.encode([instruction], limit)[0][0].astype(np.int64)
        if not self.text:
            tokens[:] = PAD
            tokens[0] = END
        found: np.ndarray = tokens
        return found

    @torch.inference_mode()
    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget everything, or, in a batch, the episodes `rows` (bool [B], or numbers)."""
        if rows is None:
            self._count = 0
        elif self._count:
            self._tokens[rows] = -1  # read anew
            self._step[rows] = 0
            self._arrival[rows] = 0.0
            for part in self._memory or ():
                part[torch.as_tensor(np.asarray(rows))] = 0

    def plan(self, observation: Observed) -> Plan:
        """The whole path to walk for one environment's observation, of an agent that was loaded
        with maps. The environment has to say where on its map one is (`envs.graph_env.OnMap`).

        Raises:
            ValueError: the agent has no maps, or the observation does not say where one is.
        """
        if self.planner is None:
            raise ValueError(
                "this agent has no maps to plan on: load it with them, load_agent(run, maps=data)"
            )
        for name in ("viewpoint", "heading", "tokens"):
            if name not in observation:
                raise ValueError(
                    f"the observation has no {name!r}; it has {', '.join(sorted(observation))}: "
                    "wrap the environment in envs.graph_env.OnMap"
                )
        place, facing = int(observation["viewpoint"]), int(observation["heading"])
        return self.planner(place, facing, np.asarray(observation["tokens"], np.int16))

    def act(self, observation: Observed, draw: float | None = None) -> int:
        """The action for one environment's observation; `draw` as in `act_batch`."""
        one = {name: np.asarray(value)[None] for name, value in observation.items()}
        return int(self.act_batch(one, None if draw is None else np.array([draw]))[0])

    @torch.inference_mode()
    def act_batch(self, observation: Observed, draws: np.ndarray | None = None) -> np.ndarray:
        """Actions int64 [B] for observations of B episodes, each of which goes on where it was.

        Args:
            observation: arrays with a leading batch axis, the same episodes in the same rows as
                in the calls before; after an episode's end, `reset` its row.
            draws: numbers in [0, 1), [B], that actions are sampled by; None takes the best.

        Raises:
            ValueError: the observation is not one that this agent reads; names what is missing.
        """
        self._check(observation)
        tokens = np.asarray(observation["tokens"], np.int64)
        if not self._count:
            self._begin(tokens)
        if len(tokens) != self._count:
            raise ValueError(
                f"{len(tokens)} observations for {self._count} episodes that go on: "
                "call reset() before another batch"
            )
        self._read(tokens)
        seen = self._seen_walk(observation) if self._walks else self._seen_graph(observation)
        log_pi, self._memory = self.agent.policy.step(seen, self._instructions, self._memory)
        pi = (log_pi.exp() * seen.legal)[:, 0]
        if draws is None:
            action = pi.argmax(1)
        else:
            draw = torch.from_numpy(np.asarray(draws, np.float32))
            cumulative = pi.cumsum(1)
            action = (cumulative <= draw[:, None] * cumulative[:, -1:]).sum(1)
        self._remember(seen, action)
        return action.numpy()

    def _check(self, observation: Observed) -> None:
        names = ["tokens", "sectors", "candidates", "mask"]
        if self._walks is not None:
            image_encoder = self.agent.policy.image_encoder
            assert isinstance(image_encoder, ImageEncoder)
            colour, depth = divmod(image_encoder.channels, 3)
            names = ["tokens", "moved", *["rgb"] * colour, *["depth"] * depth,
                     *["semantic"] * image_encoder.semantic]  # fmt: skip
        missing = [name for name in names if name not in observation]
        if missing:
            raise ValueError(
                f"the observation has no {missing[0]!r}; it has {', '.join(sorted(observation))}: "
                "make the environment as `environment` says, with the camera of the run"
            )

    def _begin(self, tokens: np.ndarray) -> None:
        self._count = count = len(tokens)
        self._tokens = np.full_like(tokens, -1)
        self._step = np.zeros(count, np.int64)
        self._arrival = torch.zeros(count, GEOMETRY)
        self._taken = torch.zeros(count, self.step_limit, dtype=torch.int64)
        self._moved = torch.zeros(count, self.step_limit)
        self._memory = None

    def _read(self, tokens: np.ndarray) -> None:
        """Encode the instructions, where one is another than before."""
        if not np.array_equal(tokens, self._tokens):
            self._tokens = tokens.copy()
            self._instructions = self.agent.policy.instruction_encoder(torch.from_numpy(tokens))

    def _seen_graph(self, observation: Observed) -> Observation:
        """As `GraphObserver` makes it, from an observation of `envs.graph_env`."""
        state = torch.as_tensor(observation["sectors"], dtype=torch.float32)
        rows = torch.as_tensor(observation["candidates"], dtype=torch.float32)
        legal = torch.as_tensor(np.asarray(observation["mask"]) > 0)
        count, actions = legal.shape
        moves = legal[:, 1:].flatten().nonzero().squeeze(1)
        row, slot = moves // (actions - 1), moves % (actions - 1) + 1
        dimension = rows.shape[-1] - (GEOMETRY - 1)
        stay = torch.cat([state.mean(1), state.new_zeros(count, GEOMETRY)], -1)
        stay[:, -1] = 1.0
        go = torch.cat([rows[row, slot], rows.new_zeros(len(row), 1)], -1)
        # The geometry of every action, to remember how one came to the next state.
        self._geometry = torch.zeros(count, actions, GEOMETRY)
        self._geometry[..., : GEOMETRY - 1] = rows[..., dimension:]
        stops = torch.arange(count) * actions
        return Observation(
            state.flatten(1)[:, None],
            self._arrival[:, None],
            torch.cat([stay, go]),
            torch.cat([stops, row * actions + slot]),
            legal[:, None],
        )

    def _seen_walk(self, observation: Observed) -> Observation:
        """As `WalkObserver` makes it, from an observation of `envs.continuous_env`."""
        image_encoder, walks = self.agent.policy.image_encoder, self._walks
        assert isinstance(image_encoder, ImageEncoder) and walks is not None
        semantic = observation.get("semantic") if image_encoder.semantic else None
        if semantic is not None and semantic.max(initial=0) > len(self.categories):
            raise ValueError(
                f"the semantic image holds {int(semantic.max())}, but the agent knows "
                f"{len(self.categories)} categories: make the environment with its `categories`"
            )
        images = pack_images(
            observation["rgb"] if image_encoder.channels >= 3 else None,
            observation["depth"] if image_encoder.channels % 3 else None,
            semantic,
        )
        rows, step = torch.arange(self._count), torch.from_numpy(self._step)
        came = step > 0
        self._moved[rows[came], step[came] - 1] = torch.as_tensor(
            np.asarray(observation["moved"], np.float32)[:, 0]
        )[came]
        longest = int(self._step.max(initial=0))
        arrival = walks.arrivals(self._taken[:, :longest], self._moved[:, :longest])[rows, step]
        codes = image_encoder(torch.from_numpy(images)).view(self._count, 1, SECTORS, -1)
        # The environment cuts episodes off; no action is forced before that.
        at = torch.zeros(self._count, 1, dtype=torch.int64)
        found: Observation = walks(
            codes, at, torch.ones_like(at, dtype=torch.bool), arrival[:, None]
        )
        return found

    def _remember(self, seen: Observation, action: Tensor) -> None:
        rows = torch.arange(self._count)
        if self._walks is None:
            self._arrival = self._geometry[rows, action] * (action > 0)[:, None]
        else:
            step = np.minimum(self._step, self.step_limit - 1)
            self._taken[rows, torch.from_numpy(step)] = action
            self._moved[rows, torch.from_numpy(step)] = 0.0
        self._step = np.minimum(self._step + 1, self.step_limit - 1)
