// Byte-level BPE: text to token ids, and ids to something readable. The same ids as the course's Python gets.

const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const CONTROL = 3; // the kind of a token that stands for no text
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const encoder = new TextEncoder();

/** GPT-2's alphabet: for every byte a character that can be printed. */
function byteAlphabet() {
  const printable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let shifted = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : shifted++));
}

const ALPHABET = byteAlphabet();
const BYTES = new Map(ALPHABET.map((letter, byte) => [letter, byte]));

export class Tokenizer {
  constructor(settings) {
    this.tokens = settings['tokenizer.ggml.tokens'];
    this.ids = new Map(this.tokens.map((token, id) => [token, id]));
    this.ranks = new Map(settings['tokenizer.ggml.merges'].map((merge, rank) => [merge, rank]));
    this.control = new Set();
    settings['tokenizer.ggml.token_type'].forEach((kind, id) => kind === CONTROL && this.control.add(id));
    const names = [...this.control].map((id) => this.tokens[id].replace(/[|\\{}()[\]^$+*?.]/g, '\\$&'));
    this.controls = new RegExp(`(${names.sort((a, b) => b.length - a.length).join('|')})`, 'u');
    this.known = new Map();
  }

  /** Return a text's tokens: [{id, start, end}], places in UTF-16 units. */
  encode(text) {
    const found = [];
    let place = 0;
    for (const part of text.split(this.controls)) {
      const id = this.ids.get(part);
      if (id !== undefined && this.control.has(id)) found.push({ id, start: place, end: place + part.length });
      else for (const piece of part.matchAll(PIECES)) found.push(...this.encodePiece(piece[0], place + piece.index));
      place += part.length;
    }
    return found;
  }

  encodePiece(piece, start) {
    const ends = []; // where each byte's character ends: a token may begin in the middle of one
    let unit = 0;
    for (const character of piece) {
      unit += character.length;
      for (let i = encoder.encode(character).length; i > 0; i--) ends.push(unit);
    }
    let byte = 0;
    let from = 0;
    return this.merge(piece).map((token) => {
      byte += token.length; // one letter of the alphabet is one byte
      const found = { id: this.ids.get(token), start: start + from, end: start + ends[byte - 1] };
      from = ends[byte - 1];
      return found;
    });
  }

  /** Join the letters of a piece, the pair that was learnt first before all others. */
  merge(piece) {
    if (this.known.has(piece)) return this.known.get(piece);
    let parts = Array.from(encoder.encode(piece), (byte) => ALPHABET[byte]);
    for (;;) {
      let best = Infinity;
      let at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) break;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
    this.known.set(piece, parts);
    return parts;
  }

  /** Return a token as people read it: ▁ for a space, what cannot be seen escaped, parts of characters as bytes. */
  readable(id) {
    const stored = this.tokens[id];
    if (this.control.has(id)) return stored;
    const bytes = Uint8Array.from(stored, (letter) => BYTES.get(letter));
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
    if (text.includes('\ufffd')) return [...bytes].map((b) => `<${hex(b, 2).toUpperCase()}>`).join('');
    return text.replaceAll(' ', '▁').replace(UNSEEN, escapeOf);
  }

  /** Return what tokens have in common that differ in case or leading space only. */
  folded(id) {
    const token = this.readable(id);
    return token.replace(/^▁+/u, '').toLowerCase() || token;
  }
}

const hex = (number, digits) => number.toString(16).padStart(digits, '0');

function escapeOf(character) {
  const short = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }[character];
  const code = character.codePointAt(0);
  return short ?? (code < 256 ? `\\x${hex(code, 2)}` : code < 65536 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`);
}
