/* What Python says in English, in Chinese: titles, policies and their reasons. */

/** @import { Language } from "./words.js" */

/**
 * What Python says in English, in Chinese: titles, what built-in policies do and why, parts of a subtitle. Whole texts
 * only; a learner's own words stay as they are.
 * @type {[RegExp, string][]}
 */
export const SAID = [
  [/^Race$/, "竞赛"], [/^Run$/, "运行"], [/^Playground$/, "试验场"], [/^playground$/, "试验场"],
  [/^([\d,]+) slots$/, "$1 个槽位"], [/^([\d,]+) requests$/, "$1 个请求"], [/^seed (\d+)$/, "种子 $1"], [/^tasks, mean (\S+)$/, "任务，平均 $1"], [/^(\d+) questions$/, "$1 个问题"], [/^yardstick of (\d+) requests$/, "$1 个请求的标准负载"],
  [/^run every batch to its longest request$/, "每一批都运行到其中最长的请求结束"],
  [/^run every batch for (\d+) iterations$/, "每一批都运行 $1 次迭代"],
  [/^refill a slot the iteration after it is freed$/, "槽位空出后，下一次迭代立即补入"],
  [/^one request after the other, no batch$/, "一个接一个地处理请求，不成批"],
  [/^start a batch when every slot has a request or the oldest has waited (\S+); run it to its longest$/, "每个槽位都有请求，或最早的请求已等待 $1 时开始一批；运行到其中最长的请求结束"],
  [/^start a batch when (\d+) wait or the oldest has waited (\S+); run it to its longest$/, "有 $1 个请求等待，或最早的请求已等待 $2 时开始一批；运行到其中最长的请求结束"],
  [/^refill every iteration, reserve prompt \+ max_new_tokens$/, "每次迭代都补入，按提示词 + max_new_tokens 预留"],
  [/^refill every iteration, reserve prompt \+ the next power of two$/, "每次迭代都补入，按提示词 + 下一个 2 的幂预留"],
  [/^refill every iteration, reserve the whole context$/, "每次迭代都补入，按整个上下文预留"],
  [/^refill every iteration, reserve prompt \+ the true length \(cheating\)$/, "每次迭代都补入，按提示词 + 真实长度预留（作弊）"],
  [/^pause all to prefill when waiting ≥ (\S+) × running or after (\d+) decodes$/, "等待数 ≥ $1 × 运行数，或已解码 $2 次时，暂停全部请求先做预填充"],
  [/^prefill first, decodes wait; preempt the newest when blocks run out$/, "预填充优先，解码等待；块用完时抢占最新的请求"],
  [/^(\d+) tokens an iteration, running requests first; preempt the newest$/, "每次迭代 $1 个 token，运行中的请求优先；块用完时抢占最新的请求"],
  [/^every decode runs; prompts fill up to (\d+) tokens in chunks$/, "每个解码都运行；提示词分块补足到 $1 个 token"],
  [/^(\S+) at first; changed while it runs$/, "开始时为 $1，运行中可改动"],
  [/^nothing running$/, "没有请求在运行"], [/^ratio met$/, "达到比例"], [/^waited too long$/, "等待太久"], [/^slot free$/, "有空槽位"],
  [/^prefill goes first$/, "预填充优先"], [/^no block is free$/, "没有空闲块"], [/^request (\d+) needs its blocks$/, "请求 $1 需要它的块"],
  [/^budget spent$/, "预算已用完"], [/^budget spent on decodes$/, "预算已用于解码"], [/^the executor failed$/, "执行器失败"],
];

/** A text of Python in the page's language, part by part where " · " divides it. @param {Language} language @param {string} text @returns {string} */
export function inWords(language, text) {
  if (language !== "zh") return text;
  return text.split(" · ").map((part) => {
    const known = SAID.find(([english]) => english.test(part));
    return known ? part.replace(known[0], known[1]) : part;
  }).join(" · ");
}
