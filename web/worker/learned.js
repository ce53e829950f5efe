/* The policy that was written in the page: its text is part of the worker's, and becomes a policy here. */
import { PolicyError, kindOf, said, shown } from "../engine/errors.js";
/** @import { Policy } from "../engine/check.js" */

/** Characters of a name; it is shown as text. */
const LONGEST_NAME = 100;

/** A fresh policy from `globalThis.written`, which the page puts around the text. Throws a PolicyError that says what is missing. @returns {Policy} */
export function learnedPolicy() {
  /** @type {{plan?: unknown, name?: unknown} | null | undefined} */
  let made;
  try {
    made = /** @type {any} */ (globalThis).written();
  } catch (error) {
    throw new PolicyError(`the scheduler raised ${kindOf(error)} before its first plan: ${said(error)}`);
  }
  const { plan, name } = made ?? {}; // a `return` of its own may give anything
  if (typeof plan !== "function") throw new PolicyError("the scheduler has no plan; write a function plan(view) that returns a plan, such as { admit: view.fitting() }.");
  const title = typeof name === "string" && name.trim() ? name : "yours";
  if (title.length > LONGEST_NAME || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(title)) throw new PolicyError(`the name of the scheduler is ${shown(title)}; it must be text of at most 100 printable characters on one line.`);
  return { name: title, summary: ["page.yours_summary", {}], plan: (view) => plan(view) };
}
