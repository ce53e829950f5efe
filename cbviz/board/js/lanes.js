/* All lanes of a board, and which of them are painted in a frame. */

import { h } from "./dom.js";
import { LanePanel } from "./lane_panel.js";
import { Plot } from "./plot.js";

/** @import { Lane } from "./lane.js" */
/** @import { Look } from "./look.js" */
/** @import { View } from "./view.js" */

/** Milliseconds of painting in one frame after which the other lanes wait for the next one, stretched into place. */
const PAINT_BUDGET = 6;
/** Lanes painted in a frame, at most, while the view is panned. Without a GPU a browser needs more time for what was painted than painting took. */
const MOST_PANNING = 2;
/** The same while it is zoomed, of large runs. */
const MOST_ZOOMING = 1;

/** The lanes, one below the other. */
export class Lanes {
  /** @param {View} view @param {Look} look */
  constructor(view, look) {
    this.view = view;
    this.look = look;
    this.element = h("div", { class: "cb-lanes" });
    /** @type {Plot[]} */
    this.plots = [];
    /** @type {LanePanel[]} */
    this.panels = [];
    /** The run's lanes that are on the page. @type {Lane[] | null} */
    this.built = null;
    /** Lane that is painted first in the next frame. */
    this.turn = 0;
  }

  /** Puts the lanes on the page once they are known. False if they are there. */
  build() {
    const { lanes } = this.view.run;
    if (this.built === lanes) return false;
    this.built = lanes;
    this.plots = lanes.map((lane, index) => new Plot(this.view, this.look, lane, index));
    this.panels = lanes.map((lane, index) => new LanePanel(this.view, lane, this.plots[index]));
    this.element.replaceChildren(...this.panels.map((panel) => panel.element));
    return true;
  }

  /** All of it has to be painted anew. */
  forget() {
    for (const plot of this.plots) plot.forget();
  }

  /** Takes the page's size. @param {boolean} narrow */
  measure(narrow) {
    for (const plot of this.plots) plot.measure(narrow, this.plots.length);
    if (this.plots.length) this.view.camera.measure(this.plots[0].width);
  }

  /**
   * Paints every lane, the one that has waited longest first. When a frame's time is up, the rest keep what they show, moved and
   * stretched to the new axis, and are painted in the next frame: a view that follows the hand beats one that is sharp.
   */
  draw() {
    const { plots, view } = this;
    const began = performance.now();
    const moves = view.camera.moves(began);
    const zooms = plots.some((plot) => plot.axis !== null && plot.axis.scale !== view.camera.axis.scale);
    const cheap = plots.reduce((sum, plot) => sum + plot.cost, 0) < PAINT_BUDGET / 2;
    const most = !moves || (zooms && cheap) ? plots.length : zooms ? MOST_ZOOMING : MOST_PANNING;
    let waits = -1;
    for (let k = 0; k < plots.length; k++) {
      const index = (this.turn + k) % plots.length;
      const late = k > 0 && (k >= most || performance.now() - began > PAINT_BUDGET);
      if (!plots[index].draw(late) && waits < 0) waits = index;
    }
    if (waits < 0) return;
    this.turn = waits;
    view.page.changed();
  }

  /** Counters and queues. */
  drawTexts() {
    for (const panel of this.panels) panel.draw();
  }
}
