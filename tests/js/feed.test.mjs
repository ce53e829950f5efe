import assert from "node:assert/strict";
import { test } from "node:test";
import { iterations, meta } from "./encode.mjs";
import { load } from "./modules.mjs";
import { STORY } from "./story.mjs";

const { Feed, hostBehind } = await load("feed");

/** A widget's model that keeps what is sent and lets a test speak for the kernel. */
function fakeModel(state) {
  const listeners = new Map();
  return {
    sent: [], get: (name) => state[name], on: (name, f) => listeners.set(name, f), off: (name) => listeners.delete(name),
    send(message) { this.sent.push(message); }, say: (content, buffers = []) => listeners.get("msg:custom")(content, buffers.map((b) => new DataView(b.buffer))),
    change(name, value) { state[name] = value; listeners.get(`change:${name}`)(); }, listeners,
  };
}
const LIVE = () => ({ _meta: { title: "T", lanes: [{ name: "a", slots: 2, total_blocks: 10 }] }, _status: "running", _run: new DataView(new ArrayBuffer(0)), _actions: [], _knobs: [] });

test("a feed says hello, confirms frames and asks again after a loss", () => {
  const model = fakeModel(LIVE());
  const feed = new Feed(model);
  assert.deepEqual(model.sent.shift(), { type: "hello", epoch: 0, have: [0] });
  model.say({ type: "frame", seq: 1, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  assert.deepEqual(model.sent.shift(), { type: "ack", seq: 1 });
  feed.asked = 0;
  model.say({ type: "frame", seq: 3, have: [9] }, [iterations({ ...STORY, from: 7, to: 9 })]);
  assert.deepEqual(model.sent, [{ type: "ack", seq: 3 }, { type: "resync", epoch: 0, have: [3] }]);
  model.say({ type: "frame", seq: 4, have: [9] }, [iterations({ ...STORY, to: 9 })]);
  assert.deepEqual(feed.run.have(), [9]);
  model.change("_run", new DataView(iterations(STORY).buffer));
  assert.deepEqual(feed.run.have(), [10]);
  feed.close();
  assert.equal(model.listeners.size, 0);
});

test("a late feed finds the whole run in the widget's state", () => {
  const state = LIVE();
  state._run = new DataView(iterations(STORY).buffer);
  state._status = "finished";
  const feed = new Feed(fakeModel(state));
  assert.deepEqual(feed.run.have(), [10]);
});

test("what is missing is asked for once, not with every message that shows it", () => {
  const model = fakeModel(LIVE());
  const feed = new Feed(model);
  model.sent.length = feed.asked = 0;
  for (const seq of [2, 3, 4]) model.say({ type: "frame", seq, have: [9] }, [iterations({ ...STORY, from: seq + 3, to: seq + 4 })]);
  assert.deepEqual(model.sent.map(({ type }) => type), ["ack", "resync", "ack", "ack"]);
  assert.equal(feed.run.gaps, 3);
});

test("a message that says how far the run is shows the loss of one that did not come", () => {
  const model = fakeModel(LIVE());
  const feed = new Feed(model);
  model.sent.length = feed.asked = 0;
  model.say({ type: "frame", seq: 1, have: [3] }, [meta([], {})]);
  assert.deepEqual(model.sent, [{ type: "ack", seq: 1 }, { type: "resync", epoch: 0, have: [0] }]);
});

test("a run that waited and begins comes into sight, once", () => {
  const model = fakeModel({ ...LIVE(), _status: "waiting" });
  const feed = new Feed(model);
  let came = 0;
  feed.boards.add({ refresh: () => {}, comeIntoSight: () => came++ });
  for (const status of ["running", "paused", "running"]) model.change("_status", status);
  assert.equal(came, 1);
});

test("a run that begins anew starts from empty lanes, and nothing of the old one is painted into it", () => {
  const model = fakeModel(LIVE());
  const feed = new Feed(model);
  let restarts = 0;
  feed.boards.add({ refresh: () => {}, changed: () => {}, restart: () => restarts++ });
  model.say({ type: "frame", seq: 1, epoch: 0, have: [9] }, [iterations({ ...STORY, to: 9 })]);
  model.say({ type: "why", request: 2, reasons: ["no slot is free"] });
  assert.equal(feed.host().state().why.request, 2);
  // The new run shows first in a frame, or in the widget's state: whichever comes first.
  model.say({ type: "frame", seq: 2, epoch: 1, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  assert.deepEqual([feed.run.have(), restarts, feed.host().state().why], [[3], 1, null]);
  model.change("_meta", { ...LIVE()._meta, epoch: 1 });
  assert.deepEqual([feed.run.have(), restarts], [[3], 1]);
  model.change("_meta", { ...LIVE()._meta, epoch: 2 });
  assert.deepEqual([feed.run.have(), restarts], [[0], 2]);
  model.sent.length = 0;
  model.say({ type: "frame", seq: 3, epoch: 1, have: [10] }, [iterations(STORY)]);
  assert.deepEqual([feed.run.have(), model.sent], [[0], [{ type: "ack", seq: 3 }]], "still on its way when it began anew");
  model.say({ type: "frame", seq: 4, epoch: 2, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  feed.asked = 0;
  model.say({ type: "frame", seq: 6, epoch: 2, have: [9] }, [iterations({ ...STORY, from: 7, to: 9 })]);
  assert.deepEqual(model.sent.at(-1), { type: "resync", epoch: 2, have: [3] });
  model.change("_run", new DataView(iterations(STORY).buffer));
  assert.deepEqual(feed.run.have(), [10]);
});

test("a page that opens after a restart belongs to the new run", () => {
  const state = { ...LIVE(), _meta: { ...LIVE()._meta, epoch: 3 } };
  const model = fakeModel(state);
  const feed = new Feed(model);
  assert.deepEqual(model.sent, [{ type: "hello", epoch: 3, have: [0] }]);
  model.say({ type: "frame", seq: 9, epoch: 3, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  assert.deepEqual(feed.run.have(), [3]);
});

test("controls go to the engine, refusals come back, and every board hears of what is new", () => {
  const model = fakeModel(LIVE());
  const feed = new Feed(model);
  let [refreshed, drawn] = [0, 0];
  feed.boards.add({ refresh: () => refreshed++, changed: () => drawn++, comeIntoSight: () => assert.fail("it did not wait for Start") });
  model.say({ type: "refused", sentence: "no." });
  assert.equal(feed.host().state().refusal, "no.");
  feed.host().send({ action: "pause" });
  assert.deepEqual(model.sent.at(-1), { type: "control", action: "pause" });
  model.change("_status", "paused");
  model.change("_meta", { title: "U" });
  assert.deepEqual([refreshed, drawn], [3, 0]);
  model.say({ type: "frame", seq: 1, have: [3] }, [iterations({ ...STORY, to: 3 })]);
  assert.deepEqual([refreshed, drawn], [3, 1], "the texts of a run that computes come at their own pace");
  model.say({ type: "frame", seq: 2, have: [3], refusal: "no more." }, []);
  assert.deepEqual([refreshed, drawn], [4, 1]);
  assert.deepEqual([feed.run.meta.title, feed.host().state().status], ["U", "paused"]);
  assert.equal(new Feed(fakeModel({ ...LIVE(), _status: "recorded" })).host(), null);
});

test("the picture of a run that has ended finds the engine behind it, until the run begins anew or the model is gone", () => {
  const ended = { ...LIVE()._meta, kept: "cbviz-1" };
  const model = fakeModel({ ...LIVE(), _actions: ["stop", "restart"] });
  const feed = new Feed(model);
  assert.equal(hostBehind("cbviz-1"), null);
  model.change("_meta", ended);
  assert.equal(hostBehind("cbviz-1"), null, "this page never showed its board");
  feed.seen = true;
  assert.equal(hostBehind("cbviz-2"), null);
  const host = hostBehind("cbviz-1");
  assert.deepEqual(host.state(), { status: "recorded", actions: ["restart"], refusal: "" });
  host.send({ action: "restart" });
  assert.deepEqual(model.sent.at(-1), { type: "control", action: "restart" });
  model.change("_meta", { ...ended, kept: "", epoch: 1 });
  assert.deepEqual([hostBehind("cbviz-1"), host.state().actions], [null, []]);
  model.change("_meta", { ...ended, kept: "cbviz-3", epoch: 1 });
  assert.notEqual(hostBehind("cbviz-3"), null);
  feed.close();
  assert.equal(hostBehind("cbviz-3"), null);
  const other = new Feed(fakeModel({ ...LIVE(), _actions: ["stop"], _meta: ended }));
  other.seen = true;
  assert.equal(hostBehind("cbviz-1"), null, "a run that cannot begin anew");
  other.close();
});
