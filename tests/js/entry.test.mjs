import assert from "node:assert/strict";
import { mock, test } from "node:test";
import "./page.mjs";
import { frame } from "./page.mjs";
import { iterations } from "./encode.mjs";
import { load } from "./modules.mjs";
import { STORY } from "./story.mjs";

mock.timers.enable({ apis: ["setTimeout"] }); // a live board looks for its place for seconds
const { initialize, render } = (await load("entry")).default;

/** A widget as anywidget 0.11 shows it: `proxy` is another object for `initialize` and for every `render`, and knows only some of the model. */
function widget(id, manager) {
  const state = { _id: id, _meta: { title: "T", lanes: [{ name: "a", slots: 2, total_blocks: 10 }] }, _status: "running", _run: new DataView(new ArrayBuffer(0)), _actions: [], _knobs: [], _language: "en" };
  const listeners = [];
  const sent = [];
  const proxy = () => {
    const context = {};
    return {
      get: (name) => state[name], send: (message) => sent.push(message), widget_manager: manager,
      on: (name, act) => listeners.push({ name, act, context }),
      off: (name, act) => listeners.splice(listeners.findIndex((one) => one.name === name && one.act === act && one.context === context), 1),
    };
  };
  const say = (name, ...given) => listeners.filter((one) => one.name === name).forEach(({ act }) => act(...given));
  return { proxy, sent, listeners, frame: (seq, to) => say("msg:custom", { type: "frame", seq, have: [to] }, [new DataView(iterations({ ...STORY, to }).buffer)]) };
}
const feeds = () => globalThis.__cbviz_feeds.size;
const received = (element) => {
  frame(1000);
  frame(2000);
  return element.all("cbviz").map((board) => board.dataset.received);
};

test("the views of a widget share the feed that its initialize made, and one that goes takes nothing with it", () => {
  const one = widget("a", {});
  const end = initialize({ model: one.proxy() });
  const element = document.createElement("div");
  document.body.append(element);
  const [first, second] = [0, 1].map(() => render({ model: one.proxy(), el: element }));
  assert.deepEqual([one.sent.map(({ type }) => type), feeds()], [["hello"], 1]);
  one.frame(1, 3);
  assert.deepEqual(one.sent.map(({ type }) => type), ["hello", "ack"], "it is confirmed once");
  assert.deepEqual(received(element), ["3", "3"]);
  first();
  one.frame(2, 9);
  assert.deepEqual(received(element), ["9"]);
  second();
  assert.deepEqual(received(element), []);
  render({ model: one.proxy(), el: element })();
  assert.deepEqual(one.sent.map(({ type }) => type), ["hello", "ack", "ack"], "what it holds serves the views to come");
  end();
  assert.deepEqual([feeds(), one.listeners.length], [0, 0]);
  element.remove();
});

test("two managers may hold a widget of one id, and each has its own feed", () => {
  const [notebook, console] = [widget("a", {}), widget("a", {})];
  const ends = [notebook, console].map((each) => initialize({ model: each.proxy() }));
  assert.equal(feeds(), 2);
  ends[1]();
  const element = document.createElement("div");
  document.body.append(element);
  const gone = render({ model: notebook.proxy(), el: element });
  notebook.frame(1, 3);
  assert.deepEqual([received(element), feeds()], [["3"], 1]);
  gone();
  ends[0]();
  assert.equal(feeds(), 0);
  element.remove();
});

test("a widget that is made anew before its forerunner goes stays", () => {
  const manager = {};
  const [before, after] = [widget("a", manager), widget("a", manager)];
  const first = initialize({ model: before.proxy() });
  const second = initialize({ model: after.proxy() });
  first();
  const element = document.createElement("div");
  document.body.append(element);
  const gone = render({ model: after.proxy(), el: element });
  after.frame(1, 3);
  assert.deepEqual([received(element), feeds()], [["3"], 1]);
  gone();
  second();
  element.remove();
});

test("a host that does not initialize, or has no manager, has a feed too", () => {
  const one = widget("a", undefined);
  const element = document.createElement("div");
  document.body.append(element);
  const gone = render({ model: one.proxy(), el: element });
  assert.equal(feeds(), 1);
  one.frame(1, 3);
  assert.deepEqual(received(element), ["3"]);
  gone();
  assert.deepEqual([feeds(), one.listeners.length], [0, 0]);
  const end = initialize({ model: one.proxy() });
  render({ model: one.proxy(), el: element })();
  assert.equal(feeds(), 1);
  end();
  element.remove();
});
