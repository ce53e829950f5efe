// The code under test: the board's small modules, or, where BOARD_MODULE is its address, the one module that ships, which
// exports the same names.
import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../../cbviz/board/js/", import.meta.url);

/** The names that js/NAME.js exports. */
export const load = (name) => import(process.env.BOARD_MODULE || new URL(`${name}.js`, folder).href);

/** The text of every module, by file name. */
export const sources = () => Object.fromEntries(readdirSync(folder).filter((name) => name.endsWith(".js")).map((name) => [name, readFileSync(new URL(name, folder), "utf8")]));
