// The sliders: prediction, changes and figures at any strength of the offsets.

const strengths = () => [Number($("class-strength").value), Number($("feature-strength").value)];
let strengthAsked = false;

function showValues() {
  const [s, t] = strengths();
  $("class-strength-value").textContent = s.toFixed(2);
  $("feature-strength-value").textContent = t.toFixed(2);
  for (const button of document.querySelectorAll("button[data-strengths]")) {
    button.setAttribute("aria-pressed", String(button.dataset.strengths === `${s} ${t}`));
  }
}

function askStrengths() {
  showValues();
  if (strengthAsked || !state.features) return;
  strengthAsked = true;
  requestAnimationFrame(async () => {
    strengthAsked = false;
    const features = state.features;
    if (!features.terms && !(await prepared(features))) return;
    if (features === state.features) showStrengths();
  });
}

// The four terms, in portions between which the page stays alive; false where another image was chosen meanwhile.
function prepared(features) {
  if (state.preparing?.features !== features) {
    const work = features.computeTerms();
    const ready = new Promise((done, failed) => {
      const go = () => {
        if (features !== state.features) return done(false);
        let step;
        try {
          step = work.next();
        } catch (problem) {
          return failed(problem);
        }
        if (step.done) {
          $("progress").textContent = "";
          state.before = features.prediction(0, 0);
          return done(true);
        }
        $("progress").textContent = `Preparing this image: ${Math.round(100 * step.value)} %`;
        setTimeout(go);
      };
      go();
    });
    state.preparing = { features, ready };
  }
  return state.preparing.ready;
}

function showStrengths() {
  const started = performance.now();
  state.after = state.features.prediction(...strengths());
  showOutcome();
  document.dispatchEvent(new CustomEvent("strengths", { detail: { script: performance.now() - started } }));
}

const changeName = (kind) => (state.label ? changeNames[kind] : kind ? "changed" : "unchanged");

// Prediction, changes and figures from `before` and `after`.
function showOutcome() {
  const { label, before, after } = state;
  const kinds = (state.kinds = changeKinds(label, before, after));
  panels.prediction.kinds(after, classColors);
  panels.changes.kinds(kinds, changeColors);
  showUnder();
  panels.prediction.draw();
  panels.changes.draw();
  const counts = new Uint32Array(changeNames.length);
  let counted = 0;
  for (const kind of kinds) {
    if (kind === NO_VALUE) continue;
    counts[kind]++;
    counted++;
  }
  const legend = $("change-legend");
  legend.replaceChildren();
  changeNames.forEach((_, kind) => {
    if (!label && kind > 0 && kind < 4) return;
    chip(legend, Object.values(page.changes)[kind], `${changeName(kind)} ${counted ? percent(counts[kind] / counted) : "–"}`);
  });
  const [was, now] = [before, after].map((map) => label && segmentation(label, map, page.names.length));
  if (!now) {
    $("no-figures").textContent = label ? "No figures: every cell of the label is ignored." : "No figures: the record has no label.";
    $("no-figures").hidden = false;
    $("figures").hidden = true;
    return;
  }
  $("no-figures").hidden = true;
  $("figures").hidden = false;
  for (const name of ["miou", "accuracy"]) {
    $(`figure-${name}`).textContent = percent(now[name]);
    $(`figure-${name}-change`).textContent = page.offsets ? `${signed(100 * (now[name] - was[name]), 1)} points` : "";
  }
}

function chip(parent, color, text) {
  const one = made("span", "chip", parent);
  made("span", "swatch", one).style.background = color;
  made("span", "", one, text);
}
