/* Marks in the prose around a board, elements of class `cbviz-ref` that hold a request's label: each lights up the request's bars, and they light it up. */

/** @import { View } from "./view.js" */

const MARK = ".cbviz-ref";

/** Joins one board to the marks on its page. */
export class Refs {
  /** @param {View} view @param {() => boolean} seen whether the board is on the screen */
  constructor(view, seen) {
    this.view = view;
    this.seen = seen;
    /** The request whose marks are lit; -1 for none. */
    this.lit = -1;
    /** Whether the highlighted request is a mark's doing. */
    this.mine = false;
    this.enter = (/** @type {Event} */ event) => this.point(event);
    this.leave = (/** @type {Event} */ event) => {
      if (this.request(event) >= 0 && this.mine) view.hover(-1);
      this.mine = false;
    };
    this.click = (/** @type {Event} */ event) => {
      const request = this.request(event);
      if (request >= 0 && seen()) view.pin(request);
    };
    /** @type {[string, (event: Event) => void][]} */
    this.listeners = [["pointerover", this.enter], ["focusin", this.enter], ["pointerout", this.leave], ["focusout", this.leave], ["click", this.click]];
    for (const [name, listener] of this.listeners) document.addEventListener(name, listener);
    reachable();
  }

  /** The request of the mark that an event is about; -1 if it is about none. @param {Event} event */
  request(event) {
    const mark = event.target instanceof HTMLElement ? event.target.closest(MARK) : null;
    return mark ? this.view.run.named((mark.textContent ?? "").trim()) : -1;
  }

  /** @param {Event} event */
  point(event) {
    if (event.type === "focusin") reachable(); // text that was rendered after the board has marks, too
    const request = this.request(event);
    if (request < 0 || !this.seen()) return;
    this.mine = true;
    this.view.pointed = null;
    this.view.hover(request);
  }

  /** Lights the marks of the request that stands out. */
  draw() {
    const { view } = this;
    if (this.lit === view.lit()) return;
    const [before, now] = [this.lit, view.lit()].map((request) => (request < 0 ? null : view.run.label(request)));
    this.lit = view.lit();
    for (const mark of document.querySelectorAll(MARK)) {
      const label = (mark.textContent ?? "").trim();
      if (label === now) mark.setAttribute("data-lit", "true");
      else if (label === before) mark.removeAttribute("data-lit");
    }
  }

  close() {
    for (const [name, listener] of this.listeners) document.removeEventListener(name, listener);
  }
}

/** Puts the marks of the page into the order of the Tab key: hosts strip `tabindex` from rendered Markdown. */
function reachable() {
  for (const mark of document.querySelectorAll(MARK)) if (mark instanceof HTMLElement && mark.tabIndex < 0) mark.tabIndex = 0;
}
