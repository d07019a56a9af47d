// One pixel against all others: pointer, keys, maps, readouts.

let asked = 0; // time of the pointer event that is not shown yet
let waiting = false;
let spent = 0;

// Newest wins: pointer events between two frames become one.
function ask() {
  if (waiting) return;
  waiting = true;
  asked = performance.now();
  requestAnimationFrame(() => {
    waiting = false;
    if (!state.features) return;
    const started = performance.now();
    showPixel();
    spent = performance.now() - started;
    document.dispatchEvent(new CustomEvent("shown", { detail: { script: spent, latency: performance.now() - asked } }));
  });
}

function pointAt(cell) {
  if (state.under === cell) return;
  state.under = cell;
  if (!state.pinned && cell >= 0) state.cell = cell;
  if (cell >= 0 || state.pinned) ask();
}

function pin(cell) {
  if (cell < 0 || !state.features) return;
  state.pinned = !(state.pinned && state.cell === cell);
  state.cell = cell;
  announce();
  ask();
}

function release() {
  state.pinned = false;
  announce();
  ask();
}

const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function keyPressed(event) {
  if (!state.features || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") release();
  else if (event.key === "Enter" || event.key === " ") pin(state.cell);
  else if (event.key in moves) {
    const { rows, cols } = state.image;
    const far = event.shiftKey ? 5 : 1;
    const [down, across] = moves[event.key].map((step) => step * far);
    const within = (value, count) => Math.min(count - 1, Math.max(0, value));
    state.cell = within(Math.floor(state.cell / cols) + down, rows) * cols + within((state.cell % cols) + across, cols);
    state.pinned = true;
    announce();
    ask();
  } else return;
  event.preventDefault();
}

function placeText(cell) {
  const { cols, y, x } = state.image;
  const [row, col] = [Math.floor(cell / cols), cell % cols];
  return `row ${row}, column ${col} (y ${Math.round(y[row])}, x ${Math.round(x[col])})`;
}

const nameOf = (k) => (k === NO_VALUE ? "ignored" : page.names[k]);

function announce() {
  const text = state.pinned ? `Pinned: ${placeText(state.cell)}. Escape releases it.` : "Follows the mouse; a click pins.";
  $("pinned").textContent = text;
  $("pinned").classList.toggle("on", state.pinned);
  for (const panel of Object.values(panels)) {
    const where = state.cell < 0 ? "no pixel" : `${state.pinned ? "pinned" : "at"} ${placeText(state.cell)}`;
    const about = panel.message || where;
    panel.canvas.setAttribute("aria-label", `${panel.title}: ${about}. Arrow keys move, Enter pins, Escape releases.`);
  }
}

function showPixel() {
  const { features, image, cell } = state;
  if (cell !== maps.cell) {
    maps.cell = cell;
    features.similarity(0, cell, maps.initial);
    panels.initial.values(maps.initial, 1);
    if (page.offsets) {
      features.similarity(1, cell, maps.aligned);
      for (let p = 0; p < maps.difference.length; p++) maps.difference[p] = maps.aligned[p] - maps.initial[p];
      panels.aligned.values(maps.aligned, 1);
      panels.difference.values(maps.difference, image.difference_limit);
    }
    showClasses();
  }
  showUnder();
  for (const panel of Object.values(panels)) panel.draw();
}

// What lies under the pointer, compared with the pinned pixel.
function showUnder() {
  const at = state.pinned && state.under >= 0 ? state.under : -1;
  for (const name of ["initial", "aligned", "difference"]) {
    const value = at < 0 || !maps[name] ? null : maps[name][at];
    panels[name].readout.textContent = value === null ? "" : `at the pointer: ${signed(value, 3)}`;
  }
  const { label, after, kinds, cell } = state;
  const shown = at < 0 ? cell : at;
  panels.photograph.readout.textContent =
    at < 0 ? "" : `at the pointer: ${label ? `${nameOf(label[at])} (label)` : nameOf(after[at])}`;
  const where = at < 0 ? "this pixel" : "at the pointer";
  const kind = kinds[shown] === NO_VALUE ? "ignored" : changeName(kinds[shown]);
  panels.prediction.readout.textContent = `${where}: ${nameOf(after[shown])}`;
  panels.changes.readout.textContent = page.offsets ? `${where}: ${kind}` : "";
}

const rows = [...Array(Math.min(SHOWN_CLASSES, page.names.length)).keys()].map(() => {
  const row = made("tr", "", $("bars"));
  const head = made("th", "", row);
  head.scope = "row";
  const swatch = made("span", "swatch", head);
  const name = made("span", "name", head);
  const values = made("td", "numbers", row);
  const bars = made("td", "bars", row);
  const stages = page.offsets ? ["initial", "aligned"] : ["initial"];
  return { row, swatch, name, values, bars: stages.map((stage) => {
    const track = made("div", "track", bars);
    const bar = made("div", "bar", track);
    bar.style.background = page.stages[stage];
    return bar;
  }) };
});

function showClasses() {
  const { features, cell, label, predictions } = state;
  const cosines = predictions.map((_, stage) => features.classCosines(stage, cell));
  const last = cosines.at(-1);
  const rank = (k) => (Number.isNaN(last[k]) ? -2 : last[k]);
  const order = [...last.keys()].sort((a, b) => rank(b) - rank(a) || a - b);
  rows.forEach((row, place) => {
    const k = order[place];
    row.swatch.style.background = page.colors[k];
    row.name.textContent = page.names[k];
    row.row.classList.toggle("own", Boolean(label) && label[cell] === k);
    row.values.textContent = cosines.map((values) => signed(values[k])).join(" → ");
    row.bars.forEach((bar, stage) => {
      const value = cosines[stage][k] || 0;
      bar.style.left = `${50 + 50 * Math.min(0, value)}%`;
      bar.style.width = `${50 * Math.abs(value)}%`;
    });
  });
  const [initial, aligned] = predictions.map((values) => nameOf(values[cell]));
  $("fact-place").textContent = placeText(cell);
  $("fact-label").textContent = label ? nameOf(label[cell]) : "no label";
  $("fact-prediction").textContent = aligned === undefined ? initial : `${initial} → ${aligned}`;
  $("fact-offset").textContent = page.offsets ? offsetText(features.offset(cell)) : "none (per-pixel model)";
}

function offsetText({ relative, angle }) {
  if (Number.isNaN(relative)) return "n/a: the feature is zero";
  const turn = Number.isNaN(angle) ? "" : `, turns it by ${Math.round(angle)}°`;
  return `${(100 * relative).toFixed(relative < 0.1 ? 1 : 0)} % of the feature’s length${turn}`;
}
