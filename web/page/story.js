/* Three steps that scroll: static batching, the law of the longest, continuous batching. A guess comes first. */
import { Board } from "../../cbviz/view/js/board.js";
import { h } from "../../cbviz/view/js/dom.js";
import { Run } from "../../cbviz/view/js/run.js";
import { byId } from "./form.js";
import { dataOf } from "./parts.js";
import { pageLine, spoken } from "./words.js";

/** Whether less motion is asked for. */
const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Milliseconds of an iteration. */
const TICK = 60;

/** A request in a line of the story, as `pageLine` is given it and as it is found in the line. */
const marked = (/** @type {number} */ request) => `\u27E6${request}\u27E7`;
const MARKED = /\u27E6(.+?)\u27E7/;

/** Shows a line; its requests are marks, which light up their bars and are lit by them (`refs.js`). @param {Element} element @param {string} line */
function showLine(element, line) {
  element.replaceChildren(...line.split(MARKED).map((part, k) => (k % 2 ? h("span", { class: "cbviz-ref", tabindex: "0" }, part) : part)));
}

export class Story {
  constructor() {
    this.run = new Run();
    /** @type {Board | null} */
    this.board = null;
    /** The step in sight; -1 before the first. */
    this.at = -1;
    this.guess = NaN;
    this.said = byId("guess-said");
    byId("guess-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.take(Number(/** @type {HTMLInputElement} */ (byId("guess")).value));
    });
    byId("guess-skip").addEventListener("click", () => this.take(NaN));
  }

  /** Puts the board on the page, and follows the reader from step to step. */
  async begin() {
    this.run.add(await dataOf("story"));
    this.board = new Board(byId("story-board"), this.run, { language: spoken.now, autoplay: true });
    this.board.view.pauseView();
    this.board.view.moveTo(0);
    const steps = [...document.querySelectorAll(".step")];
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.show(steps.indexOf(entry.target));
    }, { rootMargin: "-45% 0px -45% 0px" });
    for (const step of steps) watch.observe(step);
    this.speak();
    byId("guess-first").hidden = false;
  }

  /** Iterations of the first batch: what the longest of its requests needs. */
  firstBatch() {
    const [lane] = this.run.lanes;
    const second = [...lane.requests.values()].map(({ admitted }) => admitted).filter((at) => at > 0);
    return Math.min(...second);
  }

  /** The request that keeps the first batch running. */
  longest() {
    const [lane] = this.run.lanes;
    const first = [...lane.requests.values()].filter(({ admitted }) => admitted === 0);
    return first.reduce((longest, other) => (other.finished > longest.finished ? other : longest)).id;
  }

  /** What the lines say of the run. */
  facts() {
    const [a, b] = this.run.have();
    const { request = -1, replaced = -1 } = this.run.lanes[1].refill ?? {};
    return { a, b, longest: this.firstBatch(), last: marked(this.longest()), first: marked(replaced), next: marked(request) };
  }

  /** @param {number} step */
  show(step) {
    if (!this.board || step === this.at) return;
    this.at = step;
    byId("story-board").dataset.step = String(step);
    for (const [i, element] of [...document.querySelectorAll(".step")].entries()) element.classList.toggle("now", i === step);
    const { view } = this.board;
    view.pauseView();
    view.pin(-1);
    if (step === 0) this.playTo(this.firstBatch());
    if (step === 1) {
      view.moveTo(this.firstBatch());
      view.pin(this.longest());
    }
    if (step === 2) this.playTo(Math.max(...this.run.have()));
  }

  /** Plays from the start to an iteration; where less motion is asked for, or once the board is out of sight, it is there at once. @param {number} end */
  playTo(end) {
    const view = this.board?.view;
    if (!view) return;
    clearInterval(this.playing);
    let now = still() ? end : 0;
    view.moveTo(now);
    const step = this.at;
    this.playing = setInterval(() => {
      now = this.board?.visible && !document.hidden ? Math.min(end, now + 1) : end;
      if (this.at === step) view.moveTo(now);
      if (this.at !== step || now >= end) clearInterval(this.playing);
    }, TICK);
  }

  /** @param {number} guess NaN for none */
  take(guess) {
    this.guess = guess;
    document.body.dataset.guessed = "true";
    this.speak();
    byId("steps").scrollIntoView({ behavior: still() ? "auto" : "smooth" });
  }

  /** What depends on the language. */
  speak() {
    if (!this.board) return;
    this.board.root.setAttribute("aria-label", pageLine("story_label")); // two regions of a page need two names
    const facts = this.facts();
    const { a, b } = facts;
    byId("guess-question").textContent = pageLine("guess_question", { iterations: a });
    for (const element of document.querySelectorAll("[data-story]")) showLine(element, pageLine(/** @type {HTMLElement} */ (element).dataset.story ?? "", facts));
    const off = Math.abs(this.guess - b);
    this.said.textContent = Number.isNaN(this.guess) ? pageLine("guess_none", { b }) : pageLine(off === 0 ? "guess_right" : "guess_off", { guess: this.guess, b });
  }
}
