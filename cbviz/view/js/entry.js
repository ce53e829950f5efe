/* Where a page begins: anywidget's `initialize` and `render`, and `mount` for pages without a kernel. */

import { Board, wantsStill } from "./board.js";
import { Feed } from "./feed.js";
import { Run } from "./run.js";

/** @import { Language } from "./catalogue.js" */

/** The feed of each widget model. @type {WeakMap<object, Feed>} */
const feeds = new WeakMap();

/** Called once for each widget. @param {{model: any}} props */
function initialize({ model }) {
  const feed = new Feed(model);
  feeds.set(model, feed);
  return () => {
    feed.close();
    feeds.delete(model);
  };
}

/** Called once for each output that shows the widget. @param {{model: any, el: HTMLElement}} props */
function render({ model, el }) {
  const known = feeds.get(model);
  const feed = known ?? new Feed(model);
  const board = new Board(el, feed.run, { language: model.get("_language"), host: feed.host(), autoplay: false });
  feed.boards.add(board);
  comeIntoSight(board, feed);
  return () => {
    feed.boards.delete(board);
    board.destroy();
    if (!known) feed.close();
  };
}

/** Milliseconds after which a notebook has scrolled to where it goes when a cell is run. */
const NOTEBOOK_SCROLLS = 350;

/** A run that has just begun comes into sight: a notebook scrolls on to the next cell. @param {Board} board @param {Feed} feed */
function comeIntoSight(board, feed) {
  if (!board.view.live() || feed.seen) return;
  feed.seen = true;
  const scroll = () => {
    const { top, bottom } = board.root.getBoundingClientRect();
    board.root.dataset.came = String(Math.round(top));
    if (!board.root.isConnected || (top >= 0 && bottom <= window.innerHeight)) return;
    board.root.scrollIntoView({ block: bottom - top > window.innerHeight ? "start" : "center", behavior: wantsStill() ? "auto" : "smooth" });
  };
  setTimeout(scroll, NOTEBOOK_SCROLLS);
}

/**
 * Shows a packed run without a kernel. `packed` is base64 of gzip of the run's blocks.
 * @param {HTMLElement} element
 * @param {string} packed
 * @param {{language?: Language, autoplay?: boolean, alone?: boolean}} [options]
 */
export async function mount(element, packed, options = {}) {
  const zipped = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const run = new Run();
  run.add(bytes);
  const holder = document.createElement("div");
  const board = new Board(holder, run, options);
  element.replaceChildren(holder);
  board.applyTheme(true); // only now is it attached, with a page behind it
  return board;
}

export default { initialize, render };
