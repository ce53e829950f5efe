/* A plan in one form, whatever a policy wrote: `cbviz/policies/plan.py` has its meaning, `plain.py` the sentences. */
import { PolicyError, kindOf, said, shown } from "./errors.js";
import { isOurs } from "./reason.js";
import { RequestView } from "./view.js";
/** @import { Reason } from "./reason.js" */

/** @typedef {{request: number, reserve: number | null, reason: Reason}} Admit `reserve` null takes room for all that the request can ever need */
/**
 * What a policy may return; every running request that it does not mention continues.
 * @typedef {object} Plan
 * @property {Iterable<number | RequestView | {request: number, reserve?: number | null, reason?: Reason}>} [admit]
 * @property {"all" | Iterable<number>} [hold] finished requests that keep their slot and stay in the batch
 * @property {Map<number, Reason> | Record<number, Reason>} [preempt]
 * @property {Map<number, Reason> | Record<number, Reason>} [pause]
 * @property {Map<number, number> | Record<number, number>} [chunk] tokens to take in now
 * @property {Map<number, Reason> | Record<number, Reason>} [put_off] why a request is not admitted; has no effect
 * @property {number | null} [wait_until]
 */
/**
 * @typedef {object} PlainPlan
 * @property {Admit[]} admit
 * @property {number[]} hold
 * @property {boolean} holdAll
 * @property {Map<number, Reason>} preempt
 * @property {Map<number, Reason>} pause
 * @property {Map<number, number>} chunk
 * @property {number | null} waitUntil
 */

const FIELDS = ["admit", "hold", "preempt", "pause", "chunk", "wait_until", "put_off"];
/** The most entries of one field; iterators that never end are refused here. */
const MOST_ENTRIES = 100_000;
/** Characters of a reason; a longer one ends in an ellipsis. */
const LONGEST_TEXT = 2000;
/** Times on a lane's clock: 31 years. */
const LONGEST_SECONDS = 1e9;

/** Every field of a plan, read once. Throws a PolicyError that names the field. @param {unknown} given @param {number} clock @returns {PlainPlan} */
export function plainPlan(given, clock) {
  if (typeof given !== "object" || given === null || Array.isArray(given) || given instanceof Promise) throw new PolicyError(`plan() must return a plan, such as { admit: [3] }, not ${kindOf(given)}.`);
  const plan = /** @type {Record<string, unknown>} */ (given);
  for (const name of Object.keys(plan)) if (!FIELDS.includes(name)) throw new PolicyError(`a plan has no field ${shown(name)}; its fields are ${FIELDS.join(", ")}.`);
  const hold = field(plan, "hold", (value) => (value === "all" ? "all" : ids(value, "hold")));
  field(plan, "put_off", (value) => reasons(value, "put_off"));
  return {
    admit: field(plan, "admit", admissions) ?? [],
    hold: hold === "all" ? [] : [...new Set(hold ?? [])],
    holdAll: hold === "all",
    preempt: field(plan, "preempt", (value) => reasons(value, "preempt")) ?? new Map(),
    pause: field(plan, "pause", (value) => reasons(value, "pause")) ?? new Map(),
    chunk: field(plan, "chunk", chunks) ?? new Map(),
    waitUntil: field(plan, "wait_until", (value) => moment(value, clock)) ?? null,
  };
}

/** @template T @param {Record<string, unknown>} plan @param {string} name @param {(value: unknown) => T} read @returns {T | null} */
function field(plan, name, read) {
  try {
    const value = plan[name];
    return value === undefined || value === null ? null : read(value);
  } catch (error) {
    if (error instanceof PolicyError) throw error;
    throw new PolicyError(`${name} cannot be read: it raised ${kindOf(error)}: ${said(error)}`);
  }
}

/** @param {unknown} value @returns {value is number} */
const isWhole = (value) => typeof value === "number" && Number.isInteger(value);

