/* One lane's drawing: layers of canvas, each painted only when it changes. */

import { ChangeLabels } from "./change_labels.js";
import { h, setText } from "./dom.js";
import { GUTTER, laneHeights } from "./layout.js";
import { pixelRatio } from "./look.js";
import { roughly } from "./numbers.js";
import { paintRows } from "./paint.js";
import { paintAxis, paintGutter } from "./paint_axis.js";
import { paintBatches, paintChanges, paintStrip } from "./paint_strip.js";

/** @import { Axis } from "./axis.js" */
/** @import { Lane } from "./lane.js" */
/** @import { Look } from "./look.js" */
/** @import { Scene } from "./paint.js" */
/** @import { View } from "./view.js" */

/** Sizes in px of the words on what was saved, and px of its box around them. */
const SAVED_SIZES = [17, 14, 12, 11];
const SAVED_ROOM = 10;

/** @param {HTMLCanvasElement} canvas */
const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** px of rows from which the words at the finish and those on what was saved have room one above the other. */
const BOTH_LABELS = 64;

/** Slot numbers, cells and strip (cut off at the cursor by the style sheet), ticks, and a flag where the lane ended. */
export class Plot {
  /** @param {View} view @param {Look} look @param {Lane} lane @param {number} index of the lane */
  constructor(view, look, lane, index) {
    this.view = view;
    this.look = look;
    this.lane = lane;
    this.index = index;
    this.gutter = h("canvas", { class: "cb-canvas", role: "img", "data-lane": String(index) });
    this.base = h("canvas", { class: "cb-base", "aria-hidden": "true", "data-cells": String(index) });
    this.scale = h("canvas", { class: "cb-axis", "aria-hidden": "true" });
    this.flagLabel = h("span", {});
    this.saved = h("div", { class: "cb-saved" });
    this.saved.hidden = true;
    this.flag = h("i", { class: "cb-flag", "aria-hidden": "true" }, this.flagLabel);
    this.cursor = h("i", { class: "cb-cursor", "aria-hidden": "true" });
    this.chosen = h("i", { class: "cb-chosen", "aria-hidden": "true" });
    this.caption = h("div", { class: "cb-caption" });
    this.caption.hidden = true;
    this.labels = new ChangeLabels(view, lane);
    this.element = h("div", { class: "cb-plot" }, this.gutter, this.base, this.scale, this.labels.element, this.saved, this.flag, this.chosen, this.cursor, this.caption);
    this.heights = laneHeights(lane.slots, view.run.lanes.length, index === view.run.lanes.length - 1, view.knobs().length > 0);
    /** px of the cells. */
    this.width = 0;
    /** Keys of what the cells, the slot numbers and the ticks show now; "" for nothing. */
    this.key = "";
    this.gutterKey = "";
    this.scaleKey = "";
    /** px of the time axis at the left edge of the painted picture, and that axis. */
    this.place = 0;
    /** @type {Axis | null} */
    this.axis = null;
    /** Milliseconds that the last painting of the cells took. */
    this.cost = 0;
  }

  /** Marks everything for repainting. */
  forget() {
    this.key = this.gutterKey = this.scaleKey = "";
  }

  /** Sizes the layers to the page. */
  measure() {
    const ratio = pixelRatio();
    this.width = Math.max(40, this.element.clientWidth - GUTTER);
    const { width } = this;
    const { heights } = this;
    const [w, t] = [Math.round((width + GUTTER) * ratio), Math.round(heights.height * ratio)];
    const { gutter, base, scale, cursor, flag } = this;
    if (gutter.width === w && gutter.height === t) return;
    const ticks = heights.stripTop + heights.strip;
    gutter.width = w;
    base.width = scale.width = Math.round(width * ratio);
    gutter.height = t;
    base.height = Math.round(ticks * ratio);
    scale.height = Math.round((heights.height - ticks) * ratio);
    gutter.style.height = `${heights.height}px`;
    base.style.height = cursor.style.height = scale.style.top = `${ticks}px`;
    scale.style.height = `${heights.height - ticks}px`;
    base.style.left = scale.style.left = `${GUTTER}px`;
    base.style.width = scale.style.width = `${width}px`;
    flag.style.top = `${heights.top - 2}px`;
    flag.style.height = `${heights.rows + 2}px`;
    this.forget();
  }

