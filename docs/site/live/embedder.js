// Text → prompt → token ids → llama.cpp in WebAssembly → one vector of 576 numbers; and the worker that decodes it.

import { LoggerWithoutDebug, Wllama } from './engine/wllama.js';
import { Trouble, fetchFile } from './store.js';

const ENGINE = { default: new URL('engine/wllama.wasm', import.meta.url).href };
const ADAPTER = 'models/model-00002-of-00002.gguf'; // what wllama calls the second file that it is given
const quiet = { ...LoggerWithoutDebug, log() {}, warn() {} };
export const LONGEST = 128; // tokens of a text that are read: about ten seconds on one slow thread

/** The model, raw or with the adapter on it. Loads at the first text. */
export class Embedder {
  constructor(manifest, tokenizer, backbone, trained) {
    Object.assign(this, { manifest, tokenizer, backbone, trained });
    [this.before, this.after] = manifest.template.split('{text}');
    this.known = new Map();
    this.engine = null;
    this.queue = Promise.resolve();
  }

  /** The ids that the model reads: the template with the text in it, cut if it is long. */
  prompt(text) {
    const tokens = this.tokenizer.encode(text);
    const kept = tokens.length > LONGEST ? text.slice(0, tokens[LONGEST - 1].end) : text;
    return this.tokenizer.encode(this.before + kept + this.after).map(({ id }) => id);
  }

  /** Return a text's embedding; of texts that come one after another each waits for the last. */
  embed(text) {
    if (!this.known.has(text)) {
      const made = this.queue.then(() => this.run(text));
      this.known.set(text, made);
      made.catch(() => this.known.delete(text));
      this.queue = made.catch(() => {});
    }
    return this.known.get(text);
  }

  async run(text) {
    this.engine ??= await this.load();
    const input = this.prompt(text);
    const { data } = await this.engine.createEmbedding({ input, embd_normalize: -1 }); // as the model made it
    return Float32Array.from(data[0].embedding);
  }

  async load() {
    const files = [this.backbone];
    if (this.trained) files.push(await fetchFile(this.manifest, 'adapter', () => {}));
    const engine = new Wllama(ENGINE, { logger: quiet, suppressNativeLog: true });
    engine.setCompat(null); // what older browsers would fetch from a server
    try {
      await engine.loadModel(files, {
        embeddings: true, pooling_type: 'last', n_gpu_layers: 0, n_ctx: 512, n_batch: 512, n_ubatch: 512,
        n_parallel: 1, warmup: false, flash_attn: false, cache_type_k: 'f32', cache_type_v: 'f32', lora_adapters: this.trained ? [{ path: ADAPTER }] : undefined,
      });
    } catch (error) {
      await engine.exit().catch(() => {});
      throw troubleOf(error);
    }
    return engine;
  }
}

function troubleOf(error) {
  const said = String(error?.message ?? error);
  if (/memory|allocat|oom|bad_alloc/i.test(said)) {
    return new Trouble('This device has too little free memory for the model (about 300 MB). Close other tabs and reload.');
  }
  return new Trouble(`The model could not be started (${said.slice(0, 200)}).`);
}

/** Asks the worker that holds the decoder layer. */
export class Decoder {
  constructor() {
    this.worker = new Worker(new URL('decoder.js', import.meta.url), { type: 'module' });
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { number, answer, error } }) => {
      const { resolve, reject } = this.waiting.get(number);
      this.waiting.delete(number);
      if (error) reject(new Trouble(`The decoder layer cannot be read (${error}).`));
      else resolve(answer);
    };
    this.worker.onerror = () => {
      for (const { reject } of this.waiting.values()) reject(new Trouble('The worker that decodes has stopped. Reload.'));
    };
  }

  ask(question, given) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.count, { resolve, reject });
      this.worker.postMessage({ question, given, number: this.count });
    });
  }
}
