/* Memory for everything that a model computes with: one buffer, which the WebAssembly kernel sees as a whole. */

/** Bytes of a page of WebAssembly memory. */
const PAGE = 65_536;
/** Rows begin at multiples of so many bytes, as the kernel's loads of four numbers want it. */
const ALIGNED = 16;

/** Hands out arrays of one buffer; what it once gave is never taken back. */
export class Arena {
  /**
   * @param {number} floats that all arrays have together; each may need three more, to end at a multiple of 16 bytes
   * @param {boolean} wasm whether the buffer is a WebAssembly memory
   */
  constructor(floats, wasm) {
    const pages = Math.ceil((4 * floats) / PAGE);
    /** The memory that a kernel imports; null where there is no WebAssembly. */
    this.memory = wasm ? new WebAssembly.Memory({ initial: pages, maximum: pages }) : null;
    this.buffer = this.memory ? this.memory.buffer : new ArrayBuffer(pages * PAGE);
    this.used = 0;
  }

  /** An array of zeros. @param {number} length */
  floats(length) {
    const made = new Float32Array(this.buffer, this.used, length);
    this.used += Math.ceil((4 * length) / ALIGNED) * ALIGNED;
    return made;
  }
}
