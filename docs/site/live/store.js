// Fetches the model in pieces, checks each, and keeps them in this browser, so that the next visit reads no network.

const SHELF = 'tokalign-model';

/** Something that went wrong, in words for the reader. */
export class Trouble extends Error {}

/** Fetch the list of the model's files. */
export async function fetchManifest() {
  const answer = await fetch('model/manifest.json').catch(() => null);
  if (!answer?.ok) {
    throw new Trouble(
      'The model is missing: there is no model/manifest.json beside this page. Whoever publishes it runs “make live” ' +
        'once, which writes the model there.',
    );
  }
  return { ...(await answer.json()), base: answer.url };
}

/** Return one file of the manifest as a Blob. `progress` is called with the bytes that have come. */
export async function fetchFile(manifest, name, progress) {
  const shelf = await openShelf();
  const { pieces } = manifest.files[name];
  const parts = [];
  for (const piece of pieces) parts.push(await fetchPiece(manifest, piece, shelf, progress));
  return new Blob(parts);
}

/** Remove what was kept. */
export const clearStore = () => globalThis.caches?.delete(SHELF);

async function openShelf() {
  try {
    return await caches.open(SHELF);
  } catch {
    return null; // an address that is not secure, or a browser that keeps nothing: the network it is
  }
}

async function fetchPiece(manifest, piece, shelf, progress) {
  const address = new URL(piece.name, manifest.base).href;
  const kept = await shelf?.match(address);
  if (kept) {
    const blob = await kept.blob();
    if (blob.size === piece.size) {
      progress(blob.size);
      return blob; // checked before it was kept
    }
  }
  const bytes = await download(address, piece, progress);
  if (!(await isWhole(bytes, piece))) {
    throw new Trouble(`A part of the model (${piece.name}) arrived damaged: its checksum is wrong. Reload the page.`);
  }
  const blob = new Blob([bytes]);
  await shelf?.put(address, new Response(blob)).catch(() => {}); // a full disk is no reason to stop
  return blob;
}

async function download(address, piece, progress) {
  const answer = await fetch(address, { cache: 'no-store' }).catch(() => null);
  if (!answer?.ok) {
    const why = answer ? `the server answers ${answer.status}` : 'the server does not answer';
    throw new Trouble(`A part of the model (${piece.name}) cannot be fetched: ${why}.`);
  }
  const bytes = new Uint8Array(piece.size);
  const reader = answer.body.getReader();
  for (let place = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return place === piece.size ? bytes : new Uint8Array(0);
    if (place + value.length > piece.size) return new Uint8Array(0);
    bytes.set(value, place);
    place += value.length;
    progress(value.length);
  }
}

async function isWhole(bytes, piece) {
  if (bytes.length !== piece.size) return false;
  if (!crypto.subtle) return true; // http on another machine: browsers compute no digests there
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') === piece.sha256;
}