  /** Paints; false if the cells need repainting and were only moved. @param {boolean} late no time is left in this frame */
  draw(late) {
    const { view, look, lane, heights, width } = this;
    const { axis } = view.camera;
    const draft = view.camera.moves();
    /** @type {Scene} */
    const scene = { lane, axis, heights, width, brushes: look.brushes, font: look.font, lit: view.lit(), language: view.language, from: 0, to: width, draft, lanes: view.run.lanes.length, label: (request) => view.run.label(request) };
    const key = [lane.n, axis.scale, axis.mode, width, look.name, scene.lit, draft].join(" ");
    const stale = key !== this.key || axis.start * axis.scale !== this.place;
    const waits = late && stale && this.axis !== null && this.axis.mode === axis.mode && this.key !== "";
    if (stale && !waits) this.paintCells(scene, key);
    this.placeCells(waits);
    this.paintScale(scene);
    if (lane.changes.length) this.labels.place(axis, width, (text) => this.textWidth(text, "600 10px"));
    this.placeSaved();
    this.placeFlag(); // its words make room for those on what was saved
    this.placeCaption();
    this.paintSlots(scene);
    return !waits;
  }

  /** Paints everything that does not move with the cursor once; later frames only copy it. @param {Scene} scene @param {string} key */
  paintCells(scene, key) {
    const began = performance.now();
    const { lane, heights, width } = this;
    const { axis } = scene;
    const ratio = pixelRatio();
    const base = contextOf(this.base);
    const place = axis.start * axis.scale;
    const by = Math.round(place - this.place);
    const shifts = key === this.key && Math.abs(by) < width * 0.8 && Math.abs(by - (place - this.place)) < 1e-6 && Number.isInteger(by * ratio);
    this.key = key;
    this.place = place;
    this.axis = axis;
    base.setTransform(1, 0, 0, 1, 0, 0);
    if (shifts) {
      // Panned: move the old picture, and paint only the newly visible part.
      base.globalCompositeOperation = "copy";
      base.drawImage(this.base, -by * ratio, 0);
      base.globalCompositeOperation = "source-over";
      scene.from = by > 0 ? Math.max(0, Math.floor(width - by) - 1) : 0;
      scene.to = by > 0 ? width : Math.min(width, Math.ceil(-by) + 1);
      base.clearRect(scene.from * ratio, 0, (scene.to - scene.from) * ratio, this.base.height);
    } else base.clearRect(0, 0, this.base.width, this.base.height);
    base.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (lane.n) {
      base.save();
      base.beginPath();
      base.rect(scene.from, 0, scene.to - scene.from, heights.height);
      base.clip();
      paintRows(base, scene);
      paintStrip(base, scene);
      paintBatches(base, scene);
      paintChanges(base, scene);
      base.restore();
    }
    this.cost = performance.now() - began;
  }

  /** Cells up to the cursor, the cursor, and the chosen row. @param {boolean} waits the cells still show an earlier axis */
  placeCells(waits) {
    const { view, lane, width, heights, base, cursor, chosen } = this;
    const { time } = view;
    const { axis } = view.camera;
    const end = axis.right(lane, lane.n);
    const cut = Math.max(0, Math.min(width, time.follow ? end : Math.min(end, axis.x(time.cursor))));
    // Where the last painted picture lies on the current axis.
    const stretch = waits && this.axis ? axis.scale / this.axis.scale : 1;
    const shift = waits && this.axis ? (this.axis.start - axis.start) * axis.scale : 0;
    const transform = waits ? `translateX(${shift.toFixed(2)}px) scaleX(${stretch.toFixed(5)})` : "";
    if (base.style.transform !== transform) base.style.transform = transform;
    const [hides, shows] = [Math.max(0, -shift / stretch), Math.min(width, (cut - shift) / stretch)];
    const clip = shows >= width && hides <= 0 ? "" : `inset(0 ${Math.max(0, width - shows).toFixed(2)}px 0 ${hides.toFixed(2)}px)`;
    if (base.style.clipPath !== clip) base.style.clipPath = clip;
    const live = view.live();
    const x = time.follow && live ? end : axis.x(time.now());
    cursor.hidden = (time.atEnd() && !live) || !lane.n || x < -1 || x > width + 1;
    cursor.style.transform = `translateX(${(GUTTER + x - 0.75).toFixed(2)}px)`;
    chosen.hidden = view.chosen.slot < 0 || view.chosen.lane !== this.index;
    if (chosen.hidden) return;
    chosen.style.transform = `translate(${GUTTER}px, ${heights.top + view.chosen.slot * heights.pitch - 1.5}px)`;
    chosen.style.height = `${heights.pitch - heights.gap + 3}px`;
    chosen.style.width = `${width}px`;
  }

