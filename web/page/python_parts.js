/* Python for the page: the script beside it, which is loaded when a reader first asks for it, with the hash that the page was built with. */
import { SettingsError } from "./options.js";
import { unpacked } from "./parts.js";

/** The script's name; `tools/page_python.py` writes it. */
const NAME = "python.js";

/** What a worker needs to run a scheduler in Python. @typedef {{runtime: string, wasm: ArrayBuffer, library: ArrayBuffer, sources: Record<string, string>}} PythonParts */

/** @type {Promise<PythonParts> | null} */
let parts = null;

/** Loads Python once. Rejects with a SettingsError that says why this page has none. @returns {Promise<PythonParts>} */
export function pythonParts() {
  parts ??= load();
  parts.catch(() => (parts = null)); // the next attempt may find a network
  return parts;
}

async function load() {
  const hash = document.body.dataset.python ?? "";
  if (!hash) throw new SettingsError("python_left_out");
  if (location.protocol === "file:") throw new SettingsError("python_file");
  if (typeof WebAssembly !== "object") throw new SettingsError("python_no_wasm");
  await added(hash);
  const world = /** @type {any} */ (globalThis);
  const given = /** @type {Record<string, string> | undefined} */ (world.cbvizPython);
  if (!given) throw new SettingsError("python_failed");
  delete world.cbvizPython;
  const [runtime, wasm, library, sources] = await Promise.all([given.runtime, given.wasm, given.library, given.sources].map(unpacked));
  const text = (/** @type {Uint8Array} */ bytes) => new TextDecoder().decode(bytes);
  return { runtime: text(runtime), wasm: wasm.buffer, library: library.buffer, sources: JSON.parse(text(sources)) };
}

/** Puts the script on the page. @param {string} hash @returns {Promise<void>} */
function added(hash) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.integrity = hash;
    script.src = NAME;
    script.onload = () => resolve();
    script.onerror = () => {
      script.remove();
      reject(new SettingsError("python_failed"));
    };
    document.head.append(script);
  });
}
