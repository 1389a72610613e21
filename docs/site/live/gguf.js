// Reads what the page needs of a GGUF file: its settings, its vocabulary, and where its tensors lie.

const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }; // bytes of a value, by its kind
const STRING = 8;
const ARRAY = 9;
export const Q8_0 = 8;
export const BLOCK = 32; // numbers that share a scale

class Cursor {
  constructor(buffer) {
    this.view = new DataView(buffer);
    this.place = 0;
    this.decoder = new TextDecoder();
  }

  u32() {
    this.place += 4;
    return this.view.getUint32(this.place - 4, true);
  }

  u64() {
    this.place += 8;
    return Number(this.view.getBigUint64(this.place - 8, true));
  }

  string() {
    const length = this.u64();
    this.place += length;
    return this.decoder.decode(new Uint8Array(this.view.buffer, this.place - length, length));
  }

  value(kind) {
    if (kind === STRING) return this.string();
    if (kind === ARRAY) {
      const inner = this.u32();
      return Array.from({ length: this.u64() }, () => this.value(inner));
    }
    const at = this.place;
    this.place += SIZES[kind];
    if (kind === 4) return this.view.getUint32(at, true);
    if (kind === 5) return this.view.getInt32(at, true);
    if (kind === 6) return this.view.getFloat32(at, true);
    return null; // of the other kinds the page reads none
  }
}

/** Parse the head of a GGUF file, an ArrayBuffer: {settings, tensors: {name: {shape, kind, start}}}. */
export function parseHead(buffer) {
  const cursor = new Cursor(buffer);
  if (cursor.u32() !== 0x46554747) throw new Error('the model is not a GGUF file');
  cursor.u32(); // version
  const tensorCount = cursor.u64();
  const settingCount = cursor.u64();
  const settings = {};
  for (let i = 0; i < settingCount; i++) settings[cursor.string()] = cursor.value(cursor.u32());
  const tensors = {};
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.string();
    const shape = Array.from({ length: cursor.u32() }, () => cursor.u64());
    tensors[name] = { shape, kind: cursor.u32(), start: cursor.u64() };
  }
  const alignment = settings['general.alignment'] ?? 32;
  const begin = Math.ceil(cursor.place / alignment) * alignment;
  for (const tensor of Object.values(tensors)) tensor.start += begin;
  return { settings, tensors };
}

/** Turn the bits of a 16-bit float into a number. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}

/** Split a Q8_0 matrix into its whole numbers and its scales, one for every 32 of them: (rows, columns) each. */
export function unpackQ8(buffer, rows, columns) {
  const blocks = (rows * columns) / BLOCK;
  const numbers = new Int8Array(rows * columns);
  const scales = new Float32Array(blocks);
  const view = new DataView(buffer);
  const bytes = new Int8Array(buffer);
  for (let block = 0, at = 0; block < blocks; block++, at += 2 + BLOCK) {
    scales[block] = half(view.getUint16(at, true));
    numbers.set(bytes.subarray(at + 2, at + 2 + BLOCK), block * BLOCK);
  }
  return { numbers, scales, rows, columns };
}

/** Multiply a Q8_0 matrix by a vector: one score for each row. */
export function multiply({ numbers, scales, rows, columns }, vector) {
  const scores = new Float32Array(rows);
  const perRow = columns / BLOCK;
  for (let row = 0, at = 0, block = 0; row < rows; row++) {
    let score = 0;
    for (let b = 0; b < perRow; b++, block++) {
      let sum = 0;
      const from = b * BLOCK;
      for (let i = 0; i < BLOCK; i++) sum += numbers[at + i] * vector[from + i];
      at += BLOCK;
      score += sum * scales[block];
    }
    scores[row] = score;
  }
  return scores;
}
