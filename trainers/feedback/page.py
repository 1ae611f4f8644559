"""The page of a loop: what went wrong day by day, with and without each part, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.sessions.log import read_log, sessions_of
from envs.sessions.turns import Turn
from rayforge.errors import RunError
from rayforge.evaluation.intervals import share_interval
from rayforge.feedback.chains import Counts
from rayforge.feedback.text import normal
from rayforge.files import write_text
from rayforge.readers.json_text import read_json, read_json_lines
from rayforge.reports.chain_graph import Edge, chain_graph
from rayforge.reports.page import report_page
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.section import (
    Cards,
    Cell,
    Example,
    Examples,
    Lines,
    Part,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    cell,
)
from trainers.configuration import read_configuration
from trainers.feedback.config import ARMS, Arm, FeedbackConfig
from trainers.feedback.figures import (
    by_noise,
    defects_of_users,
    lost_of_users,
    rate_interval,
    requests_of_users,
    saved,
)
from trainers.feedback.loop import days_of, log_file
from trainers.feedback.served import Place
from trainers.feedback.tables import count_sessions

NAMES: dict[Arm, str] = {
    "nothing": "without anything", "table": "+ table by chains", "global": "+ global rewriting",
    "personal": "+ personal layer", "teaching": "+ teaching",
}  # fmt: skip
NOISES = {"none": "as it was meant", "sound": "misheard", "private": "a private name"}
"""What was wrong with a request's words, where its name in a log does not say it."""
MEANINGS = (
    ("+ table by chains", "frequent requests are rewritten as a table says, which absorbing chains "
                          "over all sessions give"),
    ("+ global rewriting", "a ranker chooses among wordings that worked for anyone"),
    ("+ personal layer", "a user's own history chooses first"),
    ("+ teaching", "after a failure the assistant asks, and keeps what a name means to its user"),
    ("Defect rate", "share of goals whose first request did not lead there"),
    ("Fewer than above, than without", "share of the defects that are gone, against the row above "
                                       "and against the first row"),
    ("Never reached", "share of goals that no request led to"),
)  # fmt: skip
"""What the rows and columns of the assistants are."""
LAYERS = {"table": "the table", "global": "global rewriting", "personal": "the personal layer",
          "taught": "what the user taught"}  # fmt: skip
"""What a rewrite came from, by its name in a log."""
REWRITES = (
    ("Ends well", "probability, by the chain, that a session ends well with the rewrite as its "
                  "last request"),
    ("As it is", "the same with the request itself as the last one"),
    ("Support", "how often the request was said or the rewrite ended well, the lesser of both"),
)  # fmt: skip
WARM = 0.5
"""Share of the days that are left out of the figures: in the first ones little is learnt."""
TOP = 12


def write_page(run: Path) -> Path:
    """Write `report.html` of a loop's run folder, as far as it has come.

    Raises RunError where the folder holds no whole day.
    """
    config = read_configuration(FeedbackConfig, run / "config.yaml")
    days = days_of(run)
    if not days:
        raise RunError(f"{run} has no whole day yet")
    arms = [arm for arm in ARMS if arm in config.arms and log_file(run, arm).is_file()]
    logs = {arm: read_log(log_file(run, arm)).turns for arm in arms}
    best = arms[-1]
    sections = [
        _summary(config, days, logs),
        Section("Defects over days", [_curves(days, arms)],
                "Does the assistant get better with use?"),
        Section("What each part mends", _arms_table(logs, len(days)),
                "How many defects does each part take away?"),
        Section("By what was wrong with the words", [_noise_table(logs)],
                "Which requests are helped?"),
        _chain_section(logs[best if best == "nothing" else arms[-1]], run, arms),
        _failures(run),
        Section("Settings", [Lines((run / "config.yaml").read_text())], folded=True),
    ]  # fmt: skip
    shown = [section for section in sections if section.parts]
    page = report_page(run.resolve().name, "Learning from use", shown)
    write_text(run / "report.html", page)
    return run / "report.html"


def _summary(
    config: FeedbackConfig, days: Sequence[Mapping[str, float]], logs: Mapping[Arm, Sequence[Turn]]
) -> Section:
    first = int(len(days) * WARM)
    arms = list(logs)
    cards = []
    for arm in arms:
        found = rate_interval(defects_of_users(logs[arm], first))
        span = f"of goals are defects [{found.low:.3f}, {found.high:.3f}]"
        cards.append((NAMES[arm], f"{found.mean:.3f}", span))
    people = config.people
    text = (
        f"{people.users} simulated users, {len(days)} days, seed {config.seed}. A goal is a "
        f"defect where its first request did not lead there. The figures are of day {first + 1} "
        "and later, with 95 % bootstrap intervals over users. The users are simulated, and easier "
        "than real ones: each wants a way that the data describes, from its start, and says it in "
        "an annotator's words."
    )
    return Section("At a glance", [Cards(cards), Text(text, "note")])


def _curves(days: Sequence[Mapping[str, float]], arms: Sequence[Arm]) -> Pictures:
    x = np.arange(1, len(days) + 1, dtype=float)

    def series(name: str) -> list[Series]:
        return [
            Series(NAMES[arm], x, np.array([day.get(f"{name}/{arm}", np.nan) for day in days]), k)
            for k, arm in enumerate(arms)
        ]

    defects = line_chart("Defects", series("defect"), x="day", y="share of goals", from_zero=True,
                         hint="First requests of a day that did not lead to the goal.")  # fmt: skip
    lost = line_chart("Goals never reached", series("lost"), x="day", y="share of goals",
                      from_zero=True, hint="After all requests for them.")  # fmt: skip
    asked = line_chart("Requests a goal", series("requests"), x="day", y="requests")
    return Pictures([*defects, *lost, *asked])


