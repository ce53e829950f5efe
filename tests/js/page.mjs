// As much of a browser as the board's parts need, so that node can test what they put on the page. Elements hold
// attributes, children and listeners; canvases write down what is painted; frames and sizes come when a test says so.

export class Node {
  constructor() {
    this.children = [];
    this.parentElement = null;
  }
  append(...parts) {
    for (const part of parts) {
      const child = typeof part === "string" ? Object.assign(new Node(), { text: part }) : part;
      child.remove();
      child.parentElement = this;
      this.children.push(child);
    }
  }
  replaceChildren(...parts) {
    for (const child of [...this.children]) child.remove();
    this.append(...parts);
  }
  remove() {
    const siblings = this.parentElement?.children;
    if (siblings) siblings.splice(siblings.indexOf(this), 1);
    this.parentElement = null;
  }
  get textContent() {
    return this.text ?? this.children.map((child) => child.textContent).join("");
  }
  set textContent(text) {
    this.replaceChildren(text);
  }
  get isConnected() {
    return this === document.documentElement || (this.parentElement?.isConnected ?? false);
  }
}

export class Element extends Node {
  constructor(tag) {
    super();
    this.tag = tag;
    this.attributes = {};
    this.listeners = {};
    this.style = { setProperty: () => {} };
    this.hidden = false;
    this.clientWidth = 632;
    this.offsetWidth = 100;
    this.dataset = new Proxy(this.attributes, {
      get: (all, name) => all[`data-${name}`],
      set: (all, name, value) => ((all[`data-${name}`] = String(value)), true),
    });
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (["value", "max", "title", "lang"].includes(name)) this[name] = String(value);
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  toggleAttribute(name, on) {
    if (on) this.attributes[name] = "";
    else delete this.attributes[name];
  }
  addEventListener(name, listener) {
    (this.listeners[name] ??= []).push(listener);
  }
  removeEventListener(name, listener) {
    this.listeners[name] = (this.listeners[name] ?? []).filter((other) => other !== listener);
  }
  /** Calls the listeners, from here to the root as a browser does. */
  fire(name, event = {}) {
    let stopped = false;
    const full = { target: this, type: name, preventDefault: () => {}, stopPropagation: () => (stopped = true), ...event };
    for (let element = this; element && !stopped; element = element.parentElement) for (const listener of element.listeners?.[name] ?? []) listener(full);
  }
  /** Every element below that carries a class, in order. */
  all(name) {
    return this.children.flatMap((child) => (child instanceof Element ? [...((child.attributes.class ?? "").split(" ").includes(name) ? [child] : []), ...child.all(name)] : []));
  }
  scrollIntoView(how) {
    this.scrolled = how;
  }
  querySelector(selector) {
    const [, action] = /^\[data-action="(.*)"\]$/.exec(selector) ?? [];
    return (action ? this.all("cb-button").find((found) => found.dataset.action === action) : this.all(selector.slice(1))[0]) ?? null;
  }
  closest(selector) {
    for (let element = this; element; element = element.parentElement) if ((element.attributes?.class ?? "").split(" ").includes(selector.slice(1))) return element;
    return null;
  }
  matches() {
    return false;
  }
  removeAttribute(name) {
    delete this.attributes[name];
  }
  focus() {
    document.activeElement = this;
  }
  setPointerCapture() {}
  /** A motion that the test ends. */
  animate(frames, options) {
    const motion = { element: this, frames, options };
    page.motions.push(motion);
    return motion;
  }
  getBoundingClientRect() {
    return { left: 0, top: 0, width: this.clientWidth, height: 600, bottom: 600, ...this.box };
  }
  getContext() {
    return (this.context ??= canvasContext());
  }
}
export class Button extends Element {}
export class Input extends Element {
  get type() {
    return this.attributes.type;
  }
}
export class Select extends Element {}

/** A 2D context: `painted` lists the calls that leave ink, each with the style it had. */
export function canvasContext() {
  const painted = [];
  const state = { painted, fillStyle: "", strokeStyle: "", globalAlpha: 1 };
  const inked = ["fillRect", "fillText", "fill", "stroke", "putImageData", "drawImage"];
  return new Proxy(state, {
    get: (all, name) => {
      if (name in all) return all[name];
      if (name === "measureText") return (text) => ({ width: text.length * 6 });
      if (name === "createPattern") return () => ({ setTransform: () => {} });
      if (name === "createImageData") return (width, height) => ({ width, height, data: new Uint8ClampedArray(width * height * 4) });
      return (...given) => {
        if (inked.includes(name)) painted.push({ call: name, given, style: name === "stroke" ? all.strokeStyle : all.fillStyle });
      };
    },
  });
}

/** What the page waits to do. */
export const page = { frames: [], observers: [], queries: {}, motions: [] };

/** Lets one frame pass. */
export function frame(time) {
  for (const draw of page.frames.splice(0)) draw(time);
}

class Observer {
  constructor(react) {
    this.react = react;
    this.watched = [];
    page.observers.push(this);
  }
  observe(element) {
    this.watched.push(element);
  }
  disconnect() {
    this.watched = [];
  }
}

const kinds = { button: Button, input: Input, select: Select };
const make = (tag) => new (kinds[tag] ?? Element)(tag);
const documentElement = new Element("html");
const body = new Element("body");
documentElement.append(body);
Object.assign(globalThis, {
  HTMLElement: Element, HTMLButtonElement: Button, HTMLInputElement: Input, HTMLSelectElement: Select, DOMMatrix: class {},
  document: { createElement: make, createElementNS: (_, tag) => make(tag), documentElement, body, activeElement: null, querySelectorAll: (selector) => documentElement.all(selector.slice(1)), addEventListener: (...given) => documentElement.addEventListener(...given), removeEventListener: (...given) => documentElement.removeEventListener(...given) },
  ResizeObserver: class extends Observer {}, IntersectionObserver: class extends Observer {}, MutationObserver: class extends Observer {},
  getComputedStyle: (element) => ({ backgroundColor: element.ground ?? "rgba(0, 0, 0, 0)", color: "rgb(0, 0, 0)", fontFamily: "Test", overflowY: element.overflow ?? "visible" }),
  requestAnimationFrame: (draw) => page.frames.push(draw), cancelAnimationFrame: () => (page.frames.length = 0),
  window: Object.assign(new Element("window"), { devicePixelRatio: 1, innerHeight: 800, matchMedia: (query) => (page.queries[query] ??= Object.assign(new Element("query"), { matches: false })), setTimeout, clearTimeout }),
});
