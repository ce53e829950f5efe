/* Brings a board into sight, and keeps it there until the notebook around it has come to rest. */

/** Milliseconds between two looks. In between a notebook scrolls on to the next cell, and lays out the cells above. */
const LOOK_EVERY = 350;
/** Looks at most, and how many in a row must find the board in sight: a page that is reloaded grows for seconds. */
const MOST_LOOKS = 40;
const AT_REST = 6;
/** px by which the upper edge may miss its place. */
const NEAR = 24;
/** Signs that the viewer is going somewhere else. */
const TOUCHES = ["wheel", "touchstart", "pointerdown", "keydown"];

/** The part of the window in which an element can be seen: what scrolls around it cuts it off. @param {HTMLElement} element */
export function opening(element) {
  let [top, bottom] = [0, window.innerHeight];
  for (let around = element.parentElement; around && around !== document.body; around = around.parentElement) {
    if (around.scrollHeight <= around.clientHeight + 1 || getComputedStyle(around).overflowY === "visible") continue;
    const box = around.getBoundingClientRect();
    top = Math.max(top, box.top);
    bottom = Math.min(bottom, box.bottom);
  }
  return { top, bottom };
}

/** Where to scroll a box to; null if it is in sight. A box that does not fit shows its upper end. @param {{top: number, bottom: number}} box @param {{top: number, bottom: number}} room @returns {"center" | "start" | null} */
export function wayTo(box, room) {
  if (box.bottom - box.top <= room.bottom - room.top) return box.top >= room.top && box.bottom <= room.bottom ? null : "center";
  return box.top >= room.top && box.top <= room.top + NEAR ? null : "start";
}

/**
 * Scrolls an element into sight, again while the page around it still moves it away, and no more once the viewer
 * touches anything.
 * @param {HTMLElement} element its `data-came` is the px of its upper edge that the last look found
 * @param {() => boolean} still whether the viewer wants less motion
 */
export function keepInSight(element, still) {
  let [looks, resting] = [0, 0];
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const done = () => {
    clearTimeout(timer);
    for (const touch of TOUCHES) window.removeEventListener(touch, done, true);
  };
  const look = () => {
    timer = setTimeout(look, LOOK_EVERY);
    if (++looks >= MOST_LOOKS) done(); // also of an element that never came onto the page, or has gone
    if (!element.isConnected) return;
    const box = element.getBoundingClientRect();
    const block = wayTo(box, opening(element));
    element.dataset.came = String(Math.round(box.top));
    resting = block ? 0 : resting + 1;
    if (block) element.scrollIntoView({ block, behavior: still() || looks > 1 ? "auto" : "smooth" });
    if (resting >= AT_REST) done();
  };
  timer = setTimeout(look, LOOK_EVERY);
  for (const touch of TOUCHES) window.addEventListener(touch, done, true);
}
