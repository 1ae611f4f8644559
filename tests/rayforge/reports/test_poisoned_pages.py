"""Text from data is shown as text on every page, whatever stands in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_alignment import make_alignment_run
from fake_run import make_building, make_episodes, make_run
from test_search_page import search_of, trial_of

from rayforge.evaluation.intervals import Interval
from rayforge.reports.alignment import write_alignment_report
from rayforge.reports.benchmark import Compared, Failure, Instruction, SettingPage, write_benchmark
from rayforge.reports.comparison import write_comparison
from rayforge.reports.groups import merge_seeds
from rayforge.reports.page import report_page, write_page
from rayforge.reports.report import write_report
from rayforge.reports.run_folder import read_run
from rayforge.reports.search import search_page
from rayforge.reports.section import (
    Cards,
    Cell,
    Code,
    Example,
    Examples,
    Facts,
    Lines,
    Link,
    Row,
    Section,
    Table,
    Text,
)
from rayforge.reports.small_map import small_map
from rayforge.reports.viewer import write_viewer

EVIL = (
    "</script></style><script>document.title='HACKED'</script>"
    "<img src=x onerror=alert(1)>\"'&{{7*7}}"
)
FOLDER = "<script>document.title='HACKED'<"  # as a name of a folder, which holds no slash


class Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def poisoned(value: Any) -> Any:
    """Every text of a document replaced."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL if isinstance(value, str) else value


