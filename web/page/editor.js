/* The editor: a scheduler in JavaScript or Python. Each language keeps its own text while the other is shown. */
import { EXAMPLES } from "./examples.js";
import { byId } from "./form.js";
import { PYTHON } from "./options.js";
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
    this.example.addEventListener("change", () => (this.area.value = EXAMPLES[this.language][this.example.value]));
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
    this.area.value = code ?? this.texts[language];
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
