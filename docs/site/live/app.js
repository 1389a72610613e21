// The page itself: what is typed and chosen goes in, tokens come out. The address's fragment can carry all of it.

import { Decoder, Embedder, LONGEST } from './embedder.js';
import { parseHead } from './gguf.js';
import { Trouble, clearStore, fetchFile, fetchManifest } from './store.js';
import { Tokenizer } from './tokenizer.js';
import { bars, shares, stripes, textWithMarks } from './show.js';

const SHOWN = 12;
const SHARED = 8;
const REFERENCE = 100; // bars begin at the score of the token of this rank
const PAUSE = 500; // ms without a key before a text is read
const EXAMPLES = [
  { label: 'Parrots', text: 'What diseases are parrots prone to?' },
  { label: 'Interest rates', text: 'The central bank raised interest rates to curb inflation.' },
  { label: 'A violin', text: 'A violinist practised the concerto for six hours before the premiere.' },
  { label: 'Apples, liked and disliked', text: 'I like apples.', other: 'I dislike apples.' },
  { label: 'No word in common', text: 'The physician examined her patient.', other: 'A doctor looked at a sick man.' },
];
const $ = (id) => document.getElementById(id);
const form = $('form');
let page; // all that is loaded
let turn = 0; // of the newest reading: what is older is not shown
let timer;

// --- starting ------------------------------------------------------------------------------------------------------

async function start() {
  $('unstarted').remove();
  check();
  const manifest = await fetchManifest();
  $('template').textContent = manifest.template.replace('{text}', '…');
  const backbone = await fetchBackbone(manifest);
  $('loadingText').textContent = 'Starting the model …';
  const { settings } = parseHead(await backbone.slice(0, 4_000_000).arrayBuffer());
  const numbers = new Float32Array(await (await fetchFile(manifest, 'reading', () => {})).arrayBuffer());
  const d = settings['llama.embedding_length'];
  const tokenizer = new Tokenizer(settings);
  const decoder = new Decoder();
  page = {
    manifest,
    tokenizer,
    decoder,
    directions: {
      u1: numbers.slice(0, d).map((value) => value * manifest.amount),
      mean: numbers.slice(d, 2 * d).map((value) => -value),
    },
    raw: new Embedder(manifest, tokenizer, backbone, false),
    trained: new Embedder(manifest, tokenizer, backbone, true),
  };
  await decoder.ask('load', { backbone, frame: numbers.slice(2 * d) });
}

/** Refuse a browser that cannot run the model, in words. */
function check() {
  if (typeof WebAssembly !== 'object') {
    throw new Trouble('This browser has no WebAssembly, or it is switched off. The page needs it to run the model.');
  }
  try {
    new WebAssembly.Memory({ address: 'i64', initial: 1n });
  } catch {
    throw new Trouble(
      'This browser’s WebAssembly has no 64-bit memory, which the model’s engine needs. Chrome and Edge from version 133 ' +
        'on and Firefox from 134 on have it.',
    );
  }
}

async function fetchBackbone(manifest) {
  const total = manifest.files.backbone.size;
  let come = 0;
  let told = -1;
  $('loading').hidden = false;
  return fetchFile(manifest, 'backbone', (bytes) => {
    come += bytes;
    $('loadingBar').value = come / total;
    const tenth = Math.floor((10 * come) / total);
    if (tenth !== told) {
      told = tenth; // a screen reader hears every tenth
      $('loadingText').textContent = `Fetching the model: ${mega(come)} of ${mega(total)} MB`;
    }
  });
}

const mega = (bytes) => Math.round(bytes / 1e6);

// --- reading -------------------------------------------------------------------------------------------------------

function chosen() {
  const other = $('otherField').hidden ? '' : $('other').value.trim();
  return {
    text: $('text').value.trim(), other, way: form.elements.way.value,
    along: form.elements.along.value, amount: Number($('amount').value),
  };
}

/** Read what is typed, and show it. */
async function read() {
  clearTimeout(timer);
  tellShift();
  const mine = ++turn;
  const wish = chosen();
  document.body.dataset.state = 'reading';
  if (!page) return;
  $('trouble').hidden = true;
  const texts = [wish.text, wish.other].filter(Boolean);
  if (!texts.length) {
    $('state').textContent = 'Type a sentence first.';
    $('cards').replaceChildren();
    $('why').hidden = true;
    return;
  }
  const embedder = wish.way === 'trained' ? page.trained : page.raw;
  const waiting = setTimeout(() => {
    $('results').classList.add('busy');
    $('state').textContent = embedder.engine ? 'Reading …' : 'Starting the model …';
  }, 150);
  try {
    const began = performance.now();
    const cold = !embedder.engine;
    const fresh = texts.some((text) => !embedder.known.has(text));
    const found = [];
    for (const text of texts) {
      const h = shifted(await embedder.embed(text), wish);
      if (mine !== turn) return;
      found.push({ text, h, ...(await page.decoder.ask('top', { h, k: REFERENCE })) });
    }
    const shared = found.length > 1 && (await page.decoder.ask('shared', { a: found[0].h, b: found[1].h, k: SHARED }));
    if (mine !== turn) return;
    show(wish, found, shared);
    if (fresh) tellSpeed(texts, performance.now() - began, cold);
  } catch (error) {
    if (mine === turn) tellTrouble(error);
  } finally {
    clearTimeout(waiting);
    if (mine === turn) $('results').classList.remove('busy');
  }
}

/** Move an embedding as far as the slider says, if it is to be adjusted. */
function shifted(h, { way, along, amount }) {
  return way === 'adjusted' ? h.map((value, i) => value + amount * page.directions[along][i]) : h;
}

