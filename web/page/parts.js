/* What lies in the page as data, and when it is there: the recorded runs at once, the model once the whole file has arrived. */
import { runsHere } from "../executor/simd.js";
import { SettingsError } from "./options.js";

/** Bytes of base64 of gzip. Rejects with a SettingsError in a browser that cannot unpack. @param {string} packed @returns {Promise<Uint8Array<ArrayBuffer>>} */
export async function unpacked(packed) {
  if (typeof DecompressionStream !== "function") throw new SettingsError("old_browser");
  const zipped = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The text of a data block of the page. @param {string} id */
const textOf = (id) => document.getElementById(id)?.textContent ?? "";

/** @param {string} id @returns {Promise<Uint8Array<ArrayBuffer>>} */
export const dataOf = (id) => unpacked(textOf(id));

/** Resolves when the file has been read to its end: the weights are its last part. @returns {Promise<void>} */
export function whole() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("DOMContentLoaded", () => resolve(), { once: true }));
}

/** The worker's code, and the model as it is sent there. */
export async function modelParts() {
  await whole();
  const [code, model, weights, kernel] = await Promise.all(["worker", "model", "weights", "kernel"].map(dataOf));
  const text = (/** @type {Uint8Array} */ bytes) => new TextDecoder().decode(bytes);
  return { code: text(code), model: { ...JSON.parse(text(model)), weights: weights.buffer, kernel: runsHere(kernel) ? kernel.buffer : null } };
}