def _arms_table(logs: Mapping[Arm, Sequence[Turn]], days: int) -> list[Part]:
    first = int(days * WARM)
    users = {arm: defects_of_users(turns, first) for arm, turns in logs.items()}
    rows, before, start = [], None, next(iter(logs))
    for arm in logs:
        step = cell(saved(users[before], users[arm]).relative, 3, True) if before else Cell("—")
        whole = cell(saved(users[start], users[arm]).relative, 3, True) if before else Cell("—")
        rows.append(
            Row(Cell(NAMES[arm]), [
                cell(rate_interval(users[arm])), step, whole,
                cell(rate_interval(lost_of_users(logs[arm], first))),
                cell(rate_interval(requests_of_users(logs[arm], first)), 2),
            ])
        )  # fmt: skip
        before = arm
    return [
        Table(
            ["Assistant", "Defect rate", "Fewer than above", "Fewer than without", "Never reached",
             "Requests a goal"], rows,
            f"Days {first + 1} to {days}; means over users with 95 % bootstrap intervals, the same "
            "users in all rows. Each assistant has the parts of those above it as well.",
            MEANINGS,
        )
    ]  # fmt: skip


def _noise_table(logs: Mapping[Arm, Sequence[Turn]]) -> Table:
    found = {arm: by_noise(turns) for arm, turns in logs.items()}
    kinds = sorted({kind for rates in found.values() for kind in rates})
    rows = []
    for kind in kinds:
        cells = []
        for arm in logs:
            bad, count = found[arm].get(kind, (0, 0))
            cells.append(cell(share_interval(bad / count, count)) if count else Cell("—"))
        count = next(iter(found.values())).get(kind, (0, 0))[1]
        rows.append(Row(Cell(NOISES.get(kind, kind), f"{count:,} goals"), cells))
    below = (
        "Share of goals whose first request did not lead there, over all days, by what was wrong "
        "with its words; 95 % Wilson intervals over goals."
    )
    return Table(["First request", *(NAMES[arm] for arm in logs)], rows, below)


def _chain_section(turns: Sequence[Turn], run: Path, arms: Sequence[Arm]) -> Section:
    """The top rewrites of the last night, and the chain of the first of them."""
    arm = arms[-1]
    file = run / f"table_{arm}.jsonl"
    table = [row for _, row in read_json_lines(file, RunError)] if file.is_file() else []
    if not table:
        return Section("Rewrites", [])
    rows = [
        Row(Cell(row["request"], row["rewrite"]),
            [Cell(f"{row['score']:.2f}"), Cell(f"{row['own']:.2f}"), Cell(str(row["support"]))])
        for row in table[:TOP]
    ]  # fmt: skip
    counts = count_sessions(sessions_of(turns), 0)
    widest = sorted(table[: 4 * TOP], key=lambda row: -_spread(counts, _place(row)))[:2]
    parts: list[Part] = [
        Text(f"{len(table)} rewrites were live on the last day. Those with most support:"),
        Table(["Request, and below it what is followed instead", "Ends well", "As it is",
               "Support"], rows, meanings=REWRITES),
        Pictures([_drawing(counts, row) for row in widest]),
    ]  # fmt: skip
    parts += _won_and_lost(run, arm)
    return Section("Rewrites", parts, "What is said, and what is followed instead?")


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["building"], row["start"], row["request"])


def _spread(counts: Counts[Place], place: Place) -> int:
    """Into how many other requests people went from one."""
    return sum(1 for before, after in counts.steps if before == place != after)


def _drawing(counts: Counts[Place], row: Mapping[str, Any]) -> Any:
    first = _place(row)
    following = {after for before, after in counts.steps if before == first != after}
    near = [first, *sorted(following, key=lambda place: (-counts.steps[first, place], place))[:4]]
    number = {place: k for k, place in enumerate(near)}
    edges = []
    for place, k in number.items():
        out = {after: n for (before, after), n in counts.steps.items() if before == place}
        ends = (counts.good.get(place, 0), counts.bad.get(place, 0))
        total = max(1, sum(out.values()) + sum(ends))
        edges += [Edge(k, number[a], n / total) for a, n in out.items() if a in number]
        edges += [Edge(k, -1 - e, n / total) for e, n in enumerate(ends) if n]
    says = f"The chain of the request {row['request'][:60]!r}: what people said next"
    return chain_graph("The chain of a request", [place.text for place in near], edges, says)


def _won_and_lost(run: Path, arm: Arm) -> list[Part]:
    file = run / "judged.json"
    if not file.is_file():
        return []
    found = read_json(file, RunError)
    parts: list[Part] = []
    for title, wanted, said in (
        ("Won", True, "The rewrite led there, and the request as it was would not have."),
        ("Lost", False, "The request as it was would have led there, and the rewrite did not."),
    ):
        examples = [e for e in found.get(arm, []) if e["won"] == wanted][:4]
        if examples:
            items = [
                Example([("Heard", e["heard"]), ("Followed", _followed(e))],
                        f"By {LAYERS.get(e['source'], e['source'])}; building {e['building']}")
                for e in examples
            ]  # fmt: skip
            parts.append(Section(title, [Examples(items)], said))
    return parts


def _followed(example: Mapping[str, Any]) -> str:
    """What was followed: where the words are the same, a user taught what they mean."""
    same = normal(example["rewrite"]) == normal(example["heard"])
    return "what the user taught that it means" if same else str(example["rewrite"])


def _failures(run: Path) -> Section:
    file = run / "failures.json"
    if not file.is_file():
        return Section("Failure points", [])
    from trainers.feedback.failures import failure_parts

    return Section("Failure points", failure_parts(read_json(file, RunError)),
                   "Which stage fails first beyond repair?")  # fmt: skip
