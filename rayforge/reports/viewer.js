// The episode viewer. Text from data is only ever set as textContent.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const state = { shown: [], episode: -1, step: 0, floor: "follow", view: null, outcome: "all" };
let playing = 0;

function make(tag, attributes, ...children) {
  const drawing = ["svg", "g", "path", "line", "circle", "rect", "text", "polyline", "title"];
  const element = drawing.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children) element.append(child); // strings become text nodes
  return element;
}

function button(label, pressed, act) {
  const made = make("button", { type: "button", "aria-pressed": pressed }, label);
  made.addEventListener("click", act);
  return made;
}

// ---- Episodes: search, filter, list

const known = (value) => value !== null && value !== undefined;
const metres = (value) => (known(value) ? `${value.toFixed(1)} m` : "");
const outcomes = [
  ["all", "All", () => true],
  ["reached", "Reached the goal", (e) => e.success],
  ["missed", "Missed it", (e) => !e.success],
];
const COMPASS = ["north", "north-east", "east", "south-east", "south", "south-west", "west",
  "north-west"]; // north is up on the map

function drawList() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = DATA.episodes.map((_, i) => i).filter((i) => {
    const e = DATA.episodes[i];
    const text = `${e.text} ${e.scan} ${e.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  $("filter").replaceChildren(...outcomes.map(([name, label]) =>
    button(label, state.outcome === name, () => {
      state.outcome = name;
      drawList();
    })));
  const [, , fits] = outcomes.find(([name]) => name === state.outcome);
  state.shown = found.filter((i) => fits(DATA.episodes[i]));
  $("count").textContent = `${state.shown.length} shown here`;
  $("none").hidden = state.shown.length > 0;
  $("episodes").replaceChildren(...state.shown.map((i) => {
    const e = DATA.episodes[i];
    const row = make("button", { type: "button", "data-episode": i },
      make("span", { class: e.success ? "won" : "lost", "aria-label": e.success ? "reached the goal" : "missed the goal" },
        e.success ? "✓" : "✕"),
      make("span", { class: "words" }, e.text),
      make("span", { class: "about" },
        [e.scan, e.success ? "" : `${metres(e.distance)} from the goal`, e.forced ? "step limit" : ""]
          .filter(Boolean).join(" · ")));
    row.addEventListener("click", () => open(i));
    return make("li", {}, row);
  }));
  markCurrent();
  if (state.shown.length && !state.shown.includes(state.episode)) open(state.shown[0]);
}

function markCurrent() {
  for (const row of $("episodes").querySelectorAll("button")) {
    const current = Number(row.dataset.episode) === state.episode;
    row.setAttribute("aria-current", current);
    // Scrolls the list alone: scrollIntoView would move the page on narrow screens.
    const list = $("episodes");
    if (current) {
      const top = row.offsetTop - list.offsetTop;
      if (top < list.scrollTop) list.scrollTop = top - 8;
      const bottom = top + row.offsetHeight - list.clientHeight;
      if (bottom > list.scrollTop) list.scrollTop = bottom + 8;
    }
  }
}

// ---- One episode

let scan = null; // map of the open episode's building
let episode = null;
let goalDistance = []; // geodesic metres from each viewpoint to the goal
let headings = [];

function open(index) {
  pause();
  state.episode = index;
  state.step = 0;
  state.floor = "follow";
  episode = DATA.episodes[index];
  scan = DATA.scans[episode.scan];
  goalDistance = distancesTo(episode.reference[episode.reference.length - 1]);
  headings = episode.path.map((at, i) => {
    if (known(episode.heading[i])) return episode.heading[i];
    return i ? bearing(episode.path[i - 1], at) : null;
  });
  const facts = [
    make("span", { class: episode.success ? "won" : "lost" },
      episode.success ? "✓ Reached the goal" : "✕ Missed the goal"),
    ...[
      known(episode.distance) ? `stopped ${metres(episode.distance)} from it` : "",
      episode.success && known(episode.spl) ? `SPL ${episode.spl.toFixed(2)}` : "",
      episode.forced ? "at the step limit" : "",
      `building ${episode.scan}`, `episode ${episode.id}`,
    ].filter(Boolean).map((fact) => ` · ${fact}`),
  ];
  $("facts").replaceChildren(...facts);
  $("text").textContent = episode.text;
  $("slider").max = episode.path.length - 1;
  history.replaceState(null, "", `#${encodeURIComponent(episode.id)}`);
  fitEpisode();
  drawFloors();
  drawRooms();
  drawSteps();
  markCurrent();
  openPlan();
  go(0);
}

function distancesTo(goal) {
  const near = scan.positions.map(() => []);
  for (const [a, b] of scan.edges) {
    const length = Math.hypot(...scan.positions[a].map((v, k) => v - scan.positions[b][k]));
    near[a].push([b, length]);
    near[b].push([a, length]);
  }
  const distance = near.map(() => Infinity);
  const open = new Set([goal]);
  distance[goal] = 0;
  while (open.size) {
    const at = [...open].reduce((best, i) => (distance[i] < distance[best] ? i : best));
    open.delete(at);
    for (const [next, length] of near[at]) {
      if (distance[at] + length < distance[next]) {
        distance[next] = distance[at] + length;
        open.add(next);
      }
    }
  }
  return distance;
}

// Headings are radians, clockwise from +y; +y points up on the map.
function bearing(a, b) {
  const [from, to] = [scan.positions[a], scan.positions[b]];
  return Math.atan2(to[0] - from[0], to[1] - from[1]);
}

function room(viewpoint) {
  return scan.rooms[viewpoint] || "unlabelled room";
}

function action(i) {
  const [at, next] = [episode.path[i], episode.path[i + 1]];
  if (next === undefined) return episode.forced ? "Stop (step limit)" : "Stop";
  const climb = scan.positions[next][2] - scan.positions[at][2];
  const slope = climb > 0.5 ? ", up" : climb < -0.5 ? ", down" : "";
  if (!known(headings[i])) return `Walk${slope}`;
  const turn = ((bearing(at, next) - headings[i]) * 180) / Math.PI;
  const degrees = Math.round(((((turn + 180) % 360) + 360) % 360) - 180);
  const size = Math.abs(degrees);
  if (size <= 15) return `Straight on${slope}`;
  if (size >= 165) return `Turn back${slope}`;
  return `${degrees > 0 ? "Right" : "Left"} ${size}°${slope}`;
}

function chance(i) {
  const p = episode.probability[i];
  return known(p) ? `${Math.round(100 * p)} %` : "";
}

function direction(heading) {
  const degrees = Math.round(((heading * 180) / Math.PI + 360) % 360);
  return `${COMPASS[Math.round(degrees / 45) % 8]} (${degrees}°)`;
}

function drawSteps() {
  $("steps").replaceChildren(...episode.path.map((at, i) => {
    const row = make("button", { type: "button" },
      make("span", { class: "nth" }, `${i + 1}`),
      make("span", {}, action(i)),
      make("span", { class: "chance" }, chance(i)),
      make("span", { class: "in" }, room(at)));
    if (known(episode.probability[i])) {
      const bar = make("i");
      bar.style.width = `${100 * episode.probability[i]}%`;
      row.append(make("span", { class: "meter" }, bar));
    }
    row.addEventListener("click", () => { pause(); go(i); });
    return make("li", {}, row);
  }));
}

function go(step) {
  state.step = Math.max(0, Math.min(step, episode.path.length - 1));
  const at = episode.path[state.step];
  $("slider").value = state.step;
  $("place").textContent = `${state.step + 1} of ${episode.path.length}`;
  [...$("steps").querySelectorAll("button")].forEach((row, i) =>
    row.setAttribute("aria-current", i === state.step));
  const heading = headings[state.step];
  const seen = episode.seen[state.step] || [];
  const p = chance(state.step);
  const lines = [
    ["Action", [make("span", { class: "act" }, action(state.step)), p ? ` (${p} likely)` : ""]],
    ["Stands in", [room(at)]],
    ["Faces", [known(heading) ? direction(heading) : "unknown"]],
    ["To the goal", [Number.isFinite(goalDistance[at]) ? metres(goalDistance[at]) : "no way there"]],
    ["Sees ahead", seen.length ? seen.map((word) => make("span", { class: "word" }, word))
      : [episode.seen.length ? "nothing named" : "not recorded"]],
  ];
  $("now").replaceChildren(...lines.flatMap(([name, parts]) =>
    [make("dt", {}, name), make("dd", {}, ...parts)]));
  drawMap();
}

// ---- Playing

function pause() {
  clearInterval(playing);
  playing = 0;
  $("play").textContent = "Play";
}

function play() {
  if (playing) return pause();
  if (state.step === episode.path.length - 1) go(0);
  $("play").textContent = "Pause";
  playing = setInterval(() => {
    go(state.step + 1);
    if (state.step === episode.path.length - 1) pause();
  }, 900);
}

// ---- Events

$("search").addEventListener("input", drawList);
$("slider").addEventListener("input", () => { pause(); go(Number($("slider").value)); });
$("back").addEventListener("click", () => { pause(); go(state.step - 1); });
$("on").addEventListener("click", () => { pause(); go(state.step + 1); });
$("play").addEventListener("click", play);
$("fit").addEventListener("click", () => { fitEpisode(); drawMap(); });
$("whole").addEventListener("click", () => { fit(scan.positions, 1.5); drawMap(); });
$("closer").addEventListener("click", () => zoom(0.75));
$("farther").addEventListener("click", () => zoom(4 / 3));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !episode) return;
  const typing = event.target.matches("input[type=search]");
  if (typing && !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  const on = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (on) { pause(); go(state.step + on); }
  else if (next && state.shown.length) {
    const place = state.shown.indexOf(state.episode) + next;
    open(state.shown[(place + state.shown.length) % state.shown.length]);
  } else if (event.key === " " && event.target.tagName !== "BUTTON") play();
  else return;
  event.preventDefault();
});

