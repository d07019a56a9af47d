// One canvas: a photograph, a map of one byte a grid cell over it, and a marked cell. No network, no dependencies.
// Colours come from a 256 x 4 table (row 255 is "no value"); all arithmetic on the data happened in Python.

const NO_VALUE = 255;
const GREY_LIFT = 0.3;

function bytes(view) {
  return view && view.byteLength ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(0);
}

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

function offscreen(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// The photograph in lifted grey, so that the colours of a map over it stay those of its bar.
function greyed(bitmap) {
  const canvas = offscreen(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const [r, g, b] = pixels.data.subarray(i, i + 3);
    const light = 255 * GREY_LIFT + (1 - GREY_LIFT) * (0.299 * r + 0.587 * g + 0.114 * b);
    pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = light;
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = element("div", "offseg-map", el);
  const title = element("div", "offseg-map-title", root);
  const canvas = element("canvas", "offseg-map-canvas", root);
  const scale = element("div", "offseg-map-scale", root);
  const lowEnd = element("span", "", scale);
  const bar = element("span", "offseg-map-bar", scale);
  const highEnd = element("span", "", scale);
  const readout = element("output", "offseg-map-readout", root);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "map");

  let photograph = null; // decoded image
  let grey = null;
  let overlay = null; // canvas of one pixel a cell
  let pointed = null; // cell under the pointer
  let waiting = false;
  let closed = false;

  function number(value) {
    const [low, high] = get("limits");
    const size = Math.max(Math.abs(low), Math.abs(high));
    const digits = size > 0 ? Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size)))) : 0;
    return value.toFixed(digits);
  }

  function textOf([row, col]) {
    const [rows, cols] = get("shape");
    const cells = bytes(get("cells"));
    const place = `row ${row}, col ${col}`;
    if (cells.length !== rows * cols) return place;
    const value = cells[row * cols + col];
    const names = get("names");
    if (names.length) return `${place}: ${value === NO_VALUE ? get("empty_name") : names[value]}`;
    const [low, high] = get("limits");
    return `${place}: ${value === NO_VALUE ? "no value" : number(low + ((high - low) * value) / 254)}`;
  }

  function makeOverlay() {
    const [rows, cols] = get("shape");
    const cells = bytes(get("cells"));
    const table = bytes(get("table"));
    overlay = null;
    if (!rows || cells.length !== rows * cols || table.length !== 1024) return;
    overlay = offscreen(cols, rows);
    const pen = overlay.getContext("2d");
    const pixels = pen.createImageData(cols, rows);
    cells.forEach((value, i) => pixels.data.set(table.subarray(4 * value, 4 * value + 4), 4 * i));
    pen.putImageData(pixels, 0, 0);
  }

  function draw() {
    waiting = false;
    if (closed) return;
    const [height, width] = get("size");
    if (!height || !width) return;
    const shown = (canvas.clientWidth || 280) * (window.devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(shown));
    canvas.height = Math.max(1, Math.round((shown * height) / width));
    const zoom = canvas.width / width;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#e3e5e8";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const [top, left, bottom, right] = get("extent").map((edge) => edge * zoom);
    const below = overlay ? grey : photograph;
    if (below) pen.drawImage(below, 0, 0, canvas.width, canvas.height);
    if (overlay) {
      pen.globalAlpha = below ? get("opacity") : 1;
      pen.imageSmoothingEnabled = get("smooth");
      pen.drawImage(overlay, left, top, right - left, bottom - top);
      pen.globalAlpha = 1;
    }
    const [rows, cols] = get("shape");
    const chosen = get("selected");
    if (chosen.length === 2 && rows) {
      const stepY = (bottom - top) / rows;
      const stepX = (right - left) / cols;
      const unit = window.devicePixelRatio || 1;
      const x = left + (chosen[1] + 0.5) * stepX;
      const y = top + (chosen[0] + 0.5) * stepY;
      for (const [color, line] of [["#ffffff", 4], ["#16191d", 1.6]]) {
        pen.strokeStyle = color;
        pen.lineWidth = line * unit;
        pen.strokeRect(x - stepX / 2, y - stepY / 2, stepX, stepY);
        pen.beginPath();
        pen.arc(x, y, 8 * unit, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
    canvas.dataset.drawn = String(Number(canvas.dataset.drawn || 0) + 1);
  }

  function redraw() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  }

  function describe() {
    const chosen = get("selected");
    title.textContent = get("title");
    const measured = get("limits").length === 2 && !get("names").length;
    scale.style.visibility = measured ? "visible" : "hidden";
    if (measured) {
      const table = bytes(get("table"));
      const stops = [...Array(17).keys()].map((i) => {
        const at = 4 * Math.round((254 * i) / 16);
        return `rgb(${table[at]},${table[at + 1]},${table[at + 2]})`;
      });
      bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
      [lowEnd.textContent, highEnd.textContent] = get("limits").map(number);
    }
    const cell = pointed || (chosen.length === 2 ? chosen : null);
    readout.textContent = get("message") || (cell ? textOf(cell) : "");
    const state = chosen.length === 2 ? `selected ${textOf(chosen)}` : "no cell selected";
    canvas.setAttribute("aria-label", `${get("title")}. ${get("message")} ${state}. Arrow keys move, Escape clears.`);
  }

  async function decode() {
    const wanted = get("image");
    if (!wanted || !wanted.byteLength) {
      photograph = grey = null;
      return redraw();
    }
    const bitmap = await createImageBitmap(new Blob([bytes(wanted)]));
    if (wanted !== get("image")) return; // a newer photograph is on its way
    photograph = bitmap;
    grey = greyed(bitmap);
    redraw();
  }

  function cellAt(event) {
    const box = canvas.getBoundingClientRect();
    const [height, width] = get("size");
    const y = ((event.clientY - box.top) / box.height) * height;
    const x = ((event.clientX - box.left) / box.width) * width;
    const [top, left, bottom, right] = get("extent");
    const [rows, cols] = get("shape");
    const row = Math.floor(((y - top) / (bottom - top)) * rows);
    const col = Math.floor(((x - left) / (right - left)) * cols);
    return row >= 0 && row < rows && col >= 0 && col < cols ? [row, col] : null;
  }

  function select(cell) {
    pointed = null;
    model.set("selected", cell);
    model.save_changes();
  }

  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  canvas.addEventListener("click", (event) => {
    const cell = cellAt(event);
    canvas.focus({ preventScroll: true });
    if (cell) select(cell);
  });
  canvas.addEventListener("pointermove", (event) => {
    pointed = cellAt(event);
    describe();
  });
  canvas.addEventListener("pointerleave", () => {
    pointed = null;
    describe();
  });
  canvas.addEventListener("keydown", (event) => {
    const [rows, cols] = get("shape");
    const chosen = get("selected");
    if (event.key === "Escape") select([]);
    else if (event.key in moves && rows) {
      const far = event.shiftKey ? 5 : 1;
      const [row, col] = chosen.length === 2 ? chosen : [Math.floor(rows / 2), Math.floor(cols / 2)];
      const [down, across] = chosen.length === 2 ? moves[event.key] : [0, 0];
      const within = (value, count) => Math.min(count - 1, Math.max(0, value));
      select([within(row + far * down, rows), within(col + far * across, cols)]);
    } else return;
    event.preventDefault(); // or JupyterLab takes the key for its cells, and the page scrolls
  });

  const listeners = {
    "change:image": decode,
    "change:cells change:table change:shape": () => { makeOverlay(); describe(); redraw(); },
    "change:size change:extent change:opacity change:smooth": redraw,
    "change:selected": () => { describe(); redraw(); },
    "change:title change:limits change:names change:empty_name change:message": describe,
  };
  for (const [names, listener] of Object.entries(listeners)) for (const name of names.split(" ")) model.on(name, listener);
  const resized = new ResizeObserver(redraw);
  resized.observe(canvas);
  makeOverlay();
  describe();
  decode();
  redraw();

  return () => {
    closed = true;
    resized.disconnect();
    for (const [names, listener] of Object.entries(listeners)) for (const name of names.split(" ")) model.off(name, listener);
  };
}

export default { render };
