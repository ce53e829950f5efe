/* Decodes bytes into blocks. pack.py writes them and documents the layout. */

/** @typedef {Record<string, Float64Array | Int32Array | Uint8Array>} Arrays the columns of a block, by name */
/** @typedef {{kind: string, lane: number | null, first: number, n: number, slots: number, reasons: string[], pieces: string[] | null, rows: [number, string, number, number, number | null][], meta: Record<string, any>}} Header */

/** "CBB1", little-endian. */
const MAGIC = 0x31424243;

/**
 * One block at `offset` of a run: its header, its arrays, and where the next block begins. Layout: see pack.py.
 * Throws with one sentence if the bytes are truncated or are not a run.
 * @param {Uint8Array} bytes
 * @param {number} [offset]
 * @returns {{header: Header, arrays: Arrays, next: number}}
 */
export function decodeBlock(bytes, offset = 0) {
  const cut = () => new Error("the bytes of this run are cut or foreign.");
  if (bytes.length - offset < 16) throw cut();
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
  const length = view.getUint32(4, true);
  const head = view.getUint32(8, true);
  if (view.getUint32(0, true) !== MAGIC || length > bytes.length - offset || head > length - 16) throw cut();
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(offset + 16, offset + 16 + head)));
  /** @type {Arrays} */
  const arrays = {};
  let at = offset + 16 + head;
  for (const [name, code, size] of header.arrays) {
    const Kind = code === "f8" ? Float64Array : code === "i4" ? Int32Array : Uint8Array;
    const width = size * Kind.BYTES_PER_ELEMENT;
    if (at + width > offset + length) throw cut();
    // A copy: typed arrays need alignment, and the message's buffer may be freed.
    arrays[name] = new Kind(bytes.slice(at, at + width).buffer);
    at += width + ((8 - (width % 8)) % 8);
  }
  return { header, arrays, next: offset + length };
}

/** The bytes of a binary part from the host. @param {any} part a DataView, an ArrayBuffer or bytes, depending on the host @returns {Uint8Array} */
export function bytesOf(part) {
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  return new Uint8Array(0);
}
