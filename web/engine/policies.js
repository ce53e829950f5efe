/* The built-in policies by name, with the names and parameters of `cbviz.policies`. */
import { Continuous } from "./continuous.js";
import { Orca } from "./orca.js";
import { Sarathi } from "./sarathi.js";
import { Static } from "./static.js";
import { VllmV1 } from "./vllm_v1.js";
/** @import { Policy } from "./check.js" */

/** Makes a new object each; `options` are the policy's parameters. @type {Record<string, (options?: Record<string, any>) => Policy>} */
export const POLICIES = {
  static: () => new Static(),
  continuous: () => new Continuous(),
  orca: () => new Orca(),
  vllm_v1: (options) => new VllmV1(options),
  sarathi: (options) => new Sarathi(options),
};