/** @param {unknown} given @returns {Admit[]} */
function admissions(given) {
  return listed(given, "admit").map((entry) => {
    if (isWhole(entry)) return { request: entry, reserve: null, reason: "" };
    if (entry instanceof RequestView) return { request: entry.id, reserve: null, reason: "" };
    if (typeof entry !== "object" || entry === null || !("request" in entry)) throw new PolicyError(`admit lists ${shown(entry)}; it must list request ids or Admit entries.`);
    const { request, reserve = null, reason = "" } = /** @type {{request: unknown, reserve?: unknown, reason?: unknown}} */ (entry);
    if (!isWhole(request)) throw new PolicyError(`an Admit names ${shown(request)}; it must name a request by its id${request instanceof RequestView ? "; write its id" : ""}.`);
    if (reserve !== null && !isWhole(reserve)) throw new PolicyError(`request ${request} reserves ${shown(reserve)} positions; it must be None or a whole number.`);
    const why = text(reason);
    if (why === null) throw new PolicyError(`the reason to admit request ${request} is ${shown(reason)}; a reason is text.`);
    return { request, reserve, reason: why };
  });
}

/** @param {unknown} given @param {string} name @returns {number[]} */
function ids(given, name) {
  if (typeof given === "string") throw new PolicyError(`${name} is ${shown(given)}; it must list finished requests by their ids, or be "all".`);
  return listed(given, name).map((entry) => id(entry, name));
}

/** @param {unknown} given @param {string} name @returns {Map<number, Reason>} */
function reasons(given, name) {
  return new Map(pairs(given, name, "reasons").map(([request, value]) => {
    const why = text(value);
    if (why === null) throw new PolicyError(`${name} gives request ${request} the reason ${shown(value)}; a reason is text.`);
    return [request, why];
  }));
}

/** @param {unknown} given @returns {Map<number, number>} */
function chunks(given) {
  return new Map(pairs(given, "chunk", "numbers of tokens").map(([request, value]) => {
    if (!isWhole(value)) throw new PolicyError(`request ${request} gets a chunk of ${shown(value)} tokens; it must be a whole number from 1 to what it lacks.`);
    return [request, value];
  }));
}

/** @param {unknown} given @param {number} clock */
function moment(given, clock) {
  if (typeof given !== "number" || !(clock < given && given <= LONGEST_SECONDS)) throw new PolicyError(`wait_until is ${shown(given)}; it must be a finite number above the clock of ${clock} and at most ${LONGEST_SECONDS}.`);
  return given;
}

/** The entries of a field that lists requests. @param {unknown} given @param {string} name @returns {unknown[]} */
function listed(given, name) {
  if (typeof given !== "object" || given === null || !(Symbol.iterator in given)) {
    const hint = given instanceof RequestView ? "; write it in [brackets]" : "";
    throw new PolicyError(`${name} must be a list of requests, not ${kindOf(given)} (${shown(given)})${hint}.`);
  }
  const entries = [];
  for (const entry of /** @type {Iterable<unknown>} */ (given)) {
    if (entries.length === MOST_ENTRIES) throw new PolicyError(`${name} has more than 100,000 entries; look for an iterator that never ends.`);
    entries.push(entry);
  }
  return entries;
}

/** The entries of a field that maps requests to something: a Map, or an object, whose keys are text. @param {unknown} given @param {string} name @param {string} what @returns {[number, unknown][]} */
function pairs(given, name, what) {
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new PolicyError(`${name} must map request ids to ${what}, not be ${kindOf(given)} (${shown(given)}).`);
  if (given instanceof Map) return [...given].map(([key, value]) => [id(key, name), value]);
  return Object.entries(given).map(([key, value]) => [id(/^\d+$/.test(key) ? Number(key) : key, name), value]);
}

/** @param {unknown} entry @param {string} name @returns {number} */
function id(entry, name) {
  if (!isWhole(entry)) throw new PolicyError(`${name} names ${shown(entry)}; it must name requests by their ids${entry instanceof RequestView ? "; write its id" : ""}.`);
  return entry;
}

/** A reason as it is kept: text, shortened, or one of ours; null if it is neither. @param {unknown} value @returns {Reason | null} */
function text(value) {
  if (isOurs(value)) return value;
  if (typeof value !== "string") return null;
  return value.length <= LONGEST_TEXT ? value : `${value.slice(0, LONGEST_TEXT - 1)}…`;
}
