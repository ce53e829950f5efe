/* The board: puts the parts on the page, and draws a frame whenever something changed. */

import { Announcer } from "./announcer.js";
import { nextLanguage, sentence } from "./catalogue.js";
import { h } from "./dom.js";
import { Header } from "./header.js";
import { helpBox } from "./help.js";
import { Inspector } from "./inspector.js";
import { pressKey } from "./keys.js";
import { Knobs } from "./knobs.js";
import { Lanes } from "./lanes.js";
import { Legend } from "./legend.js";
import { Look } from "./look.js";
import { listenToPointer } from "./pointer.js";
import { Refs } from "./refs.js";
import { RunTable } from "./run_table.js";
import { keepInSight } from "./sight.js";
import { Starter } from "./starter.js";
import { Tip } from "./tip.js";
import { Transport } from "./transport.js";
import { Verdict } from "./verdict.js";
import { View } from "./view.js";
import { watchPage } from "./watch.js";

/** @import { Run } from "./run.js" */
/** @import { Host } from "./view.js" */
/** @import { Language } from "./catalogue.js" */

/** Milliseconds between updates of numbers and texts: readers are no faster. */
const TEXTS_EVERY = 100;
/** Boards of this page so far. */
let boards = 0;

/** Whether the viewer asked the system for less motion. */
export const wantsStill = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/** One view of a run on a page. */
export class Board {
  /**
   * @param {HTMLElement} parent
   * @param {Run} run
   * @param {{language?: Language, host?: Host | null, autoplay?: boolean, alone?: boolean}} [options] `alone`: the page has nothing else, so keys without a focus are the board's
   */
  constructor(parent, run, { language, host = null, autoplay = false, alone = false } = {}) {
    this.id = `cbviz-${++boards}`;
    this.run = run;
    this.view = new View(run, { changed: () => this.changed(), tell: (text) => this.tell(text), still: wantsStill }, { language, host, follow: !autoplay });
    this.look = new Look();
    this.visible = true;
    this.gone = false;
    /** Id of the requested animation frame; 0 if none. */
    this.frame = 0;
    /** Frames drawn. */
    this.frames = 0;
    /** Version of the run that was drawn last. */
    this.seen = -1;
    /** What the numbers and texts depended on at their last update. */
    this.textKey = "";
    /** The engine's refusal that was shown last. */
    this.refused = "";
    this.root = h("section", { class: "cbviz", tabindex: "0", role: "region" });
    parent.append(this.root);
    this.acts = { table: () => this.toggleTable(), help: () => this.toggleHelp(), language: () => this.switchLanguage(), escape: () => this.escape() };
    this.announcer = new Announcer(this.view);
    this.refs = new Refs(this.view, () => this.visible);
    this.parts = this.build();
    this.applyTheme(true);
    this.unwatch = watchPage(this.root, {
      resized: () => this.changed(),
      seen: (visible) => this.appeared(visible),
      themed: () => this.applyTheme(false),
    });
    const onkey = (/** @type {KeyboardEvent} */ event) => pressKey(event, this.view, this.acts);
    this.root.addEventListener("keydown", onkey);
    const unfocused = (/** @type {KeyboardEvent} */ event) => {
      if (event.target === document.body || event.target === document.documentElement) onkey(event);
    };
    if (alone) document.addEventListener("keydown", unfocused);
    this.unlisten = () => {
      this.root.removeEventListener("keydown", onkey);
      document.removeEventListener("keydown", unfocused);
    };
    if (autoplay && !wantsStill()) this.view.play();
    else if (autoplay) this.view.time.follow = true;
    this.changed();
  }

