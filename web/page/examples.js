/* Schedulers to begin with, as text for the editor. Their comments are code, and so English. */

export const SHORTEST = [
  "// A plan says what the next iteration does differently; running requests continue.",
  'const name = "shortest_first";',
  "",
  "function plan(view) {",
  "  // The queue, shortest prompt first: how long an answer will be, no scheduler knows.",
  "  const queue = [...view.waiting].sort((a, b) => a.prompt_tokens - b.prompt_tokens);",
  "  const admit = [];",
  "  let blocks = view.free_blocks;",
  "  for (const request of queue) {",
  "    blocks -= view.blocks_taken(request, request.most);",
  "    if (admit.length === view.free_slots || blocks < 0) break;",
  "    admit.push(request.id);",
  "  }",
  "  return { admit };",
  "}",
  "",
].join("\n");

export const OPTIMIST = [
  "// Reserves only what a request has now, and preempts the newest when blocks run out.",
  'const name = "optimist";',
  "",
  "function plan(view) {",
  "  const preempt = {};",
  "  let blocks = view.free_blocks;",
  "  const staying = [...view.running];",
  "  for (const request of view.running) {",
  "    if (request.id in preempt) continue;",
  "    const needed = view.blocks_lacking(request, request.lacks);",
  "    while (needed > blocks && !(request.id in preempt)) {",
  "      const newest = staying.pop();",
  '      preempt[newest.id] = "out of blocks";',
  "      blocks += newest.blocks;",
  "    }",
  "    if (!(request.id in preempt)) blocks -= needed;",
  "  }",
  "  const admit = [];",
  "  for (const request of Object.keys(preempt).length ? [] : view.waiting) {",
  "    blocks -= view.blocks_for(request.known + 1);",
  "    if (admit.length === view.free_slots || blocks < 0) break;",
  "    admit.push({ request: request.id, reserve: request.known + 1 });",
  "  }",
  "  return { admit, preempt };",
  "}",
  "",
].join("\n");

/** By the value of their option. @type {Record<string, string>} */
export const EXAMPLES = { shortest: SHORTEST, optimist: OPTIMIST };
