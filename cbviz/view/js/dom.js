/* Elements, icons and text. Text from a model, a user or a policy reaches the page through here, and only as text. */

/** Elements that take the focus without a tabindex. */
const FOCUSABLE = ["button", "input", "select"];

/**
 * An element with attributes and children; text only ever becomes text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  // JupyterLab takes keys before the page does, arrows too; it leaves those alone whose very target asks for it.
  if (FOCUSABLE.includes(tag) || "tabindex" in attributes) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

/** @param {string} path @returns {SVGSVGElement} a 16 × 16 icon */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}
/** Paths of the icons. */
export const ICONS = {
  stop: "M3 3h10v10H3z", play: "M4 2.5v11l9.5-5.5z", pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
  back: "M11.5 3v10L4.8 8zM3 3h1.6v10H3z", forward: "M4.5 3v10l6.7-5zM11.4 3H13v10h-1.6z",
  previous: "M10.5 3v10L3.5 8z", next: "M5.5 3v10l7-5z", plus: "M7 3h2v4h4v2H9v4H7V9H3V7h4z", minus: "M3 7h10v2H3z",
  camera: "M1.5 4.5h8v7h-8zM10.5 7.2 14.5 5v6l-4-2.2z",
  fit: "M2 2h4v1.6H3.6V6H2zm8 0h4v4h-1.6V3.6H10zM2 10h1.6v2.4H6V14H2zm10.4 0H14v4h-4v-1.6h2.4z",
};

/** Characters of the longest text on the page. */
const MOST_TEXT = 4000;

/** Sets an element's text if it differs. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shortens a text to `MOST_TEXT` characters by leaving out its middle. Characters that change the direction of text are
 * shown as their code points.
 * @param {string} text
 */
export function clip(text) {
  const short = text.length > MOST_TEXT ? text.slice(0, MOST_TEXT / 2) + " … " + text.slice(-MOST_TEXT / 2) : text;
  return short.replace(/[\u202A-\u202E\u2066-\u2069\u200E\u200F\u061C]/g, (sign) => `\u27E8U+${sign.charCodeAt(0).toString(16).toUpperCase()}\u27E9`);
}

/**
 * A button with a tooltip and a label for screen readers.
 * @param {string} name identifies it on the page: `data-action`
 * @param {string} label
 * @param {() => void} act
 * @param {string} [path] an icon's, in place of the label
 */
export function button(name, label, act, path) {
  const made = h("button", { type: "button", class: `cb-button cb-${name}`, "aria-label": label, title: label, "data-action": name });
  if (path) made.append(icon(path));
  else made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

/** A button with words alone. @param {string} label @param {() => void} act @param {string} [kind] its own class */
export function wordButton(label, act, kind = "") {
  const made = h("button", { type: "button", class: `cb-button ${kind}`.trim() }, label);
  made.addEventListener("click", act);
  return made;
}
