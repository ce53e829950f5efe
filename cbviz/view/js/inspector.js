/* Details of one request: prompt, answer, and its times in every lane. */

import { inWords, sentence } from "./catalogue.js";
import { clip, h, wordButton } from "./dom.js";
import { roughly } from "./numbers.js";
import { requestViews } from "./request.js";
import { colourOf, textOn } from "./theme.js";
import { endWords } from "./words.js";

/** @import { RequestView } from "./request.js" */
/** @import { Text } from "./catalogue.js" */
/** @import { View } from "./view.js" */

/** A card over the lanes, away from the pointer; on a phone a sheet at the bottom. There only while a request stands out. */
export class Inspector {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.element = h("aside", { class: "cb-inspector", "aria-label": view.say("request", { id: "" }).trim() });
    /** What it shows now, so that it is built again only when that changes. */
    this.shown = "";
  }

  draw() {
    const { view, element } = this;
    const id = view.lit();
    element.dataset.request = String(id);
    element.hidden = id < 0;
    // What only the pointer shows must not come between the pointer and the lanes.
    element.dataset.stays = String(view.pinned >= 0 || view.chosen.slot >= 0);
    element.dataset.side = view.away;
    if (id < 0) {
      this.shown = "";
      element.replaceChildren();
      return;
    }
    view.askWhy();
    const views = requestViews(view, id);
    const whys = view.run.lanes.map((_, lane) => view.whyWaits(lane));
    const from = view.pointed?.lane ?? views.findIndex((seen) => seen !== null);
    const shown = JSON.stringify([id, view.pinned, views, whys, from, view.language]);
    if (this.shown === shown) return;
    const fresh = !this.shown.startsWith(`[${id},`);
    this.shown = shown;
    const kept = element.querySelector(".cb-output")?.scrollTop ?? 0;
    const output = this.outputBox(views[from] ?? views.find((seen) => seen !== null) ?? null);
    element.replaceChildren(this.saidBox(id, output), this.whyBox(whys), this.factsBox(id, views));
    // While the answer streams, its newest words stay visible unless the viewer has scrolled back.
    output.scrollTop = fresh || kept > 0 ? output.scrollHeight : kept;
  }

  /** @param {RequestView | null} seen the request in the lane that is pointed at */
  outputBox(seen) {
    const { view } = this;
    let text = seen && seen.finished >= 0 ? sentence(view.language, "answers.empty") : view.say("empty_output");
    if (seen && seen.tokens > 0) text = seen.text === null ? view.say("no_text", { n: view.num(seen.tokens) }) : clip(seen.text);
    return this.textBox("output", text);
  }

  /** @param {"prompt" | "output"} name @param {string} text */
  textBox(name, text) {
    return h("div", { class: `cb-text cb-${name}`, dir: "auto", tabindex: "0", role: "group", "aria-label": this.view.say(name) }, text);
  }

  /** Prompt and answer. @param {number} id @param {HTMLElement} output */
  saidBox(id, output) {
    const { view } = this;
    const about = view.run.lanes.map((_, index) => view.run.about(index, id)).find((entry) => entry !== null) ?? null;
    const chip = h("span", { class: "cb-chip" }, view.run.label(id));
    chip.style.background = colourOf(id);
    chip.style.color = textOn(colourOf(id));
    const release = wordButton(view.say(view.pinned >= 0 ? "release" : "keep"), () => view.pin(id), "cb-release");
    const title = (/** @type {string} */ words) => h("div", { class: "cb-small" }, view.say(words));
    const head = h("div", { class: "cb-inspector-head" }, chip, h("h3", {}, view.say("request", { id: view.run.label(id) })), release);
    return h("div", { class: "cb-said" }, head, title("prompt"), this.textBox("prompt", clip(about?.prompt ?? "")), title("output"), output);
  }

  /** Why it waits, in each lane in which it does. @param {(Text | null)[]} whys */
  whyBox(whys) {
    const { view } = this;
    const box = h("div", { class: "cb-why", role: "status" });
    whys.forEach((why, index) => {
      if (why === null) return;
      const lane = view.run.lanes[index];
      box.append(h("p", { dir: "auto" }, view.say("waits_because", { policy: lane.title(view.shown(lane)), reason: inWords(view.language, why).slice(0, 300) })));
    });
    box.hidden = !box.children.length;
    return box;
  }

  /** A table with a row for each fact and a column for each lane. @param {number} id @param {(RequestView | null)[]} views */
  factsBox(id, views) {
    const { view } = this;
    const { language } = view;
    const { lanes } = view.run;
    const table = h("table", { class: "cb-facts" });
    if (lanes.length > 1) table.append(h("thead", {}, h("tr", {}, h("td", {}), ...lanes.map((lane) => h("th", { scope: "col", dir: "auto" }, lane.title(view.shown(lane)))))));
    const body = h("tbody");
    /** @param {string} name @param {(seen: RequestView) => string} fact @param {string} [title] */
    const row = (name, fact, title = "") => {
      const cells = views.map((seen) => h("td", { dir: "auto" }, seen ? fact(seen) : "–"));
      body.append(h("tr", {}, h("th", title ? { scope: "row", title } : { scope: "row" }, view.say(name)), ...cells));
    };
    row("status", (seen) => view.say(seen.status, { why: view.say(endWords(seen.why)) }));
    row("slot_row", (seen) => (seen.slot < 0 ? "–" : seen.replaced >= 0 ? view.say("freed_by", { slot: view.num(seen.slot), id: view.run.label(seen.replaced) }) : view.num(seen.slot)));
    if (view.run.timed) {
      row("waited", (seen) => roughly(language, seen.waited));
      row("ttft", (seen) => roughly(language, seen.ttft), view.say("ttft_title"));
      row("tpot", (seen) => roughly(language, seen.tpot), view.say("tpot_title"));
    }
    row("tokens", (seen) => view.num(seen.tokens));
    if (views.some((seen) => seen && seen.drafts.checked)) row("drafts", (seen) => view.say("drafts_fact", { n: view.num(seen.drafts.accepted), all: view.num(seen.drafts.checked) }), view.say("drafts_title"));
    if (views.some((seen) => seen && seen.preemptions)) row("preemptions", (seen) => view.num(seen.preemptions));
    if (views.some((seen) => seen && seen.reason)) row("admitted_because", (seen) => inWords(language, seen.reason).slice(0, 200) || "–");
    table.append(body);
    const facts = h("div", { class: "cb-facts-box" }, table);
    const texts = views.filter((seen) => seen && seen.finished >= 0 && seen.text !== null && seen.why !== "cancelled").map((seen) => seen?.text);
    if (texts.length > 1 && texts.some((other) => other !== texts[0])) facts.append(h("p", { class: "cb-differ" }, view.say("differ")));
    const open = views.some((seen) => seen !== null && seen.finished < 0);
    if (open && view.live() && view.host?.state().actions.includes("cancel")) facts.append(wordButton(view.say("cancel", { id: view.run.label(id) }), () => view.control({ action: "cancel", request: id })));
    return facts;
  }
}
