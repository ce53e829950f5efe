/* Where a page begins: anywidget's `initialize` and `render`, and `mount` for pages without a kernel. */

import { Board } from "./board.js";
import { Feed, hostBehind } from "./feed.js";
import { Run } from "./run.js";

/** @import { Language } from "./catalogue.js" */

/**
 * The feed of each widget, by its board's id, in each widget manager of the page (a notebook and its console have one
 * each). anywidget gives `initialize` and every `render` an object of its own for one model, so the model is no key.
 * @type {WeakMap<object, Map<string, Feed>>}
 */
const feeds = new WeakMap();

/** The manager of the widgets of a host that shows none. */
const NO_MANAGER = {};

/** The feeds of the widgets beside a model. @param {any} model */
function feedsBeside(model) {
  const manager = model.widget_manager ?? NO_MANAGER;
  let found = feeds.get(manager);
  if (!found) feeds.set(manager, (found = new Map()));
  return found;
}

/** Called once for each widget, before its views. @param {{model: any}} props */
function initialize({ model }) {
  const feed = new Feed(model);
  const beside = feedsBeside(model);
  const id = model.get("_id");
  beside.set(id, feed);
  return () => {
    feed.close();
    // The widget may have been made anew, after a lost connection, before this one went.
    if (beside.get(id) === feed) beside.delete(id);
  };
}

/** Called once for each output that shows the widget. @param {{model: any, el: HTMLElement}} props */
function render({ model, el }) {
  const known = feedsBeside(model).get(model.get("_id"));
  const feed = known ?? new Feed(model); // of its own, where a host does not initialize
  const board = new Board(el, feed.run, { language: model.get("_language"), host: feed.host(), autoplay: false });
  feed.boards.add(board);
  // A run that has just begun, or waits for its Start, comes into sight: a notebook scrolls on to the next cell.
  if (board.view.live() && !feed.seen) board.comeIntoSight();
  feed.seen = true;
  return () => {
    feed.boards.delete(board);
    board.destroy();
    if (!known) feed.close();
  };
}

/**
 * Shows a packed run without a kernel. `packed` is base64 of gzip of the run's blocks.
 * @param {HTMLElement} element
 * @param {string} packed
 * @param {{language?: Language, autoplay?: boolean, alone?: boolean, kept?: string}} [options] `kept`: the id of the picture that this replaces
 */
export async function mount(element, packed, options = {}) {
  const zipped = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const run = new Run();
  run.add(bytes);
  const holder = document.createElement("div");
  const board = new Board(holder, run, { ...options, host: hostBehind(options.kept) });
  element.replaceChildren(holder);
  board.applyTheme(true); // only now is it attached, with a page behind it
  return board;
}

export default { initialize, render };
