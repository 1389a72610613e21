// Turns what was found into elements. Colour is never alone: bold, stripes and words for screen readers say the same.

const UNIT = 2.5; // standard deviations at which a stripe has its full colour

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The text, those of its tokens highlighted that its embedding says, case and leading space aside. */
export function textWithMarks(text, ids, tokenizer) {
  const said = new Set(ids.map((id) => tokenizer.folded(id)));
  const paragraph = element('p', 'read');
  paragraph.dir = 'auto';
  let done = 0;
  for (const { id, start, end } of tokenizer.encode(text)) {
    if (end <= done) continue; // several tokens can share one character
    const from = Math.max(start, done);
    const piece = text.slice(from, end);
    const space = piece.length - piece.trimStart().length;
    if (said.has(tokenizer.folded(id)) && piece.trim()) {
      paragraph.append(text.slice(done, from) + piece.slice(0, space), element('mark', '', piece.slice(space)));
    } else paragraph.append(text.slice(done, end));
    done = end;
  }
  paragraph.append(text.slice(done));
  return paragraph;
}

/** An embedding as stripes, one for each number. */
export function stripes(h) {
  const canvas = element('canvas', 'stripes');
  canvas.width = h.length;
  canvas.height = 1;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `The embedding: ${h.length} numbers as coloured stripes`);
  const context = canvas.getContext('2d');
  const picture = context.createImageData(h.length, 1);
  const spread = Math.sqrt(h.reduce((sum, value) => sum + value * value, 0) / h.length) || 1;
  h.forEach((value, i) => {
    const strength = Math.min(1, Math.abs(value) / (UNIT * spread));
    const [r, g, b] = value < 0 ? [33, 102, 190] : [214, 72, 54];
    picture.data.set([r, g, b, Math.round(255 * Math.sqrt(strength))], 4 * i);
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The best tokens as bars, as far as they lie above the last of those given. */
export function bars(text, ids, scores, shown, tokenizer) {
  const kinds = kindsOf(text, tokenizer);
  const floor = scores.at(-1);
  const longest = Math.max(scores[0] - floor, 1e-9);
  const list = element('ol', 'tokens');
  ids.slice(0, shown).forEach((id, i) => {
    const kind = kinds(id);
    const words = { own: 'in the text', begins: 'begins a word of the text', neither: 'not in the text' }[kind];
    const line = row(tokenizer.readable(id), (scores[i] - floor) / longest, scores[i].toFixed(1), words);
    line.classList.add(kind);
    Object.assign(line.dataset, { id, score: scores[i] });
    list.append(line);
  });
  return list;
}

/** Say of a token whether it is in the text, begins one of its words, or neither. */
function kindsOf(text, tokenizer) {
  const own = new Set(tokenizer.encode(text).map(({ id }) => tokenizer.folded(id)));
  const words = text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
  return (id) => {
    const folded = tokenizer.folded(id);
    if (own.has(folded)) return 'own';
    return folded.length >= 3 && words.some((word) => word.startsWith(folded)) ? 'begins' : 'neither';
  };
}

/** The cosine of two embeddings, and the tokens that make it. */
export function shares({ cosine, closer, apart }, tokenizer) {
  const head = element('p', 'cosine');
  const number = element('strong', '', signed(cosine, 2));
  number.dataset.cosine = cosine;
  head.append(number, element('span', '', 'is the cosine of the two embeddings. It is a sum over all 49,152 tokens; these move it most, in thousandths.'));
  const longest = Math.max(Math.abs(closer[0].part), Math.abs(apart[0].part), 1e-12);
  const split = element('div', 'split');
  for (const [kind, title, ends] of [['closer', 'They bring the two together', closer], ['apart', 'They hold them apart', apart]]) {
    const section = element('section', kind);
    const list = element('ol', 'tokens');
    for (const { id, part } of ends) {
      const line = row(tokenizer.readable(id), Math.abs(part) / longest, signed(1000 * part, 2), '');
      Object.assign(line.dataset, { id, part });
      list.append(line);
    }
    section.append(element('h3', '', title), list);
    split.append(section);
  }
  return [element('h2', '', 'Why are they close, or not?'), head, split];
}

function row(token, share, score, words) {
  const line = element('li');
  const name = element('span', 'token');
  const space = token.match(/^▁*/u)[0];
  name.append(element('i', '', space), token.slice(space.length));
  const place = element('span');
  const bar = element('div', 'bar');
  bar.style.width = `${Math.max(1, 100 * share)}%`;
  place.append(bar);
  line.append(name, place, element('span', 'score', score));
  if (words) line.append(element('span', 'unseen', words));
  return line;
}

const signed = (number, digits) => number.toFixed(digits).replace('-', '−');
