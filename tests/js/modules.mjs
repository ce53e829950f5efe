// The code under test: the board's small modules, or, where BOARD_MODULE is its address, the one module that ships, which
// exports the same names. The modules get the catalogue here, which `js_source.py` puts into the one that ships.
import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../../cbviz/view/js/", import.meta.url);
const messages = new URL("../../cbviz/messages/", import.meta.url);

const { WORDS } = await import(new URL("catalogue.js", folder).href);
const languages = readdirSync(messages).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));
for (const language of ["en", ...languages.filter((name) => name !== "en")]) WORDS[language] = JSON.parse(readFileSync(new URL(`${language}.json`, messages), "utf8"));

/** The names that js/NAME.js exports. */
export const load = (name) => import(process.env.BOARD_MODULE || new URL(`${name}.js`, folder).href);

/** The text of every module, by file name. */
export const sources = () => Object.fromEntries(readdirSync(folder).filter((name) => name.endsWith(".js")).map((name) => [name, readFileSync(new URL(name, folder), "utf8")]));