  /** Ticks and their labels. @param {Scene} scene */
  paintScale(scene) {
    const { axis, language } = scene;
    const key = [axis.start * axis.scale, axis.scale, axis.mode, this.width, this.look.name, language].join(" ");
    if (key === this.scaleKey) return;
    this.scaleKey = key;
    const ctx = contextOf(this.scale);
    const ratio = pixelRatio();
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, this.width, this.heights.height);
    paintAxis(ctx, scene);
  }

  /** Slot numbers. @param {Scene} scene */
  paintSlots(scene) {
    const key = [this.width, this.heights.pitch, this.look.name, scene.language].join(" ");
    if (key === this.gutterKey) return;
    this.gutterKey = key;
    const ctx = contextOf(this.gutter);
    const ratio = pixelRatio();
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, this.width + GUTTER, this.heights.height);
    paintGutter(ctx, scene);
  }

  /** At the finish, the time that this lane did not need: from its end to that of the longest. A run that was stopped has no finish. */
  placeSaved() {
    const { view, lane, saved, heights, width } = this;
    const { axis } = view.camera;
    const longest = view.time.guide();
    const spared = longest && axis.mode === "iterations" ? longest.n - lane.n : 0;
    const x0 = Math.max(0, axis.right(lane, lane.n) + 8);
    const x1 = Math.min(width, axis.right(longest ?? lane, longest?.n ?? 0));
    const ended = !view.live() && !view.run.meta.finish?.stopped && view.time.atEnd() && view.run.lanes.every((other) => other.n > 0);
    const words = view.say("saved", { n: spared, count: view.num(spared) });
    // The words, or the number alone where they have no room.
    const [text, size] = [words, `−${view.num(spared)}`].map((each) => /** @type {[string, number]} */ ([each, this.sizeOf(each, x1 - x0)])).find((each) => each[1] > 0) ?? ["", 0];
    saved.hidden = !ended || spared <= 0 || size === 0;
    if (saved.hidden) return;
    setText(saved, text);
    saved.title = words;
    Object.assign(saved.style, { fontSize: `${size}px`, left: `${(GUTTER + x0).toFixed(1)}px`, width: `${(x1 - x0).toFixed(1)}px`, top: `${heights.top}px`, height: `${heights.rows - heights.gap}px` });
  }

  /** The largest size in px at which no word of a text is cut in a box of this width; 0 if there is none. @param {string} words @param {number} width px */
  sizeOf(words, width) {
    const longest = Math.max(...words.split(" ").map((word) => this.textWidth(word, "700 100px"))) / 100;
    return SAVED_SIZES.find((size) => longest * size <= width - SAVED_ROOM) ?? 0;
  }

  /** @param {string} text @param {string} weight and size of its font */
  textWidth(text, weight) {
    const ctx = contextOf(this.gutter);
    ctx.font = `${weight} ${this.look.font}`;
    return ctx.measureText(text).width;
  }

  /** The director's caption, if it is about this lane, right of what happens, at the slot that it is about. */
  placeCaption() {
    const { view, caption, heights, width } = this;
    const event = view.caption();
    caption.hidden = event === null || event.lane !== this.index;
    if (event === null || caption.hidden) return;
    const { slot, request } = event.refill;
    setText(caption, view.say("caption_refill", { slot, id: view.run.label(request) }));
    const room = Math.max(0, width - caption.offsetWidth - 4);
    const x = Math.min(room, Math.max(0, view.director.beside(event.at) + 14));
    caption.style.transform = `translate(${(GUTTER + x).toFixed(1)}px, ${heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2}px) translateY(-50%)`;
  }

  /** A chequered flag where the lane ended, once the cursor is there; with words where there is room for them. */
  placeFlag() {
    const { view, lane, flag, flagLabel, width } = this;
    const { axis } = view.camera;
    const x = axis.right(lane, lane.n);
    const whole = !view.run.meta.finish?.stopped || view.run.served(this.index);
    const done = whole && !view.live() && view.shown(lane) >= lane.n && lane.n > 0;
    flag.hidden = !done || x < -6 || x > width + 6;
    if (flag.hidden) return;
    const at = Math.min(x, width - 6);
    flagLabel.style.top = lane.n < (view.time.guide()?.n ?? 0) ? "16%" : "50%"; // above what was saved
    flag.style.transform = `translateX(${(GUTTER + at).toFixed(2)}px)`;
    const count = view.num(lane.n);
    setText(flagLabel, view.run.timed ? view.say("lane_done", { n: count, s: roughly(view.language, lane.secondsAt(lane.n)) }) : view.say("lane_done_count", { n: lane.n, count }));
    const ends = at + 30 + this.textWidth(flagLabel.textContent ?? "", "600 12px");
    const cursor = axis.x(view.time.now());
    const crowded = !this.saved.hidden && this.heights.rows < BOTH_LABELS; // the lane's head says its length, too
    flagLabel.hidden = crowded || ends > width || (cursor > at + 8 && cursor < ends);
  }
}
