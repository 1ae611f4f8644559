"use strict";
// The episode viewer. Text from data is only ever set as textContent.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SHAPES = ["circle", "square", "diamond", "triangle"];
const HUES = [212, 38, 150, 285, 95, 345, 185, 62, 255, 15];
const dark = matchMedia("(prefers-color-scheme: dark)");
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
const outcomes = { all: () => true, success: (e) => e.success, failure: (e) => !e.success };

function drawList() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = DATA.episodes.map((_, i) => i).filter((i) => {
    const e = DATA.episodes[i];
    const text = `${e.text} ${e.scan} ${e.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  $("filter").replaceChildren(...Object.keys(outcomes).map((name) => {
    const count = found.filter((i) => outcomes[name](DATA.episodes[i])).length;
    const label = name[0].toUpperCase() + name.slice(1);
    return button(`${label} ${count}`, state.outcome === name, () => {
      state.outcome = name;
      drawList();
    });
  }));
  state.shown = found.filter((i) => outcomes[state.outcome](DATA.episodes[i]));
  $("none").hidden = state.shown.length > 0;
  $("episodes").replaceChildren(...state.shown.map((i) => {
    const e = DATA.episodes[i];
    const row = make("button", { type: "button", "data-episode": i },
      make("span", { class: e.success ? "won" : "lost", "aria-label": e.success ? "success" : "failure" },
        e.success ? "✓" : "✕"),
      make("span", { class: "words" }, e.text),
      make("span", { class: "about" },
        [e.scan, e.success ? "" : `${metres(e.distance)} off`, e.forced ? "forced stop" : ""]
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
    make("span", { class: episode.success ? "won" : "lost" }, episode.success ? "✓ Success" : "✕ Failure"),
    ...[
      known(episode.distance) ? `ends ${metres(episode.distance)} from the goal` : "",
      episode.success && known(episode.spl) ? `SPL ${episode.spl.toFixed(2)}` : "",
      episode.forced ? "stopped by the step limit" : "",
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
  return known(p) ? p.toFixed(2) : "";
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
    ["Action", [make("span", { class: "act" }, action(state.step)), p ? `  p = ${p}` : ""]],
    ["Room", [room(at)]],
    ["Heading", [known(heading) ? `${Math.round(((heading * 180) / Math.PI + 360) % 360)}°` : "unknown"]],
    ["To the goal", [Number.isFinite(goalDistance[at]) ? metres(goalDistance[at]) : "no way there"]],
    ["Ahead", seen.length ? seen.map((word) => make("span", { class: "word" }, word))
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

// ---- Floors and view

function drawFloors() {
  const count = Math.max(...scan.floors) + 1;
  if (count < 2) return $("floor").replaceChildren();
  const choices = [["follow", "Agent's floor"], ["all", "All"]];
  for (let i = 0; i < count; i += 1) choices.push([i, `${i + 1}`]);
  $("floor").replaceChildren(...choices.map(([value, label]) =>
    button(label, state.floor === value, () => {
      state.floor = value;
      drawFloors();
      drawMap();
    })));
}

function here(viewpoint) {
  if (state.floor === "all") return true;
  const floor = state.floor === "follow" ? scan.floors[episode.path[state.step]] : state.floor;
  return scan.floors[viewpoint] === floor;
}

function fit(points, margin) {
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [x0, x1] = [Math.min(...xs) - margin, Math.max(...xs) + margin];
  const [y0, y1] = [Math.min(...ys) - margin, Math.max(...ys) + margin];
  state.view = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, width: x1 - x0, height: y1 - y0 };
}

function fitEpisode() {
  fit([...episode.path, ...episode.reference].map((i) => scan.positions[i]), 3.6);
}

function zoom(factor) {
  state.view.width *= factor;
  state.view.height *= factor;
  drawMap();
}

// ---- Map

function roomSign(label) {
  const place = DATA.rooms.indexOf(label);
  if (place < 0) return { fill: dark.matches ? "hsl(0 0% 45%)" : "hsl(0 0% 70%)", shape: "circle" };
  const light = dark.matches ? 62 : 58;
  const strength = place % 20 < 10 ? 52 : 24;
  return {
    fill: `hsl(${HUES[place % HUES.length]} ${strength}% ${light}%)`,
    shape: SHAPES[Math.floor(place / HUES.length) % SHAPES.length],
  };
}

function dot(x, y, size, sign) {
  const attributes = { class: "node", fill: sign.fill };
  if (sign.shape === "circle") return make("circle", { ...attributes, cx: x, cy: y, r: size });
  const s = size * 1.15;
  const shapes = {
    square: `M${x - s * 0.85} ${y - s * 0.85}h${s * 1.7}v${s * 1.7}h${-s * 1.7}z`,
    diamond: `M${x} ${y - s * 1.2}L${x + s * 1.2} ${y}L${x} ${y + s * 1.2}L${x - s * 1.2} ${y}z`,
    triangle: `M${x} ${y - s * 1.2}L${x + s * 1.15} ${y + s * 0.85}H${x - s * 1.15}z`,
  };
  return make("path", { ...attributes, d: shapes[sign.shape] });
}

function drawRooms() {
  const labels = DATA.rooms.filter((label) => scan.rooms.includes(label));
  $("rooms").replaceChildren(...labels.map((label) =>
    make("li", {}, make("svg", { width: 14, height: 14 }, dot(7, 7, 5, roomSign(label))), label)));
  const sample = (...marks) => make("svg", { width: 30, height: 16 }, ...marks);
  const line = (name) => make("path", { class: name, d: "M1 8H29" });
  const signs = [
    [sample(line("agent")), "agent, walked"],
    [sample(line("agent ahead")), "agent, to come"],
    [sample(line("expert")), "expert"],
    [sample(make("circle", { class: "start", cx: 15, cy: 8, r: 6 })), "start"],
    [sample(make("circle", { class: "goal", cx: 15, cy: 8, r: 6 })), "goal"],
    [sample(make("circle", { class: "near", cx: 15, cy: 8, r: 7 })), "3 m around it, as the crow flies"],
  ];
  $("signs").replaceChildren(...signs.map(([mark, text]) => make("li", {}, mark, text)));
}

// Connected viewpoints of one label, largest first, for the names on the map.
function roomGroups() {
  if (scan.groups) return scan.groups;
  const near = scan.positions.map(() => []);
  for (const [a, b] of scan.edges) {
    if (scan.rooms[a] === scan.rooms[b] && scan.floors[a] === scan.floors[b]) {
      near[a].push(b);
      near[b].push(a);
    }
  }
  const seen = new Set();
  const groups = [];
  scan.positions.forEach((_, start) => {
    if (seen.has(start) || !scan.rooms[start]) return;
    const members = [start];
    seen.add(start);
    for (const at of members) {
      for (const next of near[at]) {
        if (!seen.has(next)) { seen.add(next); members.push(next); }
      }
    }
    groups.push(members);
  });
  scan.groups = groups.sort((a, b) => b.length - a.length);
  return scan.groups;
}

function drawMap() {
  const svg = $("map");
  const box = svg.getBoundingClientRect();
  if (!box.width) return;
  const scale = Math.min(box.width / state.view.width, box.height / state.view.height);
  const X = (p) => +((p[0] - state.view.x) * scale + box.width / 2).toFixed(1);
  const Y = (p) => +((state.view.y - p[1]) * scale + box.height / 2).toFixed(1);
  const P = (i) => scan.positions[i];
  const size = Math.max(2.5, Math.min(6.5, scale * 0.17));
  const parts = [];

  for (const [a, b] of scan.edges) {
    const away = here(a) && here(b) ? "" : " away";
    parts.push(make("line", { class: `edge${away}`, x1: X(P(a)), y1: Y(P(a)), x2: X(P(b)), y2: Y(P(b)) }));
  }
  scan.positions.forEach((p, i) => {
    const mark = dot(X(p), Y(p), size, roomSign(scan.rooms[i]));
    if (!here(i)) mark.classList.add("away");
    mark.append(make("title", {}, room(i)));
    parts.push(mark);
  });

  const goal = episode.reference[episode.reference.length - 1];
  const start = episode.path[0];
  parts.push(make("circle", { class: here(goal) ? "near" : "near path-away", cx: X(P(goal)), cy: Y(P(goal)), r: 3 * scale }));
  parts.push(...walked(episode.reference, "expert"));
  parts.push(...walked(episode.path.slice(0, state.step + 1), "agent"));
  parts.push(...walked(episode.path.slice(state.step), "agent ahead"));
  parts.push(...roomNames());
  episode.path.forEach((at, i) => {
    const mark = make("circle", { class: i <= state.step ? "step done" : "step", cx: X(P(at)), cy: Y(P(at)), r: 4 },
      make("title", {}, `step ${i + 1}: ${room(at)}`));
    if (!here(at)) mark.classList.add("path-away");
    mark.addEventListener("click", () => { pause(); go(i); });
    parts.push(mark);
  });
  for (const [name, at, letter] of [["start", start, "Start"], ["goal", goal, "Goal"]]) {
    const group = make("g", { class: here(at) ? "" : "path-away" },
      make("circle", { class: name, cx: X(P(at)), cy: Y(P(at)), r: 7 }),
      make("text", { class: "sign", fill: "currentColor", x: X(P(at)), y: Y(P(at)) - 12 }, letter));
    parts.push(group);
  }
  parts.push(...agentMark());
  parts.push(...scaleBar());
  svg.replaceChildren(...parts);

  function walked(path, name) {
    const lines = [];
    let run = path.slice(0, 1);
    const flush = (away) => {
      if (run.length > 1) {
        const points = run.map((i) => `${X(P(i))},${Y(P(i))}`).join(" ");
        lines.push(make("polyline", { class: away ? `${name} path-away` : name, points }));
      }
    };
    let away = null;
    for (let i = 1; i < path.length; i += 1) {
      const now = !(here(path[i - 1]) || here(path[i]));
      if (away !== null && now !== away) { flush(away); run = [path[i - 1]]; }
      away = now;
      run.push(path[i]);
    }
    flush(away);
    return lines;
  }

  function roomNames() {
    // Names give way to the agent's steps and to the words at start and goal.
    const taken = episode.path.map((i) => [X(P(i)), Y(P(i)), 6]);
    for (const i of [start, goal]) taken.push([X(P(i)), Y(P(i)) - 15, 18], [X(P(i)), Y(P(i)), 8]);
    const names = [];
    for (const group of roomGroups()) {
      if (!here(group[0])) continue;
      const mean = [0, 1].map((k) => group.reduce((sum, i) => sum + P(i)[k], 0) / group.length);
      const text = scan.rooms[group[0]];
      const [x, y] = [X(mean), Y(mean) - size - 5];
      const half = text.length * 3.2 + 4;
      if (x < half || x > box.width - half || y < 16 || y > box.height - 8) continue;
      if (taken.some(([a, b, h]) => Math.abs(x - a) < half + h && Math.abs(y - b) < 15)) continue;
      taken.push([x, y, half]);
      names.push(make("text", { class: "room-name", x, y }, text));
    }
    return names;
  }

  function agentMark() {
    const p = P(episode.path[state.step]);
    const heading = headings[state.step];
    const [x, y] = [X(p), Y(p)];
    if (!known(heading)) return [make("circle", { class: "arrow", cx: x, cy: y, r: 8 })];
    const point = (angle, length) =>
      `${(x + length * Math.sin(angle)).toFixed(1)} ${(y - length * Math.cos(angle)).toFixed(1)}`;
    const far = Math.max(30, Math.min(70, 1.8 * scale));
    const [a, b] = [heading - Math.PI / 4, heading + Math.PI / 4];
    return [
      make("path", { class: "wedge", d: `M${x} ${y}L${point(a, far)}A${far} ${far} 0 0 1 ${point(b, far)}z` }),
      make("path", { class: "arrow",
        d: `M${point(heading, 14)}L${point(heading + 2.5, 11)}L${point(heading + Math.PI, 5)}L${point(heading - 2.5, 11)}z` }),
    ];
  }

  function scaleBar() {
    const length = [1, 2, 5, 10, 20, 50].find((m) => m * scale >= 44) || 100;
    const [x, y] = [14, box.height - 14];
    const right = box.width - 22;
    return [
      make("path", { class: "scale", d: `M${x} ${y - 4}v4h${length * scale}v-4` }),
      make("text", { class: "quiet-text", x: x + length * scale + 7, y: y + 2 }, `${length} m`),
      make("path", { class: "scale", d: `M${right} ${y}v-20m-4 6l4 -6l4 6` }),
      make("text", { class: "quiet-text", x: right - 7, y: y - 25 }, "0°"),
    ];
  }
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
