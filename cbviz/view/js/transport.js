/* Above the lanes: stop, step, play, speed, position, zoom, jumps. */

import { TAKES } from "./director.js";
import { ICONS, button, h, icon, setText } from "./dom.js";
import { duration } from "./numbers.js";
import { SPEEDS } from "./playhead.js";
import { JUMPS } from "./view.js";

/** @import { View } from "./view.js" */

/** @param {number} speed */
const speedLabel = (speed) => (speed === 0.25 ? "¼" : speed === 0.5 ? "½" : String(speed)) + "×";

/** The controls of time. */
export class Transport {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.stop = button("stop", view.say("stop"), () => view.control({ action: "stop" }), ICONS.stop);
    this.stop.append(h("span", { class: "cb-word", "aria-hidden": "true" }, view.say("stop_word")));
    this.play = button("play", view.say("play"), () => view.toggle(), ICONS.play);
    this.live = button("live", view.say("live"), () => view.toEnd());
    this.live.title = view.say("live_title");
    this.jumpKind = h("select", { class: "cb-select", "aria-label": view.say("jump"), title: view.say("jump") });
    for (const [kind, words] of JUMPS) this.jumpKind.append(h("option", { value: String(kind) }, view.say(words)));
    this.jumpKind.addEventListener("change", () => (view.jumpKind = Number(this.jumpKind.value)));
    this.speed = h("select", { class: "cb-select cb-speed", "aria-label": view.say("speed") });
    for (const speed of SPEEDS) this.speed.append(h("option", { value: String(speed) }, speedLabel(speed)));
    this.speed.addEventListener("change", () => view.setSpeed(Number(this.speed.value)));
    this.scrub = h("input", { type: "range", class: "cb-scrub", min: "0", step: "1", "aria-label": view.say("position") });
    this.scrub.addEventListener("input", () => {
      view.pauseView();
      view.moveTo((Number(this.scrub.value) / Number(this.scrub.max || 1)) * view.time.extent(), true);
    });
    this.place = h("output", { class: "cb-place" });
    this.status = h("span", { class: "cb-status" });
    const back = button("back", view.say("back"), () => view.step(-1), ICONS.back);
    const forward = button("forward", view.say("forward"), () => view.step(1), ICONS.forward);
    const previous = button("previous", view.say("previous"), () => view.jump(null, -1), ICONS.previous);
    const next = button("next", view.say("next"), () => view.jump(null, 1), ICONS.next);
    this.camera = button("camera", view.say("camera"), () => view.direct(), ICONS.camera);
    const zoom = [
      this.camera,
      button("zoom-out", view.say("zoom_out"), () => view.zoom(1 / 1.5), ICONS.minus),
      button("fit", view.say("fit"), () => view.fit(), ICONS.fit),
      button("zoom-in", view.say("zoom_in"), () => view.zoom(1.5), ICONS.plus),
    ];
    this.element = h(
      "div", { class: "cb-transport", role: "group", "aria-label": view.say("position") },
      h("div", { class: "cb-keys" }, this.stop, back, this.play, forward, this.live),
      this.speed, this.scrub, h("div", { class: "cb-where" }, this.place, this.status),
      h("div", { class: "cb-group cb-zoom" }, ...zoom),
      h("div", { class: "cb-group cb-jump", role: "group", "aria-label": view.say("jump") }, previous, this.jumpKind, next),
    );
    this.drawChoices();
  }

  draw() {
    this.drawButtons();
    this.drawPlace();
    this.drawStatus();
    this.drawChoices();
  }

  drawButtons() {
    const { view, play, stop, live } = this;
    const status = view.status();
    const moving = view.time.playing || (view.live() && status === "running");
    const does = moving ? "pause" : status === "waiting" ? "start_title" : "play";
    if (play.dataset.does !== does) {
      play.dataset.does = does;
      play.replaceChildren(icon(moving ? ICONS.pause : ICONS.play));
      play.title = view.say(does);
      play.setAttribute("aria-label", play.title);
    }
    if (!view.live() || status === "stopping") view.askedToStop = false;
    stop.hidden = view.host === null || !view.host.state().actions.includes("stop");
    stop.toggleAttribute("disabled", !view.live() || status === "stopping" || view.askedToStop);
    const waits = view.askedToStop ? "asked_to_stop" : status === "stopping" ? "stopping" : "stop";
    stop.title = view.say(waits);
    stop.setAttribute("aria-label", stop.title);
    this.camera.setAttribute("aria-pressed", String(view.director.directs));
    this.camera.title = view.say(view.director.directs ? "camera_directs" : "camera");
    live.hidden = !view.live() || status === "waiting";
    live.setAttribute("aria-pressed", String(view.time.follow));
  }

  /** Shows the view's position in the run. */
  drawPlace() {
    const { view, scrub } = this;
    const extent = view.time.extent();
    const now = view.time.now();
    const whole = view.time.mode === "iterations";
    const steps = whole ? Math.max(1, Math.ceil(extent)) : 1000;
    if (scrub.max !== String(steps)) scrub.max = String(steps);
    const value = String(extent ? Math.round((now / extent) * steps) : 0);
    if (scrub.value !== value) scrub.value = value;
    scrub.style.setProperty("--cb-done", `${extent ? (100 * now) / extent : 0}%`);
    const place = whole ? view.say("at", { n: view.num(Math.floor(now + 1e-9)) }) : duration(view.language, now);
    const total = view.say("of_total", { total: whole ? view.num(extent) : duration(view.language, extent) });
    setText(this.place, `${place} ${total}`);
    scrub.setAttribute("aria-valuetext", `${place} ${total}`);
  }

  drawStatus() {
    const { view } = this;
    const status = view.status();
    this.status.dataset.status = status;
    let words = "";
    if (view.askedToStop) words = "asked_to_stop";
    else if (status === "waiting") words = view.askedToStart ? "starting" : "waits_for_start";
    else if (view.live()) words = status === "running" && view.time.follow ? "is_live" : status;
    else if (view.askedAgain !== null && view.askedAgain === view.host?.state().refusal) words = "starting";
    else if (status === "stopped") words = "stopped";
    setText(this.status, words && view.say(words));
  }

  /** Shows the speed and the kind of jump, which keys can also change. */
  drawChoices() {
    const { view, speed, jumpKind } = this;
    if (speed.value !== String(view.time.speed)) speed.value = String(view.time.speed);
    if (jumpKind.value !== String(view.jumpKind)) jumpKind.value = String(view.jumpKind);
    const rate = view.time.rate() * view.time.speed;
    speed.title = view.say(view.director.directs ? "speed_directed" : "speed_title", { rate: view.num(rate, rate < 10 ? 1 : 0), s: view.num(TAKES / view.time.speed) });
  }
}
