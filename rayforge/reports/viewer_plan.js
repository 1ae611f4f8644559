// What a planner believes of the places of a building, word by word. Stands between viewer_map.js
// and viewer.js in one script; state, episode and scan are declared there.

// Candidates in an order that says nothing, so that the first K of them are K drawn at random.
function drawnOrder(count) {
  let seed = 7;
  const order = [...Array(count).keys()];
  for (let i = count - 1; i > 0; i -= 1) {
    seed = (seed * 48271) % 2147483647;
    const k = seed % (i + 1);
    [order[i], order[k]] = [order[k], order[i]];
  }
  return order;
}

function openPlan() {
  const plan = episode.plan;
  $("plan").hidden = !plan;
  if (!plan) return;
  state.heard = plan.words.length;
  state.candidates = plan.ways.length;
  $("heard").max = plan.words.length;
  $("candidates").max = plan.ways.length;
  drawPlan();
}

// Of the K candidates: what each was meant with, and with what probability it succeeds.
function beliefs() {
  const plan = episode.plan;
  const kept = new Set(drawnOrder(plan.ways.length).slice(0, state.candidates));
  const raw = plan.belief[state.heard - 1].map((p, k) => (kept.has(k) ? p : 0));
  const total = raw.reduce((sum, p) => sum + p, 0) || 1;
  const meant = raw.map((p) => p / total);
  const succeeds = meant.map((_, k) =>
    (kept.has(k) ? plan.alike[k].reduce((sum, other) => sum + meant[other], 0) : -1));
  return { meant, succeeds };
}

// The likeliest to succeed, none of which would do where a better one was meant.
function bestWays({ succeeds }, count) {
  const chosen = [];
  const order = succeeds.map((p, k) => [p, k]).filter(([p]) => p >= 0)
    .sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  for (const [p, k] of order) {
    if (chosen.length === count) break;
    if (!chosen.some(([, other]) => episode.plan.alike[other].includes(k))) chosen.push([p, k]);
  }
  return chosen;
}

function drawPlan() {
  const plan = episode.plan;
  if (!plan) return;
  $("heard").value = state.heard;
  $("candidates").value = state.candidates;
  $("heard-place").textContent = `${state.heard} of ${plan.words.length} words`;
  $("candidates-place").textContent = `${state.candidates} of ${plan.ways.length} paths`;
  $("plan-words").replaceChildren(...plan.words.flatMap((word, i) => {
    const made = make("button", { type: "button", class: i < state.heard ? "heard" : "" }, word);
    made.addEventListener("click", () => { state.heard = i + 1; drawPlan(); drawMap(); });
    return [made, " "];
  }));
  const { positions } = scan;
  const metresOf = (way) => way.slice(1).reduce((sum, at, i) =>
    sum + Math.hypot(...positions[at].map((v, k) => v - positions[way[i]][k])), 0);
  $("plan-best").replaceChildren(...bestWays(beliefs(), 3).map(([p, k], rank) => {
    const way = plan.ways[k];
    return make("li", {},
      make("span", { class: `plan-mark rank-${rank}` }, `${rank + 1}`),
      make("span", {}, `${room(way[way.length - 1])}, ${metres(metresOf(way))}`),
      make("span", { class: "chance" }, `${Math.round(100 * p)} %`));
  }));
}

// The field of belief under the map's lines, and the three best candidates.
function planMarks(X, Y, P, scale) {
  if (!episode.plan) return [];
  const found = beliefs();
  const mass = new Map();
  found.meant.forEach((p, k) => {
    const end = episode.plan.ways[k].at(-1);
    mass.set(end, (mass.get(end) || 0) + p);
  });
  const field = [...mass].filter(([, p]) => p > 0.002).map(([at, p]) => {
    const mark = make("circle", { class: "belief", cx: X(P(at)), cy: Y(P(at)),
      r: Math.max(4, Math.sqrt(p) * 2.6 * scale), opacity: 0.16 + 0.44 * p },
      make("title", {}, `${Math.round(100 * p)} % meant: ${room(at)}`));
    if (!here(at)) mark.classList.add("path-away");
    return mark;
  });
  const best = bestWays(found, 3).reverse().map(([, k], i, all) => make("polyline", {
    class: `planned rank-${all.length - 1 - i}`,
    points: episode.plan.ways[k].map((at) => `${X(P(at))},${Y(P(at))}`).join(" "),
  }));
  return [...field, ...best];
}

for (const [name, key] of [["heard", "heard"], ["candidates", "candidates"]]) {
  document.getElementById(name).addEventListener("input", (event) => {
    state[key] = Number(event.target.value);
    drawPlan();
    drawMap();
  });
}
