"""What a planner believes word by word, for the episodes of the viewer's page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.language.vocabulary import END, PAD, UNKNOWN
from trainers.irl.evaluate import for_split
from trainers.irl.plan import FILES, open_agent
from trainers.irl.planned import load_planner
from trainers.irl.planner import keys_of
from trainers.irl.run_folder import load_run

SAID = {END: "(end)", UNKNOWN: "(unknown word)"}
"""What special words are called on the page."""
WAYS = 64
"""Candidates of an episode that are shown at most, the likeliest ones in the end."""


def with_plans(
    run: Path, split: str, data: Path, episodes: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The episodes, each with its `plan` where the run has a planner (`rayforge irl plan`).

    A plan holds the instruction's `words` as the agent reads them, its candidates on the map
    (`ways`, viewpoint ids), which of them succeed for which (`alike`, numbers), and `belief`
    [words, candidates]: how likely each was meant when so many words were read.
    """
    if not (run / FILES[1]).is_file():
        return list(episodes)
    config, _, _ = load_run(run)
    agent = open_agent(run, (split,), data, for_split(config, split))
    try:
        plans = load_planner(run, agent)
    except RunError as error:  # of before more training, say: the episodes are shown without it
        print(f"without what the planner believes: {error}", file=sys.stderr)
        return list(episodes)
    planner = plans.planner.with_weights(plans.weights["map"])
    asked, buildings = agent.task.splits[split], agent.task.world.buildings
    vocabulary = agent.task.vocabulary
    rows = {episode.episode_id: row for row, episode in enumerate(asked.episodes)}
    shown = []
    for episode in episodes:
        row = rows.get(episode["episode_id"])
        if row is None:
            shown.append(episode)
            continue
        paths = asked.paths[row : row + 1]
        (tree,), key = plans.ways.trees(paths), keys_of(paths)
        tokens = paths.tokens[0]
        count = int((tokens != PAD).sum())
        heard = np.where(np.arange(len(tokens)) <= np.arange(count)[:, None], tokens, PAD)
        log_p, near = planner.beliefs([tree] * count, heard.astype(np.int16), key * count)
        belief = log_p.exp().numpy()
        best = np.sort(np.argsort(-belief[-1], kind="stable")[:WAYS])
        names = buildings.viewpoint_ids
        shown.append(
            {
                **episode,
                "plan": {
                    "words": [SAID.get(int(k), vocabulary.words[int(k)]) for k in tokens[:count]],
                    "ways": [
                        [names[v] for v in tree.paths.viewpoint[k, : tree.paths.length[k]]]
                        for k in best
                    ],
                    "alike": [np.flatnonzero(near[0, k][best].numpy()).tolist() for k in best],
                    "belief": belief[:, best].round(4).tolist(),
                },
            }
        )
    return shown
