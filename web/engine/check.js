/* The referee: checks that a plan is legal before anything changes, with the sentences of `cbviz/policies/check.py`. */
import { PolicyError, kindOf, said, shown } from "./errors.js";
import { plainPlan } from "./plan.js";
/** @import { PlainPlan } from "./plan.js" */
/** @import { RequestView, View } from "./view.js" */

/** @typedef {{name: string, summary: any, plan: (view: View) => any}} Policy */

/** Asks a policy for its plan and checks it. Throws a PolicyError that names the policy, the iteration, the field and the rule. @param {Policy} policy @param {View} view @returns {PlainPlan} */
export function ask(policy, view) {
  let given;
  try {
    given = policy.plan(view);
  } catch (error) {
    if (error instanceof PolicyError && error.isNamed) throw error;
    throw new PolicyError(`policy '${policy.name}' raised ${kindOf(error)} while planning iteration ${view.iteration}: ${said(error)}`);
  }
  try {
    return check(plainPlan(given, view.clock), view);
  } catch (error) {
    throw new PolicyError(`policy '${policy.name}', iteration ${view.iteration}: ${said(error)}`);
  }
}

/** The plan, with `hold` filled in; or a PolicyError. @param {PlainPlan} asked @param {View} view @returns {PlainPlan} */
export function check(asked, view) {
  const { admit, preempt, pause, chunk } = asked;
  const running = new Map(view.running.map((request) => [request.id, request]));
  const finished = new Map(view.finished.map((request) => [request.id, request]));
  const hold = asked.holdAll ? [...finished.keys()] : asked.hold;
  known(hold, finished, "hold", "a finished request that still sits in a slot");
  known(preempt.keys(), running, "preempt", "a running request");
  known(pause.keys(), running, "pause", "a running request");
  for (const request of preempt.keys()) if (pause.has(request)) throw new PolicyError(`request ${request} is both preempted and paused; choose one.`);
  const newcomers = newcomersOf(asked, view);
  for (const [request, tokens] of chunk) {
    const seen = running.get(request) ?? newcomers.get(request);
    if (!seen) throw new PolicyError(`chunk names request ${shown(request)}, which is neither running nor admitted by this plan.`);
    if (pause.has(request) || preempt.has(request)) throw new PolicyError(`request ${request} gets a chunk but is also paused or preempted; choose one.`);
    if (!(tokens >= 1 && tokens <= seen.lacks)) throw new PolicyError(`request ${request} gets a chunk of ${shown(tokens)} tokens; it must be a whole number from 1 to the ${seen.lacks} that it lacks.`);
  }
  if (admit.length) checkRoom(asked, view, hold.reduce((sum, request) => sum + (finished.get(request)?.frees ?? 0), 0), hold.length, newcomers, running);
  return { ...asked, hold };
}

/** @param {Iterable<number>} named @param {Map<number, RequestView>} allowed @param {string} field @param {string} what */
function known(named, allowed, field, what) {
  for (const request of named) if (!allowed.has(request)) throw new PolicyError(`${field} names request ${shown(request)}, which is not ${what}.`);
}

/** The views of the admitted requests, which must be waiting and named once. @param {PlainPlan} asked @param {View} view */
function newcomersOf({ admit }, view) {
  const wanted = new Set(admit.map(({ request }) => request));
  if (wanted.size !== admit.length) {
    const twice = admit.find(({ request }, i) => admit.findIndex((other) => other.request === request) < i);
    throw new PolicyError(`request ${shown(twice?.request)} is admitted twice in one plan.`);
  }
  const newcomers = new Map(view.waiting.filter(({ id }) => wanted.has(id)).map((request) => [request.id, request]));
  for (const request of [...wanted].sort((a, b) => a - b)) {
    if (!newcomers.has(request)) throw new PolicyError(`request ${shown(request)} is admitted but does not wait; only waiting requests can be admitted.`);
  }
  return newcomers;
}

/**
 * Admitted requests must find free slots and blocks; the `held` finished requests keep theirs.
 * @param {PlainPlan} plan @param {View} view @param {number} heldBlocks @param {number} held
 * @param {Map<number, RequestView>} newcomers @param {Map<number, RequestView>} running
 */
function checkRoom(plan, view, heldBlocks, held, newcomers, running) {
  const slots = view.free_slots - held + plan.preempt.size;
  if (plan.admit.length > slots) {
    const admitted = plan.admit.length === 1 ? "1 request is" : `${plan.admit.length} requests are`;
    throw new PolicyError(`${admitted} admitted but only ${slots} ${slots === 1 ? "slot is" : "slots are"} free.`);
  }
  let blocks = view.free_blocks - heldBlocks;
  for (const victim of plan.preempt.keys()) blocks += running.get(victim)?.frees ?? 0;
  let needed = 0;
  for (const { request, reserve: asked } of plan.admit) {
    const newcomer = newcomers.get(request);
    if (!newcomer) continue;
    const first = newcomer.computed + (plan.chunk.get(request) ?? newcomer.lacks);
    const reserve = asked ?? newcomer.most;
    if (!(first <= reserve && reserve <= view.context_limit)) {
      throw new PolicyError(`request ${request} reserves ${shown(reserve)} positions; it must be a whole number from the ${first} that it takes in now or has to the context limit of ${view.context_limit}.`);
    }
    needed += view.blocks_taken(newcomer, reserve);
    if (needed > blocks) throw new PolicyError(`request ${request} does not fit: the admissions up to it need ${needed} KV blocks and ${blocks} are free.`);
  }
}

/** The error for a plan under which the running requests outgrow the pool. @param {Policy} policy @param {number} iteration @param {number} needed @param {number} free */
export function growthShortage(policy, iteration, needed, free) {
  return new PolicyError(`policy '${policy.name}', iteration ${iteration}: the running requests need ${needed} more KV blocks and ${free} are free; preempt or pause until ${needed - free} more are.`);
}
