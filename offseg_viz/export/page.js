// Choosing an image, and the start.

async function picture(address) {
  if (!address) return null;
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

// In lifted grey, so that the colours of a map over it stay those of its bar.
function greyed(image) {
  if (!image) return null;
  const canvas = offscreen(image.naturalWidth, image.naturalHeight);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    const light = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    data[i] = data[i + 1] = data[i + 2] = 255 * GREY_LIFT + (1 - GREY_LIFT) * light;
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

async function show(number) {
  state.number = number;
  const buttons = [...document.querySelectorAll("button[data-image]")];
  buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === number)));
  document.body.classList.add("busy");
  state.features = null; // the old image is let go of before the next is unpacked
  const image = JSON.parse($(`image-${number}`).textContent);
  const bytes = async (text) => (text ? new Uint8Array(await inflated(text)) : null);
  const [features, photograph, label, ...predictions] = await Promise.all([
    Features.read(image, page.names.length), picture(image.photograph), bytes(image.label), ...image.predictions.map(bytes),
  ]);
  if (number !== state.number) return; // a newer image is on its way
  diverging ||= new Uint32Array(await inflated(page.diverging));
  for (const name of ["codes", "metric", "lengths", "class_codes", "photograph"]) image[name] = null; // unpacked
  const cell = Math.floor(image.rows / 2) * image.cols + Math.floor(image.cols / 2);
  Object.assign(state, { image, features, photograph, label, predictions, cell, pinned: false, under: -1 });
  Object.assign(state, { grey: greyed(photograph), before: predictions[0], after: predictions.at(-1), preparing: null });
  Object.assign(maps, { cell: -1, initial: new Float32Array(features.pixels) });
  if (page.offsets) for (const name of ["aligned", "difference"]) maps[name] = new Float32Array(features.pixels);
  for (const panel of Object.values(panels)) panel.begin();
  const absent = "none: a per-pixel model learns no offsets";
  if (!page.offsets) for (const name of ["aligned", "difference", "changes"]) panels[name].say(absent);
  for (const choice of document.querySelectorAll("input[name=overlay]")) {
    choice.disabled = (choice.value === "label" && !label) || (choice.value === "aligned" && !page.offsets);
    choice.parentElement.title = choice.disabled ? (choice.value === "label" ? "the record has no label" : absent) : "";
    if (choice.disabled && choice.checked) document.querySelector("input[name=overlay][value=none]").click();
  }
  $("exactness").textContent = image.accuracy;
  $("no-photograph").hidden = Boolean(photograph);
  $("difference-low").textContent = `≤ −${image.difference_limit.toFixed(2)}`;
  $("difference-high").textContent = `≥ +${image.difference_limit.toFixed(2)}`;
  showLegend();
  showOverlay();
  announce();
  resetStrengths();
  showOutcome();
  showPixel();
  document.body.classList.remove("busy");
  document.body.dataset.shown = String(number);
}

function resetStrengths() {
  for (const id of ["class-strength", "feature-strength"]) $(id).value = page.offsets ? "1" : "0";
  $("progress").textContent = "";
  showValues(); // nothing is computed yet: the record's own predictions are there
}

function showOverlay() {
  const map = { label: state.label, initial: state.predictions[0], aligned: state.predictions[1] }[state.overlay];
  if (map) panels.photograph.kinds(map, classColors);
  else panels.photograph.clear();
  panels.photograph.draw();
}

function showLegend() {
  const counts = new Uint32Array(256);
  for (const map of [state.label, ...state.predictions]) map?.forEach((k) => counts[k]++);
  const present = [...counts.keys()].filter((k) => k < page.names.length && counts[k]);
  $("legend").replaceChildren();
  present.sort((a, b) => counts[b] - counts[a] || a - b);
  for (const k of present.slice(0, 40)) chip($("legend"), page.colors[k], page.names[k]);
  if (present.length > 40) made("span", "chip", $("legend"), `and ${present.length - 40} more`);
}

function complain(problem) {
  $("problem").textContent = `This page does not work here: ${problem?.message || problem}`;
  $("problem").hidden = false;
  document.body.classList.remove("busy");
}

window.addEventListener("unhandledrejection", (event) => complain(event.reason));
window.addEventListener("error", (event) => complain(event.error || event.message));
new ResizeObserver(() => { for (const panel of Object.values(panels)) panel.draw(); }).observe(document.querySelector("main"));
document.querySelectorAll("button[data-image]").forEach((button, number) => button.addEventListener("click", () => show(number)));
document.querySelectorAll("input[name=overlay]").forEach((choice) => choice.addEventListener("change", () => {
  state.overlay = choice.value;
  showOverlay();
}));
$("opacity").addEventListener("input", () => {
  state.opacity = Number($("opacity").value);
  panels.photograph.draw();
});
for (const id of ["class-strength", "feature-strength"]) $(id).addEventListener("input", askStrengths);
document.querySelectorAll("button[data-strengths]").forEach((button) => button.addEventListener("click", () => {
  [$("class-strength").value, $("feature-strength").value] = button.dataset.strengths.split(" ");
  askStrengths();
}));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented && state.pinned) release();
});
if (typeof DecompressionStream === "undefined") complain("it needs a browser of 2023 or later (DecompressionStream)");
else show(0);
