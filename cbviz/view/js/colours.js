/* The colours themselves. All behind the equals sign is JSON: `colours.py` reads this file, so that a picture saved by Python and the live board look alike. */

/** @import { Theme } from "./theme.js" */

/** Request colours, by request id: Okabe and Ito's seven, the yellow darkened so that it holds on white. Seven shares no factor with usual numbers of slots, so the next request of a row is of another colour. A theme is what is not a request's colour. @type {{palette: string[], themes: Record<"light" | "dark", Theme>}} */
export const COLOURS = {
  "palette": ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B5A300"],
  "themes": {
    "light": {
      "ground": "#ffffff", "text": "#1b1f24", "faint": "#59636e", "line": "#d1d9e0", "spare": ["#edf0f3", "#7f8993"],
      "held": ["#d5dae0", "#68727d"], "wasted": ["#fdf1f0", "#c0343f"], "end": "#15181c", "cursor": "#d1242f", "veil": "#ffffff", "area": "#b9c4d0", "stroke": "#0a58ca"
    },
    "dark": {
      "ground": "#111418", "text": "#e8ecf1", "faint": "#a2adb9", "line": "#39424d", "spare": ["#1d232a", "#74808c"],
      "held": ["#414a55", "#b3bdc8"], "wasted": ["#33191c", "#ff7b72"], "end": "#f2f5f8", "cursor": "#ff6b6b", "veil": "#111418", "area": "#4a5663", "stroke": "#79b8ff"
    }
  }
};
