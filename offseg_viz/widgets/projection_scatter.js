// The view of jupyter-scatter, given its points from `places` (stages x points x 2, float32), `codes` (uint16, a colour
// of the palette for every point) and `kinds` (bytes: size and opacity). A change of stage moves the points.

const MOVE_TIME = 900;

function buffer(view) {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}

async function scatterView(packed) {
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(unpacked).text();
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Points as x, y, colour and kind, one after the other.
function points(model) {
  const kinds = new Uint8Array(buffer(model.get("kinds")));
  const codes = new Uint16Array(buffer(model.get("codes")));
  const places = new Float32Array(buffer(model.get("places")));
  const first = 2 * kinds.length * model.get("stages").indexOf(model.get("stage"));
  const made = new Float32Array(4 * kinds.length);
  for (let i = 0; i < kinds.length; i++) {
    made[4 * i] = places[first + 2 * i];
    made[4 * i + 1] = places[first + 2 * i + 1];
    made[4 * i + 2] = codes[i];
    made[4 * i + 3] = kinds[i];
  }
  return made;
}

// The palette as jupyter-scatter wants it: red, green, blue and opacity from 0 to 1.
function palette(model) {
  const share = (color, at) => parseInt(color.slice(at, at + 2), 16) / 255;
  return model.get("palette").map((color) => [share(color, 1), share(color, 3), share(color, 5), 1]);
}

const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));

let loading = null; // jupyter-scatter's module, loaded as soon as the model is there, before it is shown

function load(model) {
  loading ??= scatterView(model.get("bundle"));
  return loading;
}

function initialize({ model }) {
  load(model);
}

async function render({ model, el }) {
  const inner = await load(model);
  const own = {
    points: () => {
      const made = points(model);
      return { view: new DataView(made.buffer), dtype: "float32", shape: [made.length / 4, 4] };
    },
    color: () => palette(model),
    color_selected: () => palette(model),
    color_hover: () => palette(model),
  };
  const given = {
    get: (name) => (name in own ? own[name]() : model.get(name)),
    set: model.set.bind(model),
    on: model.on.bind(model),
    off: model.off.bind(model),
    send: model.send.bind(model),
    save_changes: model.save_changes.bind(model),
  };
  let shown = model.get("stage");
  const close = await inner.render({ model: given, el });
  let closed = false;
  let changing = false;
  let changed = false;

  // jupyter-scatter leaves its plot at the element that holds the canvas, one frame after it rendered.
  const plot = () => [...el.querySelectorAll("div")].find((each) => each.api)?.api;

  async function begun() {
    while (!closed && !plot()?.get("isPointsDrawn")) await wait(20);
  }

  // Counts, at the canvas, what has been drawn to the end: for tests and measurements.
  async function count() {
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const canvas = el.querySelector("canvas");
    if (canvas) canvas.dataset.drawn = String(Number(canvas.dataset.drawn || 0) + 1);
  }

  async function draw() {
    const made = points(model);
    const stage = model.get("stage");
    const moves = stage !== shown;
    const colors = palette(model);
    const rows = Array.from({ length: made.length / 4 }, (_, i) => Array.from(made.subarray(4 * i, 4 * i + 4)));
    plot().set({ pointColor: colors, pointColorActive: colors, pointColorHover: colors });
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    await plot().draw(rows, {
      transition: moves && !calm,
      transitionDuration: MOVE_TIME,
      transitionEasing: "quadInOut",
      preventFilterReset: true,
      spatialIndex: moves ? undefined : plot().get("spatialIndex"),
    });
    shown = stage;
  }

  // One drawing at a time; of changes that come meanwhile the newest is drawn next.
  async function change() {
    changed = true;
    if (changing) return;
    changing = true;
    await begun();
    while (changed && !closed) {
      changed = false;
      try {
        await draw();
      } catch (problem) {
        if (closed || !problem.message.includes("not yet finished")) throw problem;
        changed = true; // the first drawing, which is not ours, is under way
        await wait(50);
      }
    }
    changing = false;
    if (!closed) await count();
  }

  // Class embeddings stay in sight whatever is selected: selected too, the first being drawn on top.
  const kinds = new Uint8Array(buffer(model.get("kinds")));
  const first = kinds.findIndex((kind) => kind > 0);
  const landmarks = first < 0 ? [] : Array.from({ length: kinds.length - first }, (_, i) => kinds.length - 1 - i);
  function keepLandmarks({ points: chosen }) {
    const own = landmarks.length ? chosen.filter((point) => point < first) : chosen;
    if (own.length) plot().select([...landmarks, ...own], { preventEvent: true });
    else plot().deselect();
  }

  // With the keyboard: Escape clears the selection.
  function key(event) {
    if (event.key !== "Escape" || !plot()) return;
    plot().deselect();
    event.preventDefault();
  }

  // With shift a drag draws a lasso, and JupyterLab would select cells with it.
  function press(event) {
    if (event.shiftKey) event.stopPropagation();
  }

  model.on("change:codes", change);
  model.on("change:stage", change);
  el.addEventListener("mousedown", press);
  el.addEventListener("keydown", key);
  begun().then(() => {
    if (closed) return;
    const canvas = el.querySelector("canvas");
    plot().subscribe("select", keepLandmarks);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", model.get("name"));
    count();
  });
  return () => {
    closed = true;
    model.off("change:codes", change);
    model.off("change:stage", change);
    el.removeEventListener("keydown", key);
    el.removeEventListener("mousedown", press);
    close();
  };
}

export default { initialize, render };
