/* The error for a policy that raised, planned something illegal, or gets nowhere: one sentence, as Python's PolicyError says it. */

export class PolicyError extends Error {
  /** Whether the sentence names policy and iteration already. */
  isNamed = false;

  /** An error whose sentence needs nothing before it. @param {string} sentence */
  static named(sentence) {
    const error = new PolicyError(sentence);
    error.isNamed = true;
    return error;
  }
}

/** Characters of a value within a sentence. */
const LONGEST = 100;
/** Characters of an exception's message within ours. */
const LONGEST_SAID = 500;

/** How a sentence shows a value, whatever the value is. @param {unknown} value @returns {string} */
export function shown(value) {
  let text = "";
  try {
    if (typeof value === "string") text = `'${value}'`;
    else if (typeof value === "function") text = `the function ${value.name}`;
    else if (typeof value === "object" && value !== null) text = JSON.stringify(value) ?? kindOf(value);
    else text = String(value);
  } catch {
    text = `<${kindOf(value)}>`; // a cycle, a BigInt within, a proxy that throws
  }
  text = text.replace(/\s+/g, " ");
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST - 1)}…`;
}

/** The name of a value's kind. @param {unknown} value @returns {string} */
export function kindOf(value) {
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  try {
    return String(value.constructor?.name ?? "object").slice(0, LONGEST);
  } catch {
    return "object";
  }
}

/** What an error says, on one line, shortened. @param {unknown} error @returns {string} */
export function said(error) {
  try {
    const text = String(error instanceof Error ? error.message : error).replace(/\s+/g, " ").trim();
    return text.length <= LONGEST_SAID ? text : `${text.slice(0, LONGEST_SAID - 1)}…`;
  } catch {
    return "its message cannot be read";
  }
}
