/* The editor: a scheduler in JavaScript or Python. Each language keeps its own text while the other is shown. */
import { EXAMPLES } from "./examples.js";
import { byId } from "./form.js";
import { PYTHON } from "./options.js";
import { pageLine } from "./words.js";
/** @import { Settings } from "./options.js" */

/** What Tab types, by language. @type {Record<string, string>} */
const INDENT = { javascript: "  ", python: "    " };

export class Editor {
  constructor() {
    this.area = /** @type {HTMLTextAreaElement} */ (byId("code"));
    this.choice = /** @type {HTMLSelectElement} */ (byId("written-in"));
    this.example = /** @type {HTMLSelectElement} */ (byId("example"));
    /** The texts that are not shown. @type {Record<string, string>} */
    this.texts = Object.fromEntries(Object.keys(EXAMPLES).map((language) => [language, EXAMPLES[language].shortest]));
    this.language = this.choice.value;
    this.area.value = this.texts[this.language];
    this.choice.addEventListener("change", () => this.show(this.choice.value));
    /** What was written before something else took its place, by language. @type {Record<string, string[]>} */
    this.own = Object.fromEntries(Object.keys(EXAMPLES).map((language) => [language, []]));
    this.example.addEventListener("change", () => this.choose(this.example.value));
    this.area.addEventListener("input", () => this.name());
    this.area.addEventListener("keydown", (event) => this.key(event));
  }

  /** What is in the editor. @returns {Pick<Settings, "code" | "language">} */
  written() {
    return { code: this.area.value, language: this.language };
  }

  /** Whether Python is shown. */
  get isPython() {
    return this.language === PYTHON;
  }

  /** Shows a language, with a text of its own or the one that was there. @param {string} language @param {string} [code] */
  show(language, code) {
    this.texts[this.language] = this.area.value;
    this.language = this.choice.value = language;
    this.area.value = this.texts[language];
    if (code !== undefined) {
      this.keep();
      this.area.value = code;
    }
    this.name();
  }

  /** Shows an example, or one of the texts that were written. @param {string} name of an example, or the place of a text */
  choose(name) {
    this.keep();
    this.area.value = EXAMPLES[this.language][name] ?? this.own[this.language][Number(name)];
    this.name();
  }

  /** Keeps what was written, before something else takes its place. */
  keep() {
    const { own, language, area } = this;
    if (this.exampleShown() === undefined && !own[language].includes(area.value)) own[language].push(area.value);
  }

  /** The name of the example that is shown, as it is; undefined if it is none. */
  exampleShown() {
    const examples = EXAMPLES[this.language];
    return Object.keys(examples).find((name) => examples[name] === this.area.value);
  }

  /** Names what is shown, and offers the examples and every text that was written. */
  name() {
    const { example, area } = this;
    const shown = this.exampleShown();
    const kept = this.own[this.language];
    const texts = shown !== undefined || kept.includes(area.value) ? kept : [...kept, area.value];
    const count = Object.keys(EXAMPLES[this.language]).length;
    while (example.options.length > count) example.remove(count);
    texts.forEach((_, place) => example.add(new Option(`${pageLine("example_own")}${texts.length > 1 ? ` ${place + 1}` : ""}`, String(place))));
    example.value = shown ?? String(texts.indexOf(area.value));
  }

  /** Enter keeps the depth of the line; Tab still leads on to the next element of the page. @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = this.area;
    const line = value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart);
    const depth = /^[ \t]*/.exec(line)?.[0] ?? "";
    this.area.setRangeText(`\n${depth}${/[:{([]\s*$/.test(line) ? INDENT[this.language] : ""}`, selectionStart, selectionEnd, "end");
  }
}
