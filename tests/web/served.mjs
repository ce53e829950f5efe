// What the tests of the page need: the modules, and the built-in model as the repository has it.
import { readFileSync } from "node:fs";

const web = new URL("../../web/", import.meta.url);
const tiny = new URL("../../cbviz/models/tiny/", import.meta.url);

/** The names that web/PATH exports. */
export const load = (path) => import(new URL(path, web).href);
export const kernel = new Uint8Array(readFileSync(new URL("executor/matmul.wasm", web)));
export const weightsOfTiny = () => readFileSync(new URL("model.safetensors", tiny));
export const read = (name) => JSON.parse(readFileSync(new URL(name, tiny), "utf8"));
/** What Python put on the standard input. */
export const given = () => JSON.parse(readFileSync(0, "utf8"));
