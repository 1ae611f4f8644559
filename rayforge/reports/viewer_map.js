"use strict";
// The viewer's map. Stands before viewer.js in one script; state and data are declared there.
const SHAPES = ["circle", "square", "diamond", "triangle"];
const HUES = [212, 38, 150, 285, 95, 345, 185, 62, 255, 15];
const dark = matchMedia("(prefers-color-scheme: dark)");

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
    [sample(line("agent")), "agent so far"],
    [sample(line("agent ahead")), "agent, still to come"],
    [sample(line("expert")), "expert"],
    [sample(make("circle", { class: "start", cx: 15, cy: 8, r: 6 })), "start"],
    [sample(make("circle", { class: "goal", cx: 15, cy: 8, r: 6 })), "goal"],
    [sample(make("circle", { class: "near", cx: 15, cy: 8, r: 7 })), "3 m around the goal"],
    ...(episode.plan ? [
      [sample(make("circle", { class: "belief", cx: 15, cy: 8, r: 7, opacity: 0.5 })), "where the planner believes the end to be"],
      [sample(line("planned rank-0")), "its best candidates"],
    ] : []),
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
  parts.push(...planMarks(X, Y, P, scale));
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
      make("text", { class: "quiet-text", x: right - 17, y: y - 25 }, "north"),
    ];
  }
}