  /** Builds every part in the view's language and replaces the old ones. */
  build() {
    const { root, view, look, announcer, acts } = this;
    root.lang = sentence(view.language, "language.html");
    root.setAttribute("aria-label", view.say("board"));
    const parts = {
      header: new Header(view, acts),
      lanes: new Lanes(view, look),
      legend: new Legend(view, look),
      inspector: new Inspector(view),
      transport: new Transport(view),
      knobs: new Knobs(view),
      message: h("p", { class: "cb-message", role: "status" }),
      verdict: new Verdict(view),
      how: h("p", { class: "cb-notes cb-how", dir: "auto" }, view.say("how_to_read")),
      starter: new Starter(view, root),
      table: new RunTable(view, `${this.id}-table`),
      help: helpBox(view, acts.help),
      tip: new Tip(view, root),
    };
    announcer.element.textContent = "";
    // What is pressed and what comes out stand above the lanes: they are in sight wherever the lanes end.
    root.replaceChildren(
      parts.header.element, parts.transport.element, parts.knobs.element, parts.message,
      h("div", { class: "cb-outcome" }, parts.verdict.element, parts.knobs.line), parts.how,
      h("div", { class: "cb-body" }, parts.lanes.element, parts.starter.element, parts.inspector.element), parts.legend.element,
      parts.table.element, parts.help, parts.tip.element, announcer.element,
    );
    this.textKey = "";
    view.textDue = 0;
    return parts;
  }

  /** Puts the lanes on the page once they are known. */
  buildLanes() {
    const { lanes, legend, tip } = this.parts;
    if (!lanes.build()) return;
    this.view.camera.width = 0;
    for (const plot of lanes.plots) {
      listenToPointer(this.view, plot, (x, y, event) => tip.point(plot, x, y, event));
      this.unwatch.alsoResized(plot.element);
    }
    legend.build();
  }

  // What happens to the board

  /** The engine has begun anew: the lanes are empty again. */
  restart() {
    this.view.restart();
    this.seen = -1;
    this.textKey = "";
    this.tell("");
    this.refresh();
  }

  /** Scrolls the page around it to it. */
  comeIntoSight() {
    keepInSight(this.root, wantsStill);
  }

  /** @param {boolean} visible on the screen */
  appeared(visible) {
    this.visible = visible;
    this.root.dataset.visible = String(visible);
    if (!visible) return;
    this.applyTheme(false); // notebooks remove boards from the page and put them back: only now is there a background behind it
    this.changed();
  }

  /** Adapts the theme to the page behind the board. @param {boolean} always even if it looks the same */
  applyTheme(always) {
    if (!this.look.apply(this.root, always)) return;
    const { lanes, legend } = this.parts;
    if (lanes.plots.length) legend.build();
    lanes.forget();
    this.changed();
  }

  /** Switches to the next language; focus and an open table stay. */
  switchLanguage() {
    const { view } = this;
    view.language = nextLanguage(view.language);
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.action : undefined;
    const tabled = !this.parts.table.element.hidden;
    this.parts = this.build();
    this.applyTheme(true);
    if (tabled) this.toggleTable();
    if (focused) /** @type {HTMLElement | null} */ (this.root.querySelector(`[data-action="${focused}"]`))?.focus();
    this.changed();
  }

  toggleHelp() {
    const { help, header } = this.parts;
    help.hidden = !help.hidden;
    header.help.setAttribute("aria-expanded", String(!help.hidden));
    if (help.hidden) this.root.focus();
    else help.focus();
  }

  toggleTable() {
    const { table, header } = this.parts;
    table.element.hidden = !table.element.hidden;
    header.table.setAttribute("aria-expanded", String(!table.element.hidden));
    this.view.refresh();
  }

  /** Closes an open box, or else unpins the request. */
  escape() {
    if (!this.parts.help.hidden) this.toggleHelp();
    else if (!this.parts.table.element.hidden) this.toggleTable();
    else this.view.releaseAll();
  }

  /** @param {string} text */
  tell(text) {
    this.parts.message.textContent = text;
  }

  /** Draws everything, numbers and texts included, after new data or a new state of the engine. */
  refresh() {
    this.view.refresh();
  }

  // Drawing