let held = null;
$("map").addEventListener("pointerdown", (event) => {
  if (event.pointerType === "touch" || !state.view) return; // a finger scrolls the page
  held = { x: event.clientX, y: event.clientY, view: { ...state.view } };
});
addEventListener("pointermove", (event) => {
  if (!held) return;
  const box = $("map").getBoundingClientRect();
  const scale = Math.min(box.width / state.view.width, box.height / state.view.height);
  const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
  if (Math.hypot(dx, dy) < 3) return; // a click on a step is no drag
  $("map").classList.add("held");
  state.view.x = held.view.x - dx / scale;
  state.view.y = held.view.y + dy / scale;
  drawMap();
});
addEventListener("pointerup", () => { held = null; $("map").classList.remove("held"); });
$("map").addEventListener("wheel", (event) => {
  if (!(event.ctrlKey || event.metaKey)) return; // the plain wheel scrolls the page
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15);
}, { passive: false });
addEventListener("resize", () => { if (episode) drawMap(); });
dark.addEventListener("change", () => { if (episode) { drawRooms(); drawMap(); } });

$("main").hidden = !DATA.episodes.length;
const first = DATA.episodes.findIndex((e) => `#${encodeURIComponent(e.id)}` === location.hash);
if (first >= 0) open(first);
drawList();
