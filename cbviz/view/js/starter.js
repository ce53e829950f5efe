/* The one button behind which a run waits, over its empty lanes. */

import { ICONS, button, h, icon, setText } from "./dom.js";

/** @import { View } from "./view.js" */

/** There only until the run has begun. */
export class Starter {
  /** @param {View} view @param {HTMLElement} root the board's element, which takes over the focus */
  constructor(view, root) {
    this.view = view;
    this.root = root;
    this.words = h("span", {}, view.say("start"));
    this.button = button("start", view.say("start_title"), () => view.start(), ICONS.play);
    this.button.replaceChildren(icon(ICONS.play), this.words);
    this.element = h("div", { class: "cb-starter" }, this.button);
    this.element.hidden = true;
  }

  draw() {
    const { view, element, root } = this;
    if (view.status() !== "waiting") view.askedToStart = false;
    const hidden = view.status() !== "waiting" || !view.run.lanes.length;
    // The keys stay the board's when its button goes.
    if (hidden && document.activeElement === this.button) root.focus({ preventScroll: true });
    element.hidden = hidden;
    this.button.toggleAttribute("disabled", view.askedToStart || view.askedToStop);
    setText(this.words, view.say(view.askedToStart ? "starting" : "start"));
  }
}
