/* Where a page begins: anywidget's `initialize` and `render`, and `mount` for pages without a kernel. */

import { Board } from "./board.js";
import { Feed, hostBehind } from "./feed.js";
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
  // A run that has just begun, or waits for its Start, comes into sight: a notebook scrolls on to the next cell.
  if (board.view.live() && !feed.seen) board.comeIntoSight();
  feed.seen = true;
  return () => {
    feed.boards.delete(board);
    board.destroy();
    if (!known) feed.close();
  };
}

/** Milliseconds between two looks for the engine behind a picture, and looks: what the kernel says of it may come after the picture. */
const LOOK_BEHIND = 250;
const LOOKS_BEHIND = 40;

/** Gives a board the engine behind its picture once there is one. @param {Board} board @param {string} picture @param {number} [looks] */
function lookBehind(board, picture, looks = LOOKS_BEHIND) {
  if (board.gone || looks === 0) return;
  board.view.host = hostBehind(picture);
  if (board.view.host) board.refresh();
  else setTimeout(() => lookBehind(board, picture, looks - 1), LOOK_BEHIND);
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
  if (options.kept && !board.view.host) lookBehind(board, options.kept);
  return board;
}

export default { initialize, render };
