/* At the top: titles, the unit of the time axis, and the buttons for the table, the language and the help. */

import { inWords, nextLanguage, sentence } from "./catalogue.js";
import { button, h, setText } from "./dom.js";

/** @import { View } from "./view.js" */

/** Titles and tools. */
export class Header {
  /** @param {View} view @param {{table: () => void, language: () => void, help: () => void}} acts what the board itself does */
  constructor(view, acts) {
    this.view = view;
    this.iterations = button("iterations", view.say("iterations"), () => view.setMode("iterations"));
    this.seconds = button("seconds", view.say("seconds"), () => view.setMode("seconds"));
    this.table = button("table", view.say("table"), acts.table);
    this.help = button("help", "?", acts.help);
    const next = nextLanguage(view.language);
    const language = button("language", sentence(next, "language.name"), acts.language);
    language.title = view.say("language_title");
    language.lang = sentence(next, "language.html");
    this.help.title = view.say("help");
    this.help.setAttribute("aria-label", view.say("help"));
    this.table.title = view.say("table_title");
    for (const opener of [this.table, this.help]) opener.setAttribute("aria-expanded", "false");
    this.burst = button("burst", view.say("burst"), () => view.control({ action: "burst" }));
    this.restart = button("run-again", view.say("restart"), () => view.startOver());
    this.restart.title = view.say("restart_run_title");
    this.title = h("h2", { class: "cb-title", dir: "auto" });
    this.subtitle = h("p", { class: "cb-subtitle", dir: "auto" });
    this.element = h(
      "header", { class: "cb-header" },
      h("div", { class: "cb-titles" }, this.title, this.subtitle),
      h(
        "div", { class: "cb-tools" },
        this.burst, this.restart,
        h("div", { class: "cb-group", role: "group", "aria-label": view.say("units") }, this.iterations, this.seconds),
        h("div", { class: "cb-group" }, this.table, language, this.help),
      ),
    );
  }

  draw() {
    const { meta } = this.view.run;
    setText(this.title, inWords(this.view.language, meta.title ?? ""));
    setText(this.subtitle, inWords(this.view.language, meta.subtitle ?? ""));
    this.subtitle.title = this.subtitle.textContent ?? "";
    // Among the knobs, where there are some.
    const { actions = [] } = this.view.host?.state() ?? {};
    const knobs = this.view.knobs();
    this.restart.hidden = knobs.length > 0 || !this.view.canRestart();
    this.burst.hidden = !this.view.live() || this.view.status() === "waiting" || knobs.length > 0 || !actions.includes("burst");
    this.iterations.setAttribute("aria-pressed", String(this.view.time.mode === "iterations"));
    this.seconds.setAttribute("aria-pressed", String(this.view.time.mode === "seconds"));
  }
}
