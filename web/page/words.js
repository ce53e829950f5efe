/* The page's own words: elements with data-say show a line of the catalogue in the language of the board. */
import { languageOf, sentence } from "../../cbviz/view/js/catalogue.js";

/** The language that is shown. */
export const spoken = { now: languageOf(navigator.language.slice(0, 2)) };

/** A line of the page. @param {string} key without `page.` @param {Record<string, any>} [facts] */
export const pageLine = (key, facts) => sentence(spoken.now, `page.${key}`, facts);

/** Shows every line in the language. */
export function speakPage() {
  document.documentElement.lang = sentence(spoken.now, "language.html");
  document.title = pageLine("title");
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = pageLine(/** @type {HTMLElement} */ (element).dataset.say ?? "");
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", pageLine(/** @type {HTMLElement} */ (element).dataset.label ?? ""));
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a[data-to]"))) link.href = JSON.parse(link.dataset.to ?? "{}")[spoken.now] ?? link.href;
}
