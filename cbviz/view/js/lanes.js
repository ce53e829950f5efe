/* All lanes of a board, and which of them are painted in a frame. */

import { h } from "./dom.js";
import { LanePanel } from "./lane_panel.js";
import { Plot } from "./plot.js";

/** @import { Lane } from "./lane.js" */
/** @import { Look } from "./look.js" */
/** @import { View } from "./view.js" */

/** Milliseconds of painting in one frame after which the other lanes are only stretched into place until the next. */
const PAINT_BUDGET = 6;
/** Most lanes painted in one frame while the view is panned. Without a GPU, a browser takes longer to show the picture than we take to paint it. */
const MOST_PANNING = 2;
/** The same for large runs while the view is zoomed. */
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
    /** The lane to paint first in the next frame. */
    this.turn = 0;
  }

  /** Puts the lanes on the page once they are known. False if they are there already. */
  build() {
    const { lanes } = this.view.run;
    if (this.built === lanes) return false;
    this.built = lanes;
    this.plots = lanes.map((lane, index) => new Plot(this.view, this.look, lane, index));
    this.panels = lanes.map((lane, index) => new LanePanel(this.view, lane, this.plots[index]));
    this.element.replaceChildren(...this.panels.map((panel) => panel.element));
    return true;
  }

  /** Marks everything for repainting. */
  forget() {
    for (const plot of this.plots) plot.forget();
  }

  /** Adapts to the page's size. */
  measure() {
    for (const plot of this.plots) plot.measure();
    if (this.plots.length) this.view.camera.measure(this.plots[0].width);
    for (const panel of this.panels) panel.answers.measure();
  }

  /**
   * Paints every lane, starting with the one that has waited longest. When the frame's time is up, the other lanes keep
   * their picture, moved and stretched to the new axis, and are painted in the next frame: responsiveness matters more
   * than sharpness.
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
    for (const panel of this.panels) panel.flights.draw();
    if (waits < 0) return;
    this.turn = waits;
    view.page.changed();
  }

  /** Counters and queues. */
  drawTexts() {
    for (const panel of this.panels) panel.draw();
  }
}
