/* What a lane did with its slots beside computing answers: `cbviz/measure/causes.py`. */
import { counted } from "./numbers.js";
/** @import { Text } from "../../cbviz/view/js/catalogue.js" */
/** @import { Use } from "./tally.js" */
/** @import { Finished } from "./verdict.js" */

/** A use of slots → the line that names it as the cause. @type {[Use, string][]} */
const CAUSES = [
  ["held", "verdict.because_held"],
  ["wasted_idle", "verdict.because_idle"],
  ["recompute", "verdict.because_recompute"],
  ["stalled", "verdict.because_stalled"],
  ["spare_idle", "verdict.because_spare"],
];

/** The use of slots of which the longer run had most more; null if more passes for the same prompts are all there is. @param {Finished} worse @param {Finished} better @returns {Text | null} */
export function cause(worse, better) {
  const more = (/** @type {Use} */ use) => worse.tally.use[use] - better.tally.use[use];
  const [use, key] = CAUSES.reduce((most, other) => (more(other[0]) > more(most[0]) ? other : most));
  if (more(use) <= 0 || more("prefill") >= more(use)) return null;
  const n = worse.tally.use[use];
  return [key, { policy: worse.name, n, count: counted(n) }];
}

/** What one lane did with slots that a waiting request could have used, the most first. @param {Finished} lane @returns {Text[]} */
export function wasted({ name, tally }) {
  const kinds = CAUSES.filter(([use]) => use !== "spare_idle" && tally.use[use]).sort(([a], [b]) => tally.use[b] - tally.use[a]);
  return kinds.map(([use, key]) => [key, { policy: name, n: tally.use[use], count: counted(tally.use[use]) }]);
}
