// A policy that uses every field of a plan, the same as `Wild` of page_schedules.py: no built-in one holds some, or pauses here.
export class Wild {
  name = "wild";
  summary = "uses every field of a plan";

  plan(view) {
    const turn = view.iteration;
    const hold = view.finished.filter((request) => (request.id + turn) % 3 === 0).map((request) => request.id);
    const last = view.running.at(-1);
    const preempt = last && turn % 11 === 5 && view.running.length > 1 ? { [last.id]: "every eleventh" } : {};
    const rest = view.running.filter((request) => !(request.id in preempt));
    const paused = rest.slice(1).filter((request) => (request.id + turn) % 4 === 0);
    const chunk = Object.fromEntries(rest.filter((request) => request.lacks > 5 && !paused.includes(request)).map((request) => [request.id, 5]));
    const room = Math.max(0, view.free_slots - hold.length);
    let blocks = view.free_blocks - view.finished.filter((request) => hold.includes(request.id)).reduce((sum, request) => sum + request.blocks, 0);
    const admit = [];
    for (const request of view.waiting.slice(0, room)) {
      blocks -= view.blocks_taken(request, request.most);
      if (blocks < 0) break;
      admit.push({ request: request.id, reason: `room for ${request.most}` });
      if (request.lacks > 7) chunk[request.id] = 7;
    }
    return { admit, hold, preempt, pause: new Map(paused.map((request) => [request.id, "its turn to wait"])), chunk };
  }
}
