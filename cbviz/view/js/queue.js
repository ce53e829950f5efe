/* Which requests are waiting, at any moment of a run. */

/** Every stay of a request in a lane's queue. */
export class Queue {
  constructor() {
    /**
     * One entry for each stay, sorted by its beginning: from iteration (inclusive) to iteration (exclusive; Infinity
     * while it lasts), and whether it follows a preemption.
     */
    this.stays = {
      request: /** @type {number[]} */ ([]), from: /** @type {number[]} */ ([]), to: /** @type {number[]} */ ([]),
      again: /** @type {boolean[]} */ ([]),
    };
    /** The open stay of a request. @type {Map<number, number>} */
    this.open = new Map();
  }

  /** @param {number} request @param {number} at iteration @param {boolean} again after a preemption */
  enter(request, at, again) {
    this.open.set(request, this.stays.request.length);
    this.stays.request.push(request);
    this.stays.from.push(at);
    this.stays.to.push(Infinity);
    this.stays.again.push(again);
  }

  /** Ends a stay; does nothing if the request is not waiting. @param {number} request @param {number} at iteration */
  leave(request, at) {
    const stay = this.open.get(request);
    if (stay === undefined) return;
    this.stays.to[stay] = at;
    this.open.delete(request);
  }

  /**
   * Requests waiting during iteration k - 1, at most `limit`: preempted ones first, then by arrival.
   * @param {number} k
   * @param {number} limit
   */
  waiting(k, limit) {
    /** @type {{request: number, again: boolean, from: number}[]} */
    const back = [];
    /** @type {{request: number, again: boolean, from: number}[]} */
    const fresh = [];
    const { request, from, to, again } = this.stays;
    const i = k - 1;
    for (let stay = 0; stay < request.length && from[stay] <= i; stay++) {
      if (to[stay] <= i) continue;
      if (again[stay]) back.unshift({ request: request[stay], again: true, from: from[stay] });
      else if (fresh.length < limit) fresh.push({ request: request[stay], again: false, from: from[stay] });
    }
    return back.concat(fresh).slice(0, limit);
  }
}
