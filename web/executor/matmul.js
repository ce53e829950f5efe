/* The product of matrices, which is most of what a model computes: in WebAssembly with SIMD, or in plain JavaScript. */
/** @import { Arena } from "./arena.js" */

/**
 * y[b, o] = Σₖ x[b, k] · w[o, k]. All three lie in the arena, row by row; `rows` is rounded up to a multiple of 4.
 * @typedef {(x: Float32Array, w: Float32Array, y: Float32Array, rows: number, inner: number, outer: number) => void} Matmul
 */

/** Rows that are computed together. */
export const ROWS = 4;
/** @param {number} rows rounded up to full groups */
export const whole = (rows) => Math.ceil(rows / ROWS) * ROWS;

/** The kernel of `matmul.wat` over an arena. @param {Uint8Array<ArrayBuffer>} kernel its bytes @param {Arena} arena @returns {Matmul} */
export function fastMatmul(kernel, arena) {
  const made = new WebAssembly.Instance(new WebAssembly.Module(kernel), { page: { memory: arena.memory ?? 0 } });
  const matmul = /** @type {(...places: number[]) => void} */ (made.exports.matmul);
  return (x, w, y, rows, inner, outer) => matmul(x.byteOffset, w.byteOffset, y.byteOffset, whole(rows), inner, outer);
}

/** The same in JavaScript: several times slower, and everywhere. @type {Matmul} */
export function plainMatmul(x, w, y, rows, inner, outer) {
  for (let row = 0; row < rows; row++) {
    const begin = row * inner;
    for (let column = 0; column < outer; column++) {
      let sum = 0;
      for (let k = 0, at = column * inner; k < inner; k++) sum += x[begin + k] * w[at + k];
      y[row * outer + column] = sum;
    }
  }
}
