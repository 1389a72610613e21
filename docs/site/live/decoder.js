// A worker that holds the decoder layer E_g, 49,152 × 576, as the GGUF file has it, and answers questions about it.

import { Q8_0, multiply, parseHead, unpackQ8 } from './gguf.js';

let matrix; // E_g
let root; // (E_gᵀE_g)^(−1/2), d × d: E_g times it is a tight frame, which keeps all dot products

const answers = {
  async load({ backbone, frame }) {
    const { tensors } = parseHead(await backbone.slice(0, 4_000_000).arrayBuffer());
    const { shape, kind, start } = tensors['token_embd.weight'];
    const [columns, rows] = shape;
    if (kind !== Q8_0) throw new Error('the decoder layer is not stored as Q8_0');
    const bytes = (rows * columns * 34) / 32;
    matrix = unpackQ8(await backbone.slice(start, start + bytes).arrayBuffer(), rows, columns);
    root = frame;
    return { rows, columns };
  },

  /** The k best tokens of an embedding. */
  top({ h, k }) {
    const scores = multiply(matrix, h);
    const ids = best(scores, k);
    return { ids, scores: ids.map((id) => scores[id]) };
  },

  /** Split the cosine of two embeddings over tokens, and return the k that add most and the k that take most away. */
  shared({ a, b, k }) {
    const [left, right] = [a, b].map((h) => multiply(matrix, times(root, unit(h))));
    const parts = left.map((value, id) => value * right[id]);
    const cosine = parts.reduce((sum, part) => sum + part, 0);
    const ends = { closer: best(parts, k), apart: best(parts.map((part) => -part), k) };
    const told = (ids) => ids.map((id) => ({ id, part: parts[id] }));
    return { cosine, closer: told(ends.closer), apart: told(ends.apart) };
  },
};

function unit(h) {
  const length = Math.hypot(...h);
  return h.map((value) => value / length);
}

function times(square, vector) {
  const d = vector.length;
  const product = new Float32Array(d);
  for (let row = 0; row < d; row++) {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += square[row * d + i] * vector[i];
    product[row] = sum;
  }
  return product;
}

/** The places of the k largest numbers, largest first; of two that are equal the earlier. */
function best(numbers, k) {
  const found = [];
  for (let i = 0; i < numbers.length; i++) {
    if (found.length === k && numbers[i] <= numbers[found[k - 1]]) continue;
    let at = found.length;
    while (at > 0 && numbers[found[at - 1]] < numbers[i]) at--;
    found.splice(at, 0, i);
    if (found.length > k) found.pop();
  }
  return found;
}

onmessage = async ({ data: { question, given, number } }) => {
  try {
    postMessage({ number, answer: await answers[question](given) });
  } catch (error) {
    postMessage({ number, error: String(error?.message ?? error) });
  }
};