def poison_agent(run: Path) -> Path:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**poisoned(config), EVIL: EVIL}))
    for file in (run / "run.json", *run.glob("evaluation_*.json")):
        document = poisoned(json.loads(file.read_text()))
        if "agents" in document:
            document["agents"][EVIL] = {EVIL: {"mean": 0.5, "low": 0.1, "high": 0.9, "count": 3}}
        file.write_text(json.dumps(document))
    for file in (run / "sentences.jsonl", *run.glob("episodes_*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        given = [{**poisoned(line), "episode_id": f"{EVIL}{n}"} for n, line in enumerate(lines)]
        file.write_text("".join(json.dumps(line) + "\n" for line in given))
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"updates": 99, "phase": EVIL, f"a/{EVIL}": 1.0}) + "\n")
    (run / f"reward_{FOLDER}.json").write_text(
        json.dumps({"figures": {EVIL: {"mean": 0.5, "low": 0.1, "high": 0.9, "count": 3}}})
    )
    sample = {"sentence": EVIL, "follower": 0.5, "generator": 0.8, "kept": False}
    building = {"scan": EVIL, "in_training": True, "walked": 1, "fit": 1, "described": 1, "kept": 1}
    (run / "planner.json").write_text(
        json.dumps(
            {"command": EVIL, "curve": [{"update": 1, "loss": 1.0, "held_back_nats": 2.0}],
             "fitted": {EVIL: {"weights": {EVIL: 1.0}, "nats": 1.0, "success": 0.5}}}
        )
    )  # fmt: skip
    figure = {EVIL: {"mean": 0.5, "low": 0.1, "high": 0.9, "count": 3}}
    (run / f"planned_{FOLDER}_map.json").write_text(
        json.dumps({"agents": {EVIL: figure}, **dict.fromkeys(
            ("split", "method", "setting", "command"), EVIL)})
    )  # fmt: skip
    (run / "adaptation.json").write_text(
        json.dumps(
            {"run": EVIL, "settings": {"walks": "random"}, "demonstrations": 1,
             "buildings": [{**building, "samples": [sample]}],
             "change": {EVIL: {"mean": 0.1, "low": 0.0, "high": 0.2, "count": 3}}}
        )
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every page there is, of poisoned inputs."""
    out = tmp_path_factory.mktemp("pages") / FOLDER
    agents = [
        poison_agent(make_run(out / f"{FOLDER}{n}", method=m, iterations=8))
        for n, m in enumerate(("langgoal", "gcbc"))
    ]
    chat = json.dumps([{"role": EVIL, "content": EVIL}])
    aligned = [
        make_alignment_run(out / f"align {FOLDER}{n}", [0.1, -0.2, 0.3], prompt=prompt, data=EVIL,
                           method=EVIL + str(n), judge=EVIL, scores=[0.0, 1.0])
        for n, prompt in enumerate((EVIL, chat))
    ]  # fmt: skip
    judged = {"answers": {EVIL: {"win_rate": {"mean": 0.5}}}, "judge": EVIL}
    (aligned[0] / f"evaluation_{FOLDER}.json").write_text(json.dumps(judged))
    building = make_building("one")
    building["rooms"][0] = EVIL
    episodes = make_episodes({"one": building}, 2)
    for episode in episodes:
        episode["instruction"] = episode["steps"][0]["seen"][0] = EVIL
    episodes[0]["episode_id"] = EVIL
    drawing = small_map(building, episodes[0]["reference"], episodes[0]["path"], EVIL)
    found = Interval(0.1, 0.0, 0.2, 3)
    groups = merge_seeds([read_run(run) for run in agents], ())
    setting = SettingPage(
        EVIL, EVIL, ("held_out", "val_seen"),
        [(str(n), group) for n, group in enumerate(groups)],
        [Compared(EVIL, EVIL, found, found, 0.1)], [(EVIL, found)], [], {EVIL: 2},
        [Failure(EVIL, EVIL, EVIL, 1.0, EVIL, EVIL, drawing)],
        [Instruction(EVIL, EVIL, EVIL, EVIL, drawing)],
    )  # fmt: skip
    space = [{"key": EVIL, "kind": "choice", "low": 0.0, "high": 0.0, "choices": [EVIL]}]
    trial = {**trial_of(1, 0.2), "status": EVIL, "settings": {EVIL: EVIL}, "error": EVIL}
    trial["figures"] = {EVIL: 0.2, "b": 0.1}
    trial["curve"] = [{"report": 1.0, EVIL: 0.2}]
    search = search_of(
        name=EVIL, system=EVIL, metrics={EVIL: "max", "b": EVIL}, searcher=EVIL, scheduler=EVIL,
        command=EVIL, hardware=EVIL, space=space, importance={EVIL: {EVIL: 0.5}}, best=1,
    )  # fmt: skip
    link = Link(EVIL, EVIL, EVIL)
    section = Section(
        EVIL,
        [
            Text((EVIL, Code(EVIL), link), "note"), Facts([(EVIL, EVIL)]), Lines(EVIL),
            Cards([(EVIL, EVIL, EVIL)]), Examples([Example([(EVIL, EVIL)], EVIL)]),
            Table([EVIL], [Row(Cell(EVIL, EVIL), [])], EVIL, [(EVIL, EVIL)]),
            Section(EVIL, [], EVIL, folded=True), Text("", EVIL),
        ],
        EVIL,
    )  # fmt: skip
    return {
        "run": write_report(agents[0]),
        "comparison": write_comparison(agents, out / "comparison.html", ()),
        "alignment": write_alignment_report(aligned[0]),
        "conversations": write_alignment_report(aligned[1]),
        "alignments": write_comparison(aligned, out / "alignments.html", ()),
        "search": write_page(out / "search.html", search_page(search, [trial])),
        "benchmark": write_benchmark(out / "benchmark.html", [setting], EVIL),
        "viewer": write_viewer(agents[0], EVIL, episodes, {"one": building}, out / "watch.html"),
        "sections": write_page(out / "sections.html", report_page(EVIL, EVIL, [section])),
    }


NAMES = ("run", "comparison", "alignment", "conversations", "alignments", "search", "benchmark",
         "viewer", "sections")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_poisoned_is_escaped(pages: dict[str, Path], name: str) -> None:
    """A parser finds no element and no attribute that a page does not make itself."""
    html = pages[name].read_text()
    found = Elements()
    found.feed(html)
    own = 2 if name == "viewer" else 0  # its data and its script
    assert found.tags.count("script") == own
    assert found.tags.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    assert not [n for n, _ in found.attributes if n.startswith("on") or n in ("src", "srcdoc")]
    links = [value for n, value in found.attributes if n == "href"]
    assert all(re.fullmatch(r"[\w%./#-]+", link or "") for link in links), links
    assert any("HACKED" in text for text in found.texts), "the poison is not on the page"
    assert "{{7*7}}" in html or name == "viewer"


@pytest.mark.skipif(
    not (CHROMIUM := shutil.which("chromium") or shutil.which("chromium-browser")),
    reason="Chromium is not installed",
)
def test_a_browser_shows_it_as_text(pages: dict[str, Path], tmp_path: Path) -> None:
    """One page of frames, so that the browser starts once."""
    for name in NAMES:
        shutil.copy(pages[name], tmp_path / f"{name}.html")
    frames = "".join(f'<iframe id="{name}" src="{name}.html"></iframe>' for name in NAMES)
    script = """addEventListener("load", () => {
      for (const frame of document.querySelectorAll("iframe")) {
        const page = frame.contentDocument;
        const line = [frame.id, page.scripts.length, page.images.length,
          page.title === "HACKED", page.body.innerText.includes("HACKED")].join(" ");
        document.body.append(`[${line}]`);
      }
    });"""
    (tmp_path / "all.html").write_text(f"<body>{frames}<script>{script}</script></body>")
    assert CHROMIUM is not None
    shown = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (tmp_path / "all.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    for name in NAMES:
        scripts = 2 if name == "viewer" else 0
        assert f"[{name} {scripts} 0 false true]" in shown, shown.rpartition("</script>")[2]
