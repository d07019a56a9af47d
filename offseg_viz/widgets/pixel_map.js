// One canvas: a photograph, a map of one byte a grid cell over it, contours, lit cells, arrows and a marked cell.
// No network, no dependencies. Colours come from a 256 x 4 table (row 255 is "no value").

const NO_VALUE = 255;
const GREY_LIFT = 0.3;
const MOST_ZOOM = 32;

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

// Line segments [x, y, x, y] in cells where the bytes cross `level`, between the centres of cells (marching squares).
function contour(cells, rows, cols, level) {
  const lines = [];
  for (let row = 0; row + 1 < rows; row++) {
    for (let col = 0; col + 1 < cols; col++) {
      const at = row * cols + col;
      const corners = [cells[at], cells[at + 1], cells[at + cols + 1], cells[at + cols]]; // clockwise from top left
      if (corners.includes(NO_VALUE)) continue;
      const crossed = [];
      for (let side = 0; side < 4; side++) {
        const [a, b] = [corners[side], corners[(side + 1) % 4]];
        if (a < level === b < level) continue;
        const t = (level - a) / (b - a);
        const [x, y] = [[t, 0], [1, t], [1 - t, 1], [0, 1 - t]][side];
        crossed.push([col + 0.5 + x, row + 0.5 + y]);
      }
      for (let i = 0; i + 1 < crossed.length; i += 2) lines.push([...crossed[i], ...crossed[i + 1]]);
    }
  }
  return lines;
}

