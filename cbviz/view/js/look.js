/* How a board looks on its page: light, dark or forced colours, the font, the brushes. */

import { Brushes } from "./brushes.js";
import { THEMES, hex, luminance } from "./theme.js";

/** @import { Theme } from "./theme.js" */

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', 'Noto Sans SC', sans-serif";

/** Device pixels per CSS pixel of the canvases. */
export const pixelRatio = () => Math.min(2, window.devicePixelRatio || 1);

/** Whether the page behind an element is dark: the nearest opaque background decides, or else the system. @param {HTMLElement} root */
function darkBehind(root) {
  for (let element = root.parentElement; element; element = element.parentElement) {
    const ground = getComputedStyle(element).backgroundColor.match(/[\d.]+/g)?.map(Number);
    if (!ground || (ground.length > 3 && ground[3] < 0.5)) continue;
    return luminance(hex(ground.slice(0, 3))) < 0.35;
  }
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

/** A theme in the system's own colours. @param {Theme} theme @param {HTMLElement} root */
function forcedTheme(theme, root) {
  const probe = (/** @type {string} */ system) => {
    root.style.color = system;
    const parts = getComputedStyle(root).color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    return hex(parts.slice(0, 3));
  };
  const [text, ground, accent] = [probe("CanvasText"), probe("Canvas"), probe("Highlight")];
  root.style.color = "";
  /** @type {Theme} */
  const forced = { ...theme, text, faint: text, ground, veil: ground, end: text, line: text, stroke: accent, cursor: accent, spare: [ground, text], held: [ground, text], wasted: [ground, accent] };
  return forced;
}

/** Colours, font and brushes of one board. */
export class Look {
  constructor() {
    /** @type {Theme} */
    this.theme = THEMES.light;
    /** Changes whenever the painted picture would change. */
    this.name = "";
    this.font = FONT;
    this.brushes = new Brushes(this.theme, 1);
  }

  /**
   * Reads the page's theme again. False if nothing changed.
   * @param {HTMLElement} root the board's element
   * @param {boolean} always even if it is not on the page, or looks the same
   */
  apply(root, always) {
    if (!always && !root.isConnected) return false;
    const dark = darkBehind(root);
    const forced = window.matchMedia("(forced-colors: active)").matches;
    const name = `${dark ? "dark" : "light"}${forced ? " forced" : ""} ${pixelRatio()}`;
    if (name === this.name && !always) return false;
    this.name = name;
    this.theme = { ...THEMES[dark ? "dark" : "light"] };
    root.dataset.theme = dark ? "dark" : "light";
    if (forced) this.theme = forcedTheme(this.theme, root);
    this.font = getComputedStyle(root).fontFamily || FONT;
    this.brushes = new Brushes(this.theme, pixelRatio());
    return true;
  }
}
