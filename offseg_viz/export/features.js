// The numbers of an exported page: compressed features unpacked, cosines, scores at any strength of the offsets.
// No DOM in here. Codes lie pixel by pixel in Float32Arrays, padded to a multiple of four components.

const NO_VALUE = 255;

async function inflated(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const floats = async (text) => new Float32Array(await inflated(text));

// Sum of products of a row of `matrix` from `at` on with `vector`; `count` is a multiple of four.
function dot(matrix, at, vector, count) {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < count; i += 4, at += 4) {
    a += matrix[at] * vector[i];
    b += matrix[at + 1] * vector[i + 1];
    c += matrix[at + 2] * vector[i + 2];
    d += matrix[at + 3] * vector[i + 3];
  }
  return a + b + c + d;
}

class Features {
  // Everything of one image; `stages` is 2, or 1 for a per-pixel model.
  static async read(image, classes) {
    const made = new Features();
    const [low, high, metric, lengths, classCodes] = await Promise.all(
      [image.codes[0], image.codes[1], image.metric, image.lengths, image.class_codes].map((text) => text && inflated(text)),
    );
    made.pixels = image.rows * image.cols;
    made.stages = image.predictions.length;
    made.classes = classes;
    made.width = Math.ceil(image.components / 4) * 4;
    made.eps = image.eps;
    made.codes = made.unpackedCodes(new Int8Array(low), high ? new Int8Array(high) : null, image.components);
    made.metric = made.unpackedMetric(new Float32Array(metric), image.components);
    const scale = await floats(image.length_scale);
    const whole = new Uint16Array(lengths);
    made.lengths = [...Array(made.stages).keys()].map((stage) => {
      const part = whole.subarray(stage * made.pixels, (stage + 1) * made.pixels);
      return Float32Array.from(part, (value) => value * scale[stage]);
    });
    made.parts = made.unpackedClasses(new Int16Array(classCodes), await floats(image.class_scale), image.components);
    made.classLengths = await floats(image.class_length);
    made.gain = image.gain && (await floats(image.gain));
    made.bias = image.bias ? await floats(image.bias) : new Float32Array(classes);
    made.vector = new Float32Array(made.width);
    made.terms = null;
    return made;
  }

  // Low and high bytes, channel by channel, to codes pixel by pixel; the second stage comes as differences.
  unpackedCodes(low, high, components) {
    const { pixels, stages, width } = this;
    const codes = [...Array(stages).keys()].map(() => new Float32Array(pixels * width));
    const spare = high ? 16 : 24; // bits by which sums are shifted, so that they wrap round as they were packed
    const number = (at) => ((low[at] + (high ? 256 * high[at] : 0)) << spare) >> spare;
    for (let channel = 0; channel < components; channel++) {
      const [one, two] = [channel * pixels, (components + channel) * pixels];
      for (let p = 0, at = channel; p < pixels; p++, at += width) {
        codes[0][at] = number(one + p);
        if (stages === 2) codes[1][at] = ((codes[0][at] + number(two + p)) << spare) >> spare;
      }
    }
    return codes;
  }

  unpackedMetric(triangle, components) {
    const metric = new Float32Array(this.width * this.width);
    let next = 0;
    for (let row = 0; row < components; row++) {
      for (let col = row; col < components; col++) {
        metric[row * this.width + col] = metric[col * this.width + row] = triangle[next++];
      }
    }
    return metric;
  }

  unpackedClasses(codes, scale, components) {
    const { classes, width } = this;
    return [...Array(this.stages).keys()].map((part) => {
      const rows = new Float32Array(classes * width);
      for (let k = 0; k < classes; k++) {
        const row = part * classes + k;
        for (let c = 0; c < components; c++) rows[k * width + c] = codes[row * components + c] * scale[row];
      }
      return rows;
    });
  }

  // Cosine of the pixel at `cell` to every pixel into `result`; NaN for features of length zero.
  similarity(stage, cell, result) {
    const { pixels, width, vector } = this;
    const codes = this.codes[stage];
    const lengths = this.lengths[stage];
    const own = codes.subarray(cell * width, (cell + 1) * width);
    for (let c = 0; c < width; c++) vector[c] = dot(this.metric, c * width, own, width);
    const known = lengths[cell] > 0;
    for (let p = 0; p < pixels; p++) {
      const cosine = dot(codes, p * width, vector, width);
      result[p] = known && lengths[p] > 0 ? Math.min(1, Math.max(-1, cosine)) : NaN;
    }
    return result;
  }

  // Cosines of the pixel at `cell` to the class embeddings of a stage.
  classCosines(stage, cell) {
    const { classes, width } = this;
    const own = this.codes[stage].subarray(cell * width, (cell + 1) * width);
    const cosines = new Float32Array(classes);
    for (let k = 0; k < classes; k++) {
      let product = 0;
      for (let part = 0; part <= stage; part++) product += dot(this.parts[part], k * width, own, width);
      const length = this.classLengths[stage * classes + k];
      cosines[k] = length > 0 && this.lengths[stage][cell] > 0 ? Math.min(1, Math.max(-1, product / length)) : NaN;
    }
    return cosines;
  }

