/* A slider over given values: its name, the handle, and the value at which it stands. The handle is the browser's own,
   so that keys, fingers and screen readers find what they know. */

const BOX = "display:flex;gap:2px 12px;align-items:center;max-width:540px;color:var(--jp-ui-font-color1,inherit);";
const FONT = "font-family:var(--jp-ui-font-family,inherit);font-size:var(--jp-ui-font-size1,13px);";
const UPRIGHT = "writing-mode:vertical-lr;direction:rtl;height:130px;";

/** @param {string} tag @param {string} style @param {HTMLElement} into */
function part(tag, style, into) {
  const made = document.createElement(tag);
  made.style.cssText = style;
  into.append(made);
  return made;
}

/** @param {{ model: any, el: HTMLElement, signal?: AbortSignal }} props */
function render({ model, el }) {
  const upright = model.get("upright");
  const box = part("div", BOX + FONT + (upright ? "flex-direction:column;width:64px;" : "flex-wrap:wrap;"), el);
  const name = part("span", upright ? "" : `flex:0 0 auto;min-width:min(${model.get("name_width")}px,100%);`, box);
  const track = upright ? UPRIGHT : "flex:1 1 140px;max-width:300px;";
  const handle = /** @type {HTMLInputElement} */ (part("input", `${track}accent-color:var(--jp-brand-color1,auto);`, box));
  const value = part("output", "white-space:nowrap;" + (upright ? "" : "min-width:4em;"), box);
  handle.type = "range";
  handle.min = "0";
  handle.setAttribute("data-lm-suppress-shortcuts", "true"); // arrow keys are the slider's, not JupyterLab's

  const show = () => {
    /** @type {string[]} */
    const words = model.get("words");
    const index = model.get("index");
    name.textContent = model.get("name");
    handle.max = String(words.length - 1);
    handle.value = String(index);
    handle.setAttribute("aria-label", model.get("name"));
    handle.setAttribute("aria-valuetext", words[index]);
    value.textContent = words[index];
  };
  handle.addEventListener("input", () => {
    model.set("index", Number(handle.value));
    model.save_changes();
    show();
  });
  model.on("change:index", show);
  show();
  return () => model.off("change:index", show);
}

export default { render };