  /** Schedules one drawing for the next frame. */
  changed() {
    if (this.frame || this.gone) return;
    this.frame = requestAnimationFrame((time) => this.draw(time));
  }

  /** @param {number} time ms of the page */
  draw(time) {
    this.frame = 0;
    if (this.gone) return;
    const { view, run } = this;
    if (!this.visible) {
      // Off screen nothing is drawn, but the attributes are still published.
      this.root.dataset.received = run.have().join(" ");
      this.root.dataset.status = view.status();
      return;
    }
    this.buildLanes();
    view.tick(time);
    view.hoverChosen();
    this.parts.lanes.measure();
    this.parts.lanes.draw();
    this.frames++;
    const texts = [view.time.now(), view.time.follow, view.time.playing, view.time.mode, view.language, view.hovered, view.pinned, run.version, view.host?.state().status].join(" ");
    // What plays or computes says something new in every frame, which is more than a reader can follow, and costs a layout.
    const moving = view.time.playing || view.status() === "running";
    if (time >= view.textDue || (texts !== this.textKey && !moving)) {
      view.textDue = time + TEXTS_EVERY;
      this.textKey = texts;
      this.drawTexts(time);
    }
    this.publish();
    if (view.time.playing || (this.frame === 0 && run.version !== this.seen) || texts !== this.textKey) {
      this.seen = run.version;
      this.changed();
    } else view.time.last = 0;
  }

  /** @param {number} time ms of the page */
  drawTexts(time) {
    const { header, legend, transport, lanes, starter, inspector, verdict, knobs, table } = this.parts;
    for (const part of [header, legend, transport]) part.draw();
    lanes.drawTexts();
    for (const part of [starter, inspector, verdict, knobs, table]) part.draw();
    const refusal = this.view.host?.state().refusal ?? "";
    if (refusal !== this.refused) {
      this.refused = refusal;
      if (refusal) this.tell(refusal);
    }
    this.refs.draw();
    this.announcer.draw(time, lanes.plots);
  }

  /** Publishes the board's state as attributes, for tests and style sheets. */
  publish() {
    const { view, run } = this;
    const { time, camera } = view;
    const { lanes } = run;
    const data = this.root.dataset;
    data.lanes = String(lanes.length);
    data.iteration = String(Math.max(0, ...lanes.map((lane) => view.shown(lane))));
    data.received = run.have().join(" ");
    data.painted = this.parts.lanes.plots.map((plot) => plot.key.split(" ")[0]).join(" ");
    data.dropped = String(run.gaps);
    data.live = String(view.live());
    data.status = view.status();
    data.playing = String(view.live() ? view.status() === "running" : time.playing);
    data.follow = String(time.follow);
    data.mode = time.mode;
    data.speed = String(time.speed);
    data.language = view.language;
    data.fitted = String(camera.fitted);
    data.camera = view.director.directs ? "director" : "viewer";
    data.caption = this.parts.lanes.plots.map((plot) => (plot.caption.hidden ? "" : plot.caption.textContent)).join("");
    data.columns = view.inSight().toFixed(1);
    data.pinned = String(view.pinned);
    data.lit = String(view.lit());
    data.frames = String(this.frames);
    data.pitch = this.parts.lanes.plots.map((plot) => plot.heights.pitch).join(" ");
    data.scale = camera.axis.scale.toFixed(4);
    data.changes = lanes.map((lane) => lane.changes.filter(({ at }) => at > 0 && at < view.shown(lane)).length).join(" ");
    data.why = String(view.whyWaits(0) !== null || view.whyWaits(1) !== null);
    data.asked = view.askedToStop ? "stop" : view.askedToStart ? "start" : "";
  }

  /** Takes the board off the page. */
  destroy() {
    this.gone = true;
    cancelAnimationFrame(this.frame);
    this.view.close();
    this.announcer.close();
    this.refs.close();
    this.unwatch.stop();
    this.unlisten();
    this.root.remove();
  }
}
