/* What a race is made of, checked: from the form, or from a link that may come from anywhere. */

/** @typedef {{slots: number, requests: number, seed: number, tight: boolean, lanes: string[], code: string, language: string}} Settings */

export const SLOTS = [1, 2, 4, 8, 16];
export const MOST_REQUESTS = 128;
/** Seeds below this are the same in Python. */
export const SEEDS = 2 ** 32;
export const LANES = ["static", "continuous", "orca", "vllm_v1", "sarathi", "yours"];
export const MOST_LANES = 3;
/** What a scheduler may be written in. */
export const PYTHON = "python";
export const LANGUAGES = ["javascript", PYTHON];
/** Characters of a scheduler. */
export const LONGEST_CODE = 20_000;

/** @type {Settings} */
export const USUAL = { slots: 8, requests: 48, seed: 0, tight: false, lanes: ["static", "continuous"], code: "", language: "javascript" };

/** What is wrong with a field: the key of its sentence, and facts. */
export class SettingsError extends Error {
  /** @param {string} key without `page.` @param {Record<string, any>} [facts] */
  constructor(key, facts = {}) {
    super(key);
    this.key = key;
    this.facts = facts;
  }
}

/** Checked settings; unknown fields are refused, missing ones are the usual ones. Throws a SettingsError. @param {unknown} given @returns {Settings} */
export function checkedSettings(given) {
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new SettingsError("bad_link");
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(USUAL, name));
  if (unknown !== undefined) throw new SettingsError("bad_link");
  const { slots, requests, seed, tight, lanes, code, language } = { ...USUAL, ...given };
  if (!SLOTS.includes(slots)) throw new SettingsError("bad_slots", { allowed: SLOTS.join(", ") });
  if (!Number.isInteger(requests) || requests < 1 || requests > MOST_REQUESTS) throw new SettingsError("bad_requests", { most: MOST_REQUESTS });
  if (!Number.isInteger(seed) || seed < 0 || seed >= SEEDS) throw new SettingsError("bad_seed", { most: SEEDS - 1 });
  if (typeof tight !== "boolean") throw new SettingsError("bad_link");
  if (!Array.isArray(lanes) || lanes.length < 1 || lanes.length > MOST_LANES || !lanes.every((name) => LANES.includes(name))) throw new SettingsError("bad_lanes", { most: MOST_LANES });
  if (typeof code !== "string" || code.length > LONGEST_CODE) throw new SettingsError("bad_code", { most: LONGEST_CODE });
  if (!LANGUAGES.includes(language)) throw new SettingsError("bad_link");
  return { slots, requests, seed, tight, lanes: [...lanes], code, language };
}