// One byte a cell, 1 where the centre of the cell lies in the polygon [[x, y], ...] in cells (even-odd rule).
function inside(polygon, rows, cols) {
  const found = new Uint8Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const y = row + 0.5;
    const crossings = [];
    polygon.forEach(([x1, y1], i) => {
      const [x2, y2] = polygon[(i + 1) % polygon.length];
      if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const last = Math.min(cols - 1, Math.ceil(crossings[i + 1] - 0.5) - 1);
      for (let col = Math.max(0, Math.ceil(crossings[i] - 0.5)); col <= last; col++) found[row * cols + col] = 1;
    }
  }
  return found;
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
  let lines = []; // contours, in cells
  let lit = null; // canvas that darkens the cells that are not lit
  let pointed = null; // cell under the pointer
  let drag = null; // {from: event, part, path, far} while a button is down
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
    const colored = rows && cells.length === 3 * rows * cols; // red, green and blue of every cell
    if (!rows || !(colored || (cells.length === rows * cols && table.length === 1024))) return;
    overlay = offscreen(cols, rows);
    const pen = overlay.getContext("2d");
    const pixels = pen.createImageData(cols, rows);
    const packed = new Uint32Array(pixels.data.buffer); // four bytes at a time
    const colors = colored ? null : new Uint32Array(table.slice().buffer);
    for (let i = 0; i < packed.length; i++) {
      if (colored) pixels.data.set([cells[3 * i], cells[3 * i + 1], cells[3 * i + 2], 255], 4 * i);
      else packed[i] = colors[cells[i]];
    }
    pen.putImageData(pixels, 0, 0);
  }

  function makeContours() {
    const [rows, cols] = get("shape");
    const cells = bytes(get("cells"));
    const [low, high] = get("limits");
    const shown = cells.length === rows * cols && high > low ? get("levels") : [];
    lines = shown.flatMap((value) => contour(cells, rows, cols, ((value - low) / (high - low)) * 254));
  }

  function makeLit() {
    const [rows, cols] = get("shape");
    const cells = bytes(get("lit"));
    lit = null;
    if (!rows || cells.length !== rows * cols) return;
    lit = offscreen(cols, rows);
    const pen = lit.getContext("2d");
    const pixels = pen.createImageData(cols, rows);
    cells.forEach((value, i) => { pixels.data[4 * i + 3] = value ? 0 : 165; });
    pen.putImageData(pixels, 0, 0);
  }

  // What is shown of the picture: top, left, bottom, right in its pixels.
  function part() {
    const shown = get("part");
    return shown.length === 4 ? shown : [0, 0, ...get("size")];
  }

  function draw() {
    waiting = false;
    if (closed) return;
    const [height, width] = get("size");
    if (!height || !width) return;
    const [partTop, partLeft, partBottom, partRight] = part();
    const unit = window.devicePixelRatio || 1;
    const shown = (canvas.clientWidth || 280) * unit;
    canvas.width = Math.max(1, Math.round(shown));
    canvas.height = Math.max(1, Math.round((shown * height) / width));
    const zoom = canvas.width / (partRight - partLeft);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#e3e5e8";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.translate(-partLeft * zoom, -partTop * zoom);
    const [top, left, bottom, right] = get("extent").map((edge) => edge * zoom);
    const nothing = !overlay && get("message"); // which says why: a pale picture
    if (photograph && (overlay || nothing)) grey ??= greyed(photograph);
    const below = overlay || nothing ? grey : photograph;
    pen.globalAlpha = nothing ? 0.35 : 1;
    if (below) pen.drawImage(below, 0, 0, width * zoom, height * zoom);
    pen.globalAlpha = 1;
    if (overlay) {
      pen.globalAlpha = below ? get("opacity") : 1;
      pen.imageSmoothingEnabled = get("smooth");
      pen.drawImage(overlay, left, top, right - left, bottom - top);
      pen.globalAlpha = 1;
    }
    pen.imageSmoothingEnabled = false;
    if (lit) pen.drawImage(lit, left, top, right - left, bottom - top);
    const [rows, cols] = get("shape");
    const stepY = (bottom - top) / rows;
    const stepX = (right - left) / cols;
    function stroke(path, ...styles) {
      for (const [color, thickness] of styles) {
        pen.strokeStyle = color;
        pen.lineWidth = thickness * unit;
        pen.beginPath();
        path();
        pen.stroke();
      }
    }
    const outlined = [["#ffffff", 4], ["#16191d", 1.6]];
    if (lines.length) {
      stroke(() => lines.forEach(([x1, y1, x2, y2]) => {
        pen.moveTo(left + x1 * stepX, top + y1 * stepY);
        pen.lineTo(left + x2 * stepX, top + y2 * stepY);
      }), ["#ffffffb0", 2.4], ["#16191d", 1]);
    }
    for (const arrow of get("arrows")) {
      const [x1, y1, x2, y2] = arrow.map((value) => value * zoom);
      const [length, angle] = [Math.hypot(x2 - x1, y2 - y1), Math.atan2(y2 - y1, x2 - x1)];
      const barb = Math.min(9 * unit, length / 2);
      stroke(() => {
        pen.arc(x1, y1, 3 * unit, 0, 2 * Math.PI);
        pen.moveTo(x1, y1);
        pen.lineTo(x2, y2);
        for (const turn of [-0.5, 0.5]) {
          pen.moveTo(x2, y2);
          pen.lineTo(x2 - barb * Math.cos(angle + turn), y2 - barb * Math.sin(angle + turn));
        }
      }, ...outlined);
    }
    const chosen = get("selected");
    if (chosen.length === 2 && rows) {
      const x = left + (chosen[1] + 0.5) * stepX;
      const y = top + (chosen[0] + 0.5) * stepY;
      stroke(() => {
        pen.rect(x - stepX / 2, y - stepY / 2, stepX, stepY);
        pen.moveTo(x + 8 * unit, y);
        pen.arc(x, y, 8 * unit, 0, 2 * Math.PI);
      }, ...outlined);
    }
    if (drag?.path?.length > 1) {
      stroke(() => drag.path.forEach(([x, y]) => pen.lineTo(left + x * stepX, top + y * stepY)), ...outlined);
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
    title.textContent = title.title = get("title"); // the whole of it where it is cut
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
    canvas.setAttribute("aria-label", `${get("title")}. ${get("message")} ${state}. Arrow keys move, plus and minus zoom, Escape clears.`);
  }

  // The pointer says that dragging draws now, and does not move the picture.
  function showDrawing() {
    canvas.dataset.drawing = get("drawing");
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
    grey = null; // made when a map lies over it: reading pixels back may wait for a busy graphics unit
    redraw();
  }

  // Where an event lies: [x, y] in pixels of the picture, and in cells.
  function placeOf(event) {
    const box = canvas.getBoundingClientRect();
    const [top, left, bottom, right] = part();
    const y = top + ((event.clientY - box.top) / box.height) * (bottom - top);
    const x = left + ((event.clientX - box.left) / box.width) * (right - left);
    return [x, y];
  }

  function cellsOf([x, y]) {
    const [top, left, bottom, right] = get("extent");
    const [rows, cols] = get("shape");
    return [((x - left) / (right - left)) * cols, ((y - top) / (bottom - top)) * rows];
  }

  function cellAt(event) {
    const [rows, cols] = get("shape");
    const [col, row] = cellsOf(placeOf(event)).map(Math.floor);
    return row >= 0 && row < rows && col >= 0 && col < cols ? [row, col] : null;
  }

  function change(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes(); // while the kernel is busy changes pile up into one: the newest wins
  }

  function select(cell) {
    pointed = null;
    change({ selected: cell });
  }

  function hover(cell) {
    if (get("hover") && String(cell || []) !== String(get("hovered"))) change({ hovered: cell || [] });
  }

  // Shows the part [top, left, bottom, right], moved back into the picture; all of it where the part is not smaller.
  function show([top, left, bottom, right]) {
    const [height, width] = get("size");
    if (right - left >= width) return change({ part: [] });
    const down = Math.min(height - bottom, Math.max(-top, 0));
    const across = Math.min(width - right, Math.max(-left, 0));
    change({ part: [top + down, left + across, bottom + down, right + across] });
  }

  function zoomBy(factor, [x, y]) {
    const [top, left, bottom, right] = part();
    const [height, width] = get("size");
    const wide = Math.max(width / MOST_ZOOM, (right - left) / factor);
    const high = (wide * height) / width;
    const [across, down] = [(x - left) / (right - left), (y - top) / (bottom - top)];
    show([y - down * high, x - across * wide, y - down * high + high, x - across * wide + wide]);
  }

  const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { from: event, part: part(), path: get("drawing") ? [cellsOf(placeOf(event))] : null, far: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    pointed = cellAt(event);
    describe();
    if (!drag) return hover(pointed);
    drag.far ||= Math.hypot(event.clientX - drag.from.clientX, event.clientY - drag.from.clientY) > 4;
    if (drag.path) {
      drag.path.push(cellsOf(placeOf(event)));
      redraw();
    } else if (get("part").length && drag.far) {
      const box = canvas.getBoundingClientRect();
      const [top, left, bottom, right] = drag.part;
      const down = ((drag.from.clientY - event.clientY) / box.height) * (bottom - top);
      const across = ((drag.from.clientX - event.clientX) / box.width) * (right - left);
      show([top + down, left + across, bottom + down, right + across]);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done) return;
    if (done.path && done.far) change({ region: new DataView(inside(done.path, ...get("shape")).buffer) });
    else if (!done.far && cellAt(event)) select(cellAt(event));
    redraw();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; redraw(); });
  canvas.addEventListener("pointerleave", () => {
    pointed = null;
    describe();
    hover(null);
  });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !el.getRootNode().activeElement?.isSameNode(canvas)) return; // scroll on
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.25 : 0.8, placeOf(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const [rows, cols] = get("shape");
    const chosen = get("selected");
    const [top, left, bottom, right] = part();
    if (event.key === "Escape") {
      if (drag) drag = null;
      else if (bytes(get("region")).length) change({ region: new DataView(new ArrayBuffer(0)) });
      else select([]);
    } else if (event.key === "0") show([0, 0, ...get("size")]);
    else if (event.key in zooms) zoomBy(zooms[event.key], [(left + right) / 2, (top + bottom) / 2]);
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
    "change:cells change:table change:shape": () => { makeOverlay(); makeContours(); describe(); redraw(); },
    "change:levels change:limits": () => { makeContours(); redraw(); },
    "change:lit change:shape": () => { makeLit(); redraw(); },
    "change:size change:extent change:opacity change:smooth change:part change:arrows change:message": redraw,
    "change:selected": () => { describe(); redraw(); },
    "change:drawing": showDrawing,
    "change:title change:limits change:names change:empty_name change:message": describe,
  };
  for (const [names, listener] of Object.entries(listeners)) for (const name of names.split(" ")) model.on(name, listener);
  const resized = new ResizeObserver(redraw);
  resized.observe(canvas);
  makeOverlay();
  makeContours();
  makeLit();
  describe();
  showDrawing();
  decode();
  redraw();

  return () => {
    closed = true;
    resized.disconnect();
    for (const [names, listener] of Object.entries(listeners)) for (const name of names.split(" ")) model.off(name, listener);
  };
}

export default { render };
