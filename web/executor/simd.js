/* Whether the kernel can run: a browser may lack WebAssembly or its SIMD, and a host may forbid it. */

/** @param {Uint8Array<ArrayBuffer>} kernel its bytes */
export function runsHere(kernel) {
  try {
    return WebAssembly.validate(kernel) && new WebAssembly.Module(kernel) !== null;
  } catch {
    return false; // there is none, or a content security policy allows no compiling
  }
}
