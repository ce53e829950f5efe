/* The catalogue: every line in every language, and the rule that fills one in. `cbviz/messages` is the same in Python. */

/** @typedef {string} Language one of the catalogue's, such as "en" */
/** @typedef {string | [string, Record<string, any>]} Text text as it was written, or a message as [key, facts] */

/** Language → key → line. `js_source.py` puts the catalogue in when it joins the modules. @type {Record<Language, Record<string, string>>} */
export const WORDS = {};

/** The language that is asked for, or the first of the catalogue. @param {string | undefined} wanted @returns {Language} */
export const languageOf = (wanted) => (wanted !== undefined && Object.hasOwn(WORDS, wanted) ? wanted : Object.keys(WORDS)[0]);

/** The language after this one, which the switch offers. @param {Language} language @returns {Language} */
export function nextLanguage(language) {
  const all = Object.keys(WORDS);
  return all[(all.indexOf(language) + 1) % all.length];
}

/**
 * A line with its blanks filled in, by the rule of `cbviz/messages`. An unknown key and a missing fact are bugs, and throw.
 * @param {Language} language
 * @param {string} key without `.one` or `.other`
 * @param {Record<string, any>} [facts]
 * @returns {string}
 */
export function sentence(language, key, facts = {}) {
  const lines = WORDS[language];
  const words = (facts.n === 1 ? lines[`${key}.one`] : undefined) ?? lines[key] ?? lines[`${key}.other`];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)(?::([^|{}]*)\|([^|{}]*))?\}/g, (_, name, one, other) => {
    if (!Object.hasOwn(facts, name)) throw new Error(`${key} needs ${name}`);
    const text = written(language, facts[name]);
    return one === undefined ? text : text === "1" ? one : other;
  });
}

/** One fact as a line shows it: at most six significant digits, as Python's %g. @param {Language} language @param {any} fact @returns {string} */
function written(language, fact) {
  if (typeof fact !== "number" || (Number.isInteger(fact) && Math.abs(fact) <= Number.MAX_SAFE_INTEGER)) return inWords(language, fact);
  const [digits, power] = fact.toExponential(5).split("e");
  if (Number(power) >= -4 && Number(power) < 6) return String(Number(fact.toPrecision(6)));
  return `${Number(digits)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

/** A text in the view's language: a message is said in it, what others wrote stays. @param {Language} language @param {Text | number | boolean} text @returns {string} */
export const inWords = (language, text) => (Array.isArray(text) ? sentence(language, text[0], text[1]) : String(text));
