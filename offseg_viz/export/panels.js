// What the page is made of: its data, its state, and panels, each a map over the photograph on a canvas.

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("page").textContent);
const SHOWN_CLASSES = 8;
const GREY_LIFT = 0.3;
const MAP_OPACITY = 0.72;

function made(tag, className, parent, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function offscreen(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, width), Math.max(1, height)];
  return canvas;
}

// Colours as 32-bit numbers in the order of the bytes of a canvas.
function palette(colors) {
  const table = new Uint32Array(256);
  colors.forEach((color, k) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    table[k] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
  return table;
}

const classColors = palette(page.colors);
const changeNames = Object.keys(page.changes);
const changeColors = palette(Object.values(page.changes));
let diverging = null;

const state = {
  number: -1, image: null, features: null, label: null, predictions: [], photograph: null, grey: null,
  cell: -1, pinned: false, under: -1, overlay: "none", opacity: 0.6, before: null, after: null,
  kinds: null, preparing: null,
};
const maps = { initial: null, aligned: null, difference: null };

const signed = (value, digits = 2) => {
  if (Number.isNaN(value)) return "n/a";
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? " " : value < 0 ? "−" : "+") + text;
};
const percent = (share) => `${(100 * share).toFixed(1)} %`;

class Panel {
  constructor(figure) {
    this.name = figure.dataset.panel;
    this.title = figure.querySelector("figcaption").textContent;
    this.canvas = figure.querySelector("canvas");
    this.readout = figure.querySelector(".readout");
    this.figure = figure;
    this.cells = null; // canvas of one pixel a cell
    this.message = "";
    this.below = null; // photograph in the size of the panel
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "map");
    this.canvas.tabIndex = 0;
    this.canvas.addEventListener("pointermove", (event) => pointAt(cellAt(this.canvas, event)));
    this.canvas.addEventListener("pointerleave", () => pointAt(-1));
    this.canvas.addEventListener("click", (event) => pin(cellAt(this.canvas, event)));
    this.canvas.addEventListener("keydown", keyPressed);
  }

  // Takes another image's shape; the map itself comes by `values` or `kinds`.
  begin() {
    const { rows, cols } = state.image;
    this.cells = offscreen(cols, rows);
    this.pen = this.cells.getContext("2d");
    this.data = this.pen.createImageData(cols, rows);
    this.pixels = new Uint32Array(this.data.data.buffer);
    this.filled = false;
    this.below = null;
    this.say("");
  }

  say(message) {
    this.message = message;
    this.figure.classList.toggle("off", Boolean(message));
    this.figure.querySelector(".reason").textContent = message;
  }

  // Measurements from -limit to limit in the diverging colours.
  values(map, limit) {
    const scale = 127 / limit;
    for (let p = 0; p < map.length; p++) {
      const value = map[p];
      const step = (value * scale + 127.5) | 0;
      this.pixels[p] = value === value ? diverging[step < 0 ? 0 : step > 254 ? 254 : step] : 0;
    }
    this.put();
  }

  // Numbers of classes or kinds in their colours.
  kinds(map, table) {
    for (let p = 0; p < map.length; p++) this.pixels[p] = map[p] === NO_VALUE ? 0 : table[map[p]];
    this.put();
  }

  put() {
    this.pen.putImageData(this.data, 0, 0);
    this.filled = true;
  }

  clear() {
    this.filled = false;
  }

  // The photograph below the map, scaled once for each size of the panel.
  ground(width, height) {
    const bare = this.name === "photograph";
    const from = bare ? state.photograph : state.grey;
    if (!from) return null;
    if (!this.below || this.below.width !== width || this.below.height !== height) {
      this.below = offscreen(width, height);
      const pen = this.below.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(from, 0, 0, width, height);
    }
    return this.below;
  }

  draw() {
    if (!state.image) return;
    const [high, wide] = state.image.size;
    const unit = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round((this.canvas.clientWidth || 280) * unit));
    const height = Math.max(1, Math.round((width * high) / wide));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
    }
    const pen = this.canvas.getContext("2d");
    const ground = this.ground(width, height);
    pen.globalAlpha = 1;
    if (ground) pen.drawImage(ground, 0, 0);
    else {
      pen.fillStyle = "#dfe2e6";
      pen.fillRect(0, 0, width, height);
    }
    const zoom = width / wide;
    const [top, left, bottom, right] = state.image.extent.map((edge) => edge * zoom);
    if (this.filled) {
      pen.imageSmoothingEnabled = false;
      pen.globalAlpha = !ground ? 1 : this.name === "photograph" ? state.opacity : MAP_OPACITY;
      pen.drawImage(this.cells, left, top, right - left, bottom - top);
      pen.globalAlpha = 1;
    }
    if (!this.message) this.mark(pen, left, top, (right - left) / state.image.cols, (bottom - top) / state.image.rows, unit);
    this.canvas.dataset.drawn = String(Number(this.canvas.dataset.drawn || 0) + 1);
  }

  mark(pen, left, top, stepX, stepY, unit) {
    const { cols } = state.image;
    const place = (cell) => [left + ((cell % cols) + 0.5) * stepX, top + (Math.floor(cell / cols) + 0.5) * stepY];
    const strokes = state.pinned ? [["#ffffff", 5], ["#16191d", 2.4]] : [["#ffffff", 3.4], ["#16191d", 1.3]];
    for (const [color, thickness] of strokes) {
      pen.strokeStyle = color;
      pen.lineWidth = thickness * unit;
      pen.beginPath();
      const [x, y] = place(state.cell);
      pen.arc(x, y, 6.5 * unit, 0, 2 * Math.PI);
      if (state.pinned && state.under >= 0 && state.under !== state.cell) {
        const [atX, atY] = place(state.under);
        pen.moveTo(atX - 5 * unit, atY);
        pen.lineTo(atX + 5 * unit, atY);
        pen.moveTo(atX, atY - 5 * unit);
        pen.lineTo(atX, atY + 5 * unit);
      }
      pen.stroke();
    }
  }
}

const panels = {};
for (const figure of document.querySelectorAll("figure[data-panel]")) panels[figure.dataset.panel] = new Panel(figure);

function cellAt(canvas, event) {
  if (!state.image) return -1;
  const { size, extent, rows, cols } = state.image;
  const box = canvas.getBoundingClientRect();
  const y = ((event.clientY - box.top) / box.height) * size[0];
  const x = ((event.clientX - box.left) / box.width) * size[1];
  const row = Math.floor(((y - extent[0]) / (extent[2] - extent[0])) * rows);
  const col = Math.floor(((x - extent[1]) / (extent[3] - extent[1])) * cols);
  return row >= 0 && row < rows && col >= 0 && col < cols ? row * cols + col : -1;
}