function show(wish, found, shared) {
  $('loading').hidden = true;
  $('results').hidden = false;
  $('cards').replaceChildren(...found.map((one) => card(one, wish)));
  $('why').hidden = !shared;
  if (shared) $('why').replaceChildren(...shares(shared, page.tokenizer));
  $('state').textContent = sentence(wish, found);
  document.body.dataset.state = 'read';
}

function card({ text, h, ids, scores }, { way }) {
  const article = document.createElement('article');
  article.className = 'card';
  const caption = document.createElement('p');
  caption.className = 'caption';
  caption.textContent = `The ${way} embedding, a stripe for each of its ${h.length} numbers: blue below 0, red above`;
  const best = ids.slice(0, SHOWN);
  article.append(
    textWithMarks(text, best, page.tokenizer), stripes(h), caption,
    bars(text, ids, scores, SHOWN, page.tokenizer),
  );
  return article;
}

/** What a screen reader hears, and everybody sees, above the cards. */
function sentence({ way }, found) {
  const long = found.some(({ text }) => page.tokenizer.encode(text).length > LONGEST);
  const said = { raw: 'The raw embedding says', adjusted: 'The adjusted embedding says', trained: 'The trained embedding says' };
  const names = found.map(({ ids }) => {
    const distinct = new Map(ids.map((id) => [page.tokenizer.folded(id), id]).reverse()); // of each its best form stays
    return [...distinct.values()].reverse().slice(0, 3).map((id) => page.tokenizer.readable(id).replace(/^▁/u, '')).join(', ');
  });
  const cut = long ? ` Only the first ${LONGEST} tokens of a text are read.` : '';
  return `${said[way]}: ${names.join('; and ')} …${cut}`;
}

function tellShift() {
  const { way, along, amount } = chosen();
  $('shift').hidden = way !== 'adjusted';
  const share = `${Math.round(100 * amount)} % of the way`;
  const lambda = page ? `λ = ${(amount * page.manifest.amount).toFixed(1).replace('-', '−')}, ` : '';
  $('told').textContent = along === 'u1' ? lambda + share : share;
  $('amount').setAttribute('aria-valuetext', $('told').textContent);
}

function tellSpeed(texts, ms, cold) {
  const count = texts.reduce((sum, text) => sum + page.raw.prompt(text).length, 0);
  const threads = page.raw.engine?.getNumThreads() ?? 1;
  const start = cold ? ', the start of the model included' : '';
  $('speed').textContent = `${count} tokens took ${(ms / 1000).toFixed(1)} s on ${threads} thread${threads > 1 ? 's' : ''}${start}.`;
}

function tellTrouble(error) {
  $('loading').hidden = true;
  $('trouble').hidden = false;
  $('trouble').textContent = error instanceof Trouble ? error.message : `Something went wrong: ${error?.message ?? error}`;
  document.body.dataset.state = 'trouble';
}

// --- the link ------------------------------------------------------------------------------------------------------

/** All choices as a fragment, which browsers keep to themselves. */
function fragment() {
  const { text, other, way, along, amount } = chosen();
  const parts = new URLSearchParams({ text, way });
  if (other) parts.set('other', other);
  if (way === 'adjusted') {
    parts.set('along', along);
    parts.set('amount', amount);
  }
  return `#${parts}`;
}

function follow(hash) {
  const parts = new URLSearchParams(hash.slice(1));
  const among = (name, values, otherwise) => (values.includes(parts.get(name)) ? parts.get(name) : otherwise);
  const amount = Number.parseFloat(parts.get('amount'));
  $('text').value = (parts.get('text') ?? EXAMPLES[0].text).slice(0, 2000);
  $('other').value = (parts.get('other') ?? '').slice(0, 2000);
  openOther(Boolean($('other').value));
  form.elements.way.value = among('way', ['raw', 'adjusted', 'trained'], 'adjusted');
  form.elements.along.value = among('along', ['u1', 'mean'], 'u1');
  $('amount').value = Number.isFinite(amount) ? amount : 1;
}

async function share() {
  history.replaceState(null, '', fragment());
  let done = 'The link is in the address bar.';
  try {
    await navigator.clipboard.writeText(location.href);
    done = 'The link is copied.';
  } catch {
    // without permission the address bar has to do
  }
  $('state').textContent = done;
}

function openOther(open) {
  $('otherField').hidden = !open;
  $('compare').setAttribute('aria-expanded', open);
  $('compare').textContent = open ? 'Read one text only' : 'Compare with another text';
}

// --- what people do -------------------------------------------------------------------------------------------------

function listen() {
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(read, PAUSE);
  };
  for (const box of [$('text'), $('other')]) {
    box.addEventListener('input', soon);
    box.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        read();
      }
    });
  }
  for (const input of form.querySelectorAll('input')) input.addEventListener('input', read);
  form.addEventListener('submit', (event) => event.preventDefault());
  $('compare').addEventListener('click', () => {
    openOther($('otherField').hidden);
    if (!$('otherField').hidden) $('other').focus();
    read();
  });
  $('share').addEventListener('click', share);
  $('forget').addEventListener('click', async () => {
    await clearStore();
    $('kept').textContent = 'The model is removed. The next visit fetches it again.';
  });
  addEventListener('hashchange', () => {
    follow(location.hash);
    read();
  });
  for (const { label, text, other = '' } of EXAMPLES) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = label;
    button.addEventListener('click', () => {
      $('text').value = text;
      $('other').value = other;
      openOther(Boolean(other));
      read();
    });
    form.querySelector('.examples').append(button);
  }
}

try {
  const loaded = start();
  follow(location.hash);
  listen();
  form.hidden = false;
  tellShift();
  await loaded;
  $('kept').hidden = !globalThis.caches;
  await read();
} catch (error) {
  tellTrouble(error);
}