  // The offset of the pixel at `cell`: its length as a part of the feature's, and the angle it turns the feature by.
  offset(cell) {
    const { width, vector } = this;
    const [own, moved] = this.codes.map((codes) => codes.subarray(cell * width, (cell + 1) * width));
    for (let c = 0; c < width; c++) vector[c] = dot(this.metric, c * width, own, width);
    const cosine = Math.min(1, Math.max(-1, dot(moved, 0, vector, width)));
    const [before, after] = this.lengths.map((lengths) => lengths[cell]);
    const squared = before ** 2 + after ** 2 - 2 * before * after * cosine;
    return {
      relative: before > 0 ? Math.sqrt(Math.max(0, squared)) / before : NaN,
      angle: before > 0 && after > 0 ? (Math.acos(cosine) * 180) / Math.PI : NaN,
    };
  }

  // The four terms of the scores, pixel by pixel: E W, E dW, (E + dE) W, (E + dE) dW. Yields the share that is done.
  *computeTerms() {
    const { pixels, classes, width } = this;
    const [initial, aligned] = this.codes;
    const [embedding, offset] = this.parts;
    const terms = [...Array(4).keys()].map(() => new Float32Array(pixels * classes));
    let started = performance.now();
    for (let p = 0, to = 0; p < pixels; p++) {
      const from = p * width;
      const [short, long] = [this.lengths[0][p], this.lengths[1][p]];
      for (let k = 0; k < classes; k++, to++) {
        let [a, b, c, d] = [0, 0, 0, 0];
        for (let i = from, j = k * width, end = from + width; i < end; i++, j++) {
          a += initial[i] * embedding[j];
          b += initial[i] * offset[j];
          c += aligned[i] * embedding[j];
          d += aligned[i] * offset[j];
        }
        terms[0][to] = a * short;
        terms[1][to] = b * short;
        terms[2][to] = c * long;
        terms[3][to] = d * long;
      }
      if (p % 32 === 31 && performance.now() - started > 8) {
        yield p / pixels;
        started = performance.now();
      }
    }
    this.terms = terms;
  }

  // Class of the largest logit of (W + s dW)(E + t dE)^T behind the last layer: LayerNorm over classes, or the bias.
  prediction(s, t) {
    const { pixels, classes, gain, bias, eps } = this;
    const [one, two, three, four] = this.terms;
    const weights = [1 - t, s * (1 - t), t, s * t];
    const scores = new Float32Array(classes);
    const found = new Uint8Array(pixels);
    for (let p = 0, at = 0; p < pixels; p++) {
      let mean = 0;
      for (let k = 0; k < classes; k++, at++) {
        scores[k] = weights[0] * one[at] + weights[1] * two[at] + weights[2] * three[at] + weights[3] * four[at];
        mean += scores[k];
      }
      let scale = 1;
      if (gain) {
        mean /= classes;
        let variance = 0;
        for (let k = 0; k < classes; k++) variance += (scores[k] - mean) ** 2;
        scale = 1 / Math.sqrt(variance / classes + eps);
      }
      let best = 0;
      let largest = -Infinity;
      for (let k = 0; k < classes; k++) {
        const logit = gain ? (scores[k] - mean) * scale * gain[k] + bias[k] : scores[k] + bias[k];
        if (logit > largest) [largest, best] = [logit, k];
      }
      found[p] = best;
    }
    return found;
  }
}

// mIoU over the classes labelled in the image, and the share of labelled pixels that are right; null without any.
function segmentation(label, prediction, classes) {
  const [right, labelled, predicted] = [0, 1, 2].map(() => new Uint32Array(classes));
  label.forEach((own, p) => {
    if (own === NO_VALUE) return;
    labelled[own]++;
    predicted[prediction[p]]++;
    if (own === prediction[p]) right[own]++;
  });
  let [sum, present, hits, counted] = [0, 0, 0, 0];
  for (let k = 0; k < classes; k++) {
    if (!labelled[k]) continue;
    sum += right[k] / (labelled[k] + predicted[k] - right[k]);
    present++;
    hits += right[k];
    counted += labelled[k];
  }
  return present ? { miou: sum / present, accuracy: hits / counted } : null;
}

// 0 unchanged and right, 1 unchanged and wrong, 2 mended, 3 broken, 4 changed and wrong; without a label 0 or 4.
function changeKinds(label, before, after) {
  return after.map((now, p) => {
    if (!label) return now === before[p] ? 0 : 4;
    if (label[p] === NO_VALUE) return NO_VALUE;
    if (now === before[p]) return now === label[p] ? 0 : 1;
    if (now === label[p]) return 2;
    return before[p] === label[p] ? 3 : 4;
  });
}
