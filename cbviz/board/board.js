/* The slot board: one plain ES module for the live widget, recorded runs and the stand-alone page.
 *
 * From top to bottom: words, colours, bytes, the store of a run, geometry, painting, the board itself, entry points.
 * Everything down to "painting" is pure and exported for tests. Whatever a model, a user or a policy wrote reaches the
 * page through textContent only.
 */

// ---------------------------------------------------------------------------------------------------------- words

/** @typedef {"en" | "zh"} Language */
/** @typedef {"iterations" | "seconds"} Mode */

/** Every string that the board shows, in both languages. `{name}` is filled in by `say`. */
export const WORDS = /** @type {Record<Language, Record<string, string>>} */ ({
  en: {
    board: "Slot board",
    iterations: "iterations", seconds: "seconds", units: "Time axis",
    language: "中文", language_title: "在中文与英文之间切换", table: "Table", table_title: "The run as a table", help: "Keyboard shortcuts",
    queue: "queue", waiting: "{n} waiting", nobody_waits: "nobody waits",
    finished: "finished", occupancy: "occupancy", wasted: "wasted slot-iterations", rate: "tokens/s", kv: "KV",
    finished_title: "Requests whose output has ended, of all requests",
    occupancy_title: "Useful slot-iterations of all slot-iterations so far. Useful: prefill and decode",
    wasted_title: "Slots that were held, stalled, recomputing, or empty while somebody waited",
    rate_title: "Output tokens per second on this lane's own clock, so far",
    kv_title: "KV cache blocks: {used} hold tokens, {reserved} reserved and unwritten, {free} free, of {total}",
    slot: "slot", second: "s",
    prefill: "prefill", decode: "decode", recompute: "recompute", held: "held: finished, still computed",
    stalled: "stalled", idle: "idle, nobody waits", wasted_idle: "idle, someone waits", closed: "closed: nobody may enter", end_mark: "END", preempt_mark: "preempted",
    request: "request {id}", prompt: "prompt", output: "output", empty_output: "nothing yet", no_text: "{n} tokens (this run kept no text)",
    point: "Point at a request to see its prompt, its answer and its times. Click to keep it.",
    keep: "Keep", release: "Release",
    slot_row: "slot", freed_by: "{slot}, freed by {id}", waited: "waited", ttft: "TTFT", tpot: "TPOT", tokens: "tokens", preemptions: "preemptions",
    ttft_title: "Time to first token: from its arrival", tpot_title: "Time per output token after the first",
    status: "status", s_waiting: "waiting", s_running: "running", s_preempted: "preempted, waiting", s_finished: "finished ({why})", s_held: "finished, slot held",
    why_end: "END", why_stop: "stop token", why_length: "length reached", why_cancelled: "cancelled", why_: "unknown",
    admitted_because: "admitted", stalled_because: "stalled", preempted_because: "preempted",
    differ: "The answers differ between the lanes.",
    play: "Play", pause: "Pause", back: "One iteration back", forward: "One iteration on", stop: "Stop the run", live: "Live", live_title: "Follow the newest iteration",
    speed: "Speed", speed_title: "{rate} iterations a second", position: "Position",
    at: "iteration {n}", is_live: "live", of_total: "of {total}",
    next: "Next", previous: "Previous", j_admit: "admission", j_finish: "finish", j_preempt: "preemption", j_stall: "stall", j_set: "change", jump: "Jump to", none_left: "There is no further {what} in that direction.",
    fit: "Fit all", zoom_in: "Zoom in", zoom_out: "Zoom out",
    running: "running", paused: "paused", asked_to_stop: "asked to stop", stopping: "stopping after this iteration", stopped: "stopped",
    so_far_label: "so far", more_finished: "as many requests finished in {last} as in {first}", ahead: "{last} has finished {a}, {first} {b}",
    faster: "{last} was faster than {first}", slower: "{last} was slower than {first}", measured: "measured", computed: "computed",
    part_iterations: "fewer iterations", part_cost: "cost of an iteration, {first} ÷ {last}",
    range: "{repeats} runs, {low}× to {high}×",
    same: "Same answers: {same} of {all}.", differing: "{n} of {all} answers differ.", clock_lane: "Lane clocks: the lanes took turns on one device, and each counts only its own iterations.",
    clock_alone: "Each run had the device for itself.", clock_virtual: "Seconds come from a cost model, not from a device.", was_stopped: "The run was stopped before its end.",
    single: "{policy}: {n} iterations, {s}",
    lane_done: "end: {n} iterations, {s}",
    aria_grid: "{lane}: {slots} slots, {n} iterations shown, {done} of {all} requests finished, occupancy {occupancy}, {wasted} wasted slot-iterations, {waiting} waiting.",
    aria_end: "The run has ended.",
    tip_prefill: "{n} prompt tokens", tip_recompute: "{n} tokens again",
    strip_occupancy: "occupancy of an iteration", strip_tokens: "its tokens", tip_strip: "{share} of the slots useful, {n} tokens",
    t_request: "Request", t_lane: "Lane", t_slot: "Slot", t_admitted: "Admitted", t_finished: "Ended", t_prompt: "Prompt", t_caption: "Every request, as far as shown", t_cut: "The first {n} of {all} requests.", close: "Close",
    k_play: "play, pause", k_step: "one iteration back, on", k_page: "ten iterations back, on", k_ends: "beginning, newest", k_zoom: "zoom in, out, fit all", k_pan: "pan", k_speed: "slower, faster",
    set_slots: "{v} slots", set_rate: "{v} arrivals in 100 iterations", set_spread: "spread of lengths {v}", set_policy: "{v}", set_pace: "at most {v} iterations a second",
    change_mark: "a control was changed", t_changes: "What was changed while it ran", t_at: "From iteration",
    k_jump: "next admission, finish, preemption, stall, change (with Shift: previous)", k_slot: "choose a slot", k_lane: "choose a lane", k_pin: "keep the chosen request", k_units: "iterations or seconds", k_table: "table", k_lang: "中文", k_stop: "stop the run", k_help: "this help", k_close: "close, release",
    k_wheel: "Ctrl + wheel or pinch zooms, drag pans, a click keeps a request, a drag on the axis moves the time.",
    controls: "Live controls", burst: "Submit a burst", cancel: "Cancel request {id}", refused: "{why}",
    empty: "No iteration yet.",
    lod: "Where a column stands for several iterations, the lower part of each row is the share that was wasted.",
  },
  zh: {
    board: "槽位看板",
    iterations: "迭代", seconds: "秒", units: "时间轴",
    language: "English", language_title: "Switch between Chinese and English", table: "表格", table_title: "以表格查看运行", help: "键盘快捷键",
    queue: "队列", waiting: "{n} 个等待", nobody_waits: "无人等待",
    finished: "已完成", occupancy: "槽位占用率", wasted: "浪费的槽位迭代", rate: "token/秒", kv: "KV",
    finished_title: "输出已结束的请求 / 全部请求",
    occupancy_title: "到目前为止有用的槽位迭代占全部槽位迭代的比例。有用：预填充与解码",
    wasted_title: "空算、停顿、重计算的槽位，以及有请求等待时空闲的槽位",
    rate_title: "到目前为止每秒输出 token 数，按本泳道自己的时钟",
    kv_title: "KV 缓存块：{used} 个存有 token，{reserved} 个已预留未写入，{free} 个空闲，共 {total} 个",
    slot: "槽位", second: "秒",
    prefill: "预填充", decode: "解码", recompute: "重计算", held: "空算：已结束，仍在计算",
    stalled: "停顿", idle: "空闲，无人等待", wasted_idle: "空闲，有请求等待", closed: "已关闭：不再接纳请求", end_mark: "END", preempt_mark: "被抢占",
    request: "请求 {id}", prompt: "提示词", output: "输出", empty_output: "尚无", no_text: "{n} 个 token（本次运行未保存文本）",
    point: "将指针移到某个请求上，可查看它的提示词、回答与用时。单击可固定。",
    keep: "固定", release: "取消固定",
    slot_row: "槽位", freed_by: "{slot}，由请求 {id} 让出", waited: "等待", ttft: "首 token 延迟", tpot: "每 token 用时", tokens: "token 数", preemptions: "被抢占次数",
    ttft_title: "从到达到第一个输出 token 的时间", tpot_title: "第一个之后，每个输出 token 的时间",
    status: "状态", s_waiting: "等待中", s_running: "运行中", s_preempted: "被抢占，等待中", s_finished: "已结束（{why}）", s_held: "已结束，槽位仍被占",
    why_end: "END", why_stop: "停止 token", why_length: "达到长度上限", why_cancelled: "已取消", why_: "未知",
    admitted_because: "接纳", stalled_because: "停顿", preempted_because: "抢占",
    differ: "各泳道的回答不一致。",
    play: "播放", pause: "暂停", back: "后退一次迭代", forward: "前进一次迭代", stop: "停止运行", live: "实时", live_title: "跟随最新的迭代",
    speed: "速度", speed_title: "每秒 {rate} 次迭代", position: "位置",
    at: "迭代 {n}", is_live: "实时", of_total: "/ {total}",
    next: "下一个", previous: "上一个", j_admit: "接纳", j_finish: "结束", j_preempt: "抢占", j_stall: "停顿", j_set: "改动", jump: "跳转到", none_left: "该方向上没有更多的{what}。",
    fit: "显示全部", zoom_in: "放大", zoom_out: "缩小",
    running: "运行中", paused: "已暂停", asked_to_stop: "已请求停止", stopping: "本次迭代后停止", stopped: "已停止",
    so_far_label: "至此", more_finished: "{last} 与 {first} 完成的请求一样多", ahead: "{last} 已完成 {a} 个，{first} 已完成 {b} 个",
    faster: "{last} 比 {first} 快", slower: "{last} 比 {first} 慢", measured: "实测", computed: "计算值",
    part_iterations: "迭代更少", part_cost: "每次迭代的代价，{first} ÷ {last}",
    range: "{repeats} 次运行，{low}× 至 {high}×",
    same: "回答一致：{same} / {all}。", differing: "{all} 个回答中有 {n} 个不一致。", clock_lane: "泳道时钟：各泳道在同一设备上轮流运行，各自只计自己的迭代。",
    clock_alone: "每次运行独占设备。", clock_virtual: "时间来自代价模型，而非真实设备。", was_stopped: "运行在结束前被停止。",
    single: "{policy}：{n} 次迭代，{s}",
    lane_done: "结束：{n} 次迭代，{s}",
    aria_grid: "{lane}：{slots} 个槽位，已显示 {n} 次迭代，{all} 个请求中 {done} 个已完成，槽位占用率 {occupancy}，浪费 {wasted} 个槽位迭代，{waiting} 个等待。",
    aria_end: "运行已结束。",
    tip_prefill: "{n} 个提示词 token", tip_recompute: "再次计算 {n} 个 token",
    strip_occupancy: "每次迭代的槽位占用率", strip_tokens: "每次迭代的 token 数", tip_strip: "{share} 的槽位有用，{n} 个 token",
    t_request: "请求", t_lane: "泳道", t_slot: "槽位", t_admitted: "接纳", t_finished: "结束", t_prompt: "提示词", t_caption: "到目前为止的全部请求", t_cut: "前 {n} 个，共 {all} 个请求。", close: "关闭",
    k_play: "播放、暂停", k_step: "后退、前进一次迭代", k_page: "后退、前进十次迭代", k_ends: "开头、最新", k_zoom: "放大、缩小、显示全部", k_pan: "平移", k_speed: "减速、加速",
    set_slots: "{v} 个槽位", set_rate: "每 100 次迭代到达 {v} 个", set_spread: "长度离散度 {v}", set_policy: "{v}", set_pace: "每秒最多 {v} 次迭代",
    change_mark: "改动了控制项", t_changes: "运行中的改动", t_at: "自迭代",
    k_jump: "下一个接纳、结束、抢占、停顿、改动（加 Shift：上一个）", k_slot: "选择槽位", k_lane: "选择泳道", k_pin: "固定所选请求", k_units: "迭代或秒", k_table: "表格", k_lang: "English", k_stop: "停止运行", k_help: "本帮助", k_close: "关闭、取消固定",
    k_wheel: "Ctrl + 滚轮或双指缩放，拖动平移，单击固定请求，在坐标轴上拖动改变时间。",
    controls: "实时控制", burst: "提交一批请求", cancel: "取消请求 {id}", refused: "{why}",
    empty: "尚无迭代。",
    lod: "一列代表多次迭代时，每行下部为被浪费的比例。",
  },
});

/**
 * What Python says in English, in Chinese: titles, what built-in policies do and why, parts of a subtitle. Whole texts
 * only; whatever somebody wrote of their own stays as it is.
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

/**
 * A string of the table with its blanks filled in. An unknown key is a mistake of ours and throws.
 * @param {Language} language
 * @param {string} key
 * @param {Record<string, string | number>} [blanks]
 */
export function say(language, key, blanks = {}) {
  const words = WORDS[language][key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(blanks[name] ?? ""));
}

/** @param {Language} language */
const locale = (language) => (language === "zh" ? "zh-CN" : "en-US");

/**
 * @param {Language} language
 * @param {number} value
 * @param {number} [digits] after the decimal point
 */
export function number(language, value, digits = 0) {
  if (!Number.isFinite(value)) return "–";
  return format(language, `decimal ${digits}`, () => ({ minimumFractionDigits: digits, maximumFractionDigits: digits })).format(value);
}

/**
 * A share as a percentage.
 * @param {Language} language
 * @param {number} share 0 to 1
 * @param {number} [digits]
 */
export function percent(language, share, digits = 0) {
  if (!Number.isFinite(share)) return "–";
  return format(language, `percent ${digits}`, () => ({ style: "percent", maximumFractionDigits: digits })).format(share);
}

/** Making a formatter takes far longer than using it. @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();
/** @param {Language} language @param {string} name @param {() => Intl.NumberFormatOptions} options */
function format(language, name, options) {
  let made = formats.get(language + name);
  if (!made) {
    made = new Intl.NumberFormat(locale(language), options());
    formats.set(language + name, made);
  }
  return made;
}

/**
 * Seconds as people read them: 6.1 ms, 0.13 s, 12.4 s, 3 min 20 s.
 * @param {Language} language
 * @param {number | null} seconds
 */
export function duration(language, seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds === 0) return language === "zh" ? "0 秒" : "0 s";
  const unit = language === "zh" ? { ms: " 毫秒", s: " 秒", min: " 分 " } : { ms: " ms", s: " s", min: " min " };
  const size = Math.abs(seconds);
  if (size >= 120) return number(language, Math.floor(seconds / 60)) + unit.min + number(language, Math.floor(seconds % 60)) + unit.s;
  if (size >= 10) return number(language, seconds, 1) + unit.s;
  if (size >= 0.1) return number(language, seconds, 2) + unit.s;
  return number(language, seconds * 1000, size >= 0.01 ? 0 : 1) + unit.ms;
}

// -------------------------------------------------------------------------------------------------------- colours

/** Request colours: Okabe and Ito's, its yellow darkened so that it holds on white, and a violet. Request id modulo 8. */
export const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#9A7BC0", "#B5A300"];

/** @param {number} request */
export const colourOf = (request) => PALETTE[((request % PALETTE.length) + PALETTE.length) % PALETTE.length];

/** @param {string} hex @returns {[number, number, number]} */
export function rgb(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** @param {number[]} parts */
const hex = (parts) => "#" + parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");

/** Relative luminance, WCAG 2.2. @param {string} colour */
export function luminance(colour) {
  const [r, g, b] = rgb(colour).map((part) => {
    const x = part / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio, WCAG 2.2. @param {string} a @param {string} b */
export function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

/** `share` of b in a. @param {string} a @param {string} b @param {number} share */
export function mix(a, b, share) {
  const other = rgb(b);
  return hex(rgb(a).map((part, i) => part * (1 - share) + other[i] * share));
}

/** White where it reaches 4.5:1 on this colour, else near-black. @param {string} colour */
export const textOn = (colour) => (contrast(colour, "#ffffff") >= 4.5 ? "#ffffff" : "#15181c");

/** The gentlest shade of a colour that stands out from it at 3.1:1: lighter if white allows it, else darker. @param {string} colour */
export function inkOn(colour) {
  const towards = contrast(colour, "#ffffff") >= 3.6 ? "#ffffff" : "#000000";
  for (let step = 0; step < 40; step++) {
    const ink = mix(colour, towards, 0.2 + 0.02 * step);
    if (contrast(ink, colour) >= 3.1) return ink;
  }
  return towards;
}

/**
 * What is not a request's colour. `spare`, `held` and `wasted` are [ground, ink]; their inks stand out at 3:1 at least.
 * @typedef {{ground: string, text: string, faint: string, line: string, spare: [string, string], held: [string, string], wasted: [string, string], end: string, cursor: string, veil: string, area: string, stroke: string}} Theme
 */
/** @type {Record<"light" | "dark", Theme>} */
export const THEMES = {
  light: {
    ground: "#ffffff", text: "#1b1f24", faint: "#59636e", line: "#d1d9e0", spare: ["#edf0f3", "#7f8993"],
    held: ["#d5dae0", "#68727d"], wasted: ["#fdf1f0", "#c0343f"], end: "#15181c", cursor: "#d1242f", veil: "#ffffff", area: "#b9c4d0", stroke: "#0a58ca",
  },
  dark: {
    ground: "#111418", text: "#e8ecf1", faint: "#a2adb9", line: "#39424d", spare: ["#1d232a", "#74808c"],
    held: ["#414a55", "#b3bdc8"], wasted: ["#33191c", "#ff7b72"], end: "#f2f5f8", cursor: "#ff6b6b", veil: "#111418", area: "#4a5663", stroke: "#79b8ff",
  },
};

/** Light ground for stalled cells: a request's colour, thinned into the page. @param {string} colour @param {Theme} theme */
export const stalledGround = (colour, theme) => mix(theme.ground, colour, 0.28);
/** Their bar. @param {string} colour @param {Theme} theme */
export function stalledInk(colour, theme) {
  const ground = stalledGround(colour, theme);
  const towards = luminance(ground) > 0.3 ? "#000000" : "#ffffff";
  for (let step = 0; step < 25; step++) {
    const ink = mix(colour, towards, 0.04 * step);
    if (contrast(ink, ground) >= 3.1) return ink;
  }
  return towards;
}

// ---------------------------------------------------------------------------------------------------------- bytes

/** @typedef {Record<string, Float64Array | Int32Array | Uint8Array>} Arrays */
/** @typedef {{kind: string, lane: number | null, first: number, n: number, slots: number, reasons: string[], pieces: string[] | null, rows: [number, string, number, number, number | null][], meta: Record<string, any>}} Header */

const MAGIC = 0x31424243; // "CBB1", little-endian

/**
 * One block at `offset` of a run: its header, its arrays, and where the next block begins. Layout: see pack.py.
 * Throws with one sentence if the bytes are cut or foreign.
 * @param {Uint8Array} bytes
 * @param {number} [offset]
 * @returns {{header: Header, arrays: Arrays, next: number}}
 */
export function decodeBlock(bytes, offset = 0) {
  const cut = () => new Error("the bytes of this run are cut or foreign.");
  if (bytes.length - offset < 16) throw cut();
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
  const length = view.getUint32(4, true);
  const head = view.getUint32(8, true);
  if (view.getUint32(0, true) !== MAGIC || length > bytes.length - offset || head > length - 16) throw cut();
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(offset + 16, offset + 16 + head)));
  /** @type {Arrays} */
  const arrays = {};
  let at = offset + 16 + head;
  for (const [name, code, size] of header.arrays) {
    const Kind = code === "f8" ? Float64Array : code === "i4" ? Int32Array : Uint8Array;
    const width = size * Kind.BYTES_PER_ELEMENT;
    if (at + width > offset + length) throw cut();
    // A copy: typed arrays need alignment, and the message's buffer may go away.
    arrays[name] = new Kind(bytes.slice(at, at + width).buffer);
    at += width + ((8 - (width % 8)) % 8);
  }
  return { header, arrays, next: offset + length };
}

/** A column of numbers that grows. */
export class Column {
  /** @param {Float64ArrayConstructor | Int32ArrayConstructor} kind */
  constructor(kind) {
    this.kind = kind;
    this.length = 0;
    /** @type {Float64Array | Int32Array} */
    this.data = new kind(64);
  }
  /** @param {number} value */
  push(value) {
    if (this.length === this.data.length) {
      const wider = new this.kind(this.data.length * 2);
      wider.set(this.data);
      this.data = wider;
    }
    this.data[this.length++] = value;
  }
  /** @param {number} index */
  at(index) {
    return this.data[index];
  }
}

/**
 * Index of the last entry that is at most `value`; -1 if there is none.
 * @param {ArrayLike<number>} sorted
 * @param {number} value
 * @param {number} [length]
 */
export function lastAtMost(sorted, value, length = sorted.length) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// ----------------------------------------------------------------------------------------------- the store of a run

export const IDLE = 0, PREFILL = 1, DECODE = 2, RECOMPUTE = 3, HELD = 4, STALLED = 5;
/** Not sent: an idle slot while somebody waits. */
export const WASTED = 6;
/** Nor this: an empty slot that nobody may take, because somebody has lowered the number of slots. */
export const CLOSED = 7;
/** By state number; keys of `WORDS`. */
export const STATE_WORDS = ["idle", "prefill", "decode", "recompute", "held", "stalled", "wasted_idle", "closed"];
export const MARKS = ["arrive", "admit", "finish", "preempt", "stall", "cancel", "set"];
const ARRIVE = 0, ADMIT = 1, FINISH = 2, PREEMPT = 3, STALL = 4, CANCEL = 5, SET = 6;
/** Flags of a span. */
export const ENDS = 1, LOSES = 2, ENTERS = 4;

/**
 * @typedef {object} RequestRecord
 * @property {number} id
 * @property {number} arrived iteration, -1 if not yet
 * @property {number} admitted
 * @property {number} finished
 * @property {string} why it finished
 * @property {{slot: number, span: number}[]} spans
 * @property {number[]} tokens iteration of each output token
 * @property {string[]} pieces
 * @property {number[]} marks indices into the lane's marks
 * @property {{at: number, slot: number, replaced: number, reason: string}[]} admissions
 */

/** One lane of a run, filled block by block. All queries are about the first `k` iterations. */
export class Lane {
  /** @param {{name: string, summary?: string, slots: number, total_blocks?: number}} info */
  constructor(info) {
    this.name = info.name;
    this.summary = info.summary ?? "";
    this.slots = info.slots;
    this.totalBlocks = info.total_blocks ?? 0;
    /** Iterations known. */
    this.n = 0;
    this.ended = false;
    this.t0 = new Column(Float64Array);
    this.t1 = new Column(Float64Array);
    this.waiting = new Column(Int32Array);
    this.used = new Column(Int32Array);
    this.reserved = new Column(Int32Array);
    /** Sums over the iterations before i: entry i belongs to the first i iterations. */
    this.sum = {
      useful: new Column(Float64Array), wasted: new Column(Float64Array), generated: new Column(Float64Array),
      finished: new Column(Float64Array), arrived: new Column(Float64Array), prefill: new Column(Float64Array),
      open: new Column(Float64Array),
    };
    for (const column of Object.values(this.sum)) column.push(0);
    this.mostTokens = 1;
    /** Spans of each slot, without gaps: span j lasts from first[j] to first[j + 1] (or to n). */
    this.rows = Array.from({ length: this.slots }, () => ({
      first: /** @type {number[]} */ ([]), request: /** @type {number[]} */ ([]), state: /** @type {number[]} */ ([]),
      tokens: /** @type {number[]} */ ([]), flags: /** @type {number[]} */ ([]),
    }));
    this.spanCount = 0;
    this.current = new Int32Array(this.slots).fill(-1);
    this.currentState = new Uint8Array(this.slots);
    this.counts = new Int32Array(8);
    this.someoneWaits = false;
    /** How many slots are open. Of the empty ones the highest are closed, so that at most this many can be busy. */
    this.limit = this.slots;
    this.shut = new Uint8Array(this.slots);
    /** What somebody changed while it ran, in order: "name = value". @type {{at: number, words: string}[]} */
    this.changes = [];
    /** @type {Map<number, RequestRecord>} */
    this.requests = new Map();
    /** @type {{kind: number, at: number, request: number, slot: number, reason: string}[]} */
    this.marks = [];
    /** Iterations that carry each kind of mark, for jumps. */
    this.byKind = MARKS.map(() => /** @type {number[]} */ ([]));
    /** Stays in the queue: from iteration (inclusive) to iteration (exclusive; Infinity while it lasts). */
    this.stays = { request: /** @type {number[]} */ ([]), from: /** @type {number[]} */ ([]), to: /** @type {number[]} */ ([]), again: /** @type {boolean[]} */ ([]) };
    /** @type {Map<number, number>} open stay of a request */
    this.open = new Map();
  }

  /** @param {number} id @returns {RequestRecord} */
  record(id) {
    let record = this.requests.get(id);
    if (!record) {
      record = { id, arrived: -1, admitted: -1, finished: -1, why: "", spans: [], tokens: [], pieces: [], marks: [], admissions: [] };
      this.requests.set(id, record);
    }
    return record;
  }

  /**
   * Takes in one block of iterations. "old": we had it; "gap": something before it is missing; "taken".
   * @param {Header} header
   * @param {Arrays} arrays
   * @returns {"taken" | "old" | "gap"}
   */
  append(header, arrays) {
    if (header.first > this.n) return "gap";
    if (header.first + header.n <= this.n) return "old";
    const slots = this.slots;
    const gave = /** @type {Uint8Array} */ (arrays.gave);
    const { change_iteration: ci, change_slot: cs, change_request: cr, change_state: cq, change_tokens: ct } = arrays;
    const { mark_kind: mk, mark_iteration: mi, mark_request: mr, mark_slot: ms, mark_reason: mw } = arrays;
    let change = 0;
    let mark = 0;
    let piece = 0;
    for (let row = 0; row < header.n; row++) {
      const i = header.first + row;
      if (i < this.n) {
        // We have it: a whole run, or a backlog for somebody who came later.
        while (mark < mi.length && mi[mark] === i) mark++;
        while (change < ci.length && ci[change] === i) change++;
        for (let bit = row * slots; bit < (row + 1) * slots; bit++) if (gave[bit >> 3] & (128 >> (bit & 7))) piece++;
        continue;
      }
      const before = mark;
      // Whoever loses a slot loses it before this iteration's changes.
      while (mark < mi.length && mi[mark] === i) {
        if (mk[mark] === PREEMPT && ms[mark] >= 0) this.flag(ms[mark], LOSES);
        mark++;
      }
      let limit = this.limit;
      for (let m = before; m < mark; m++) if (mk[m] === SET && ms[m] >= 0) limit = ms[m];
      const waits = arrays.waiting[row] > 0;
      if (waits !== this.someoneWaits || limit < slots || limit !== this.limit) {
        this.someoneWaits = waits;
        this.limit = limit;
        this.shutSlots(i, change, ci, cs, cq);
      }
      while (change < ci.length && ci[change] === i) {
        this.open_span(i, cs[change], cr[change], cq[change], ct[change]);
        change++;
      }
      if (i === 0) for (let slot = 0; slot < slots; slot++) if (!this.rows[slot].first.length) this.open_span(0, slot, -1, IDLE, 0);
      let finished = 0;
      let arrived = 0;
      for (let m = before; m < mark; m++) {
        if (mk[m] === FINISH) finished++;
        if (mk[m] === ARRIVE) arrived++;
        this.note(mk[m], i, mr[m], ms[m], header.reasons[mw[m]] ?? "");
      }
      let generated = 0;
      for (let slot = 0; slot < slots; slot++) {
        const bit = row * slots + slot;
        if (gave[bit >> 3] & (128 >> (bit & 7))) {
          const record = this.record(this.current[slot]);
          record.tokens.push(i);
          if (header.pieces) {
            while (record.pieces.length < record.tokens.length - 1) record.pieces.push("");
            record.pieces.push(header.pieces[piece] ?? "");
          }
          piece++;
          generated++;
        }
      }
      this.mostTokens = Math.max(this.mostTokens, generated);
      this.t0.push(arrays.t0[row]);
      this.t1.push(arrays.t1[row]);
      this.waiting.push(arrays.waiting[row]);
      this.used.push(arrays.used[row]);
      this.reserved.push(arrays.reserved[row]);
      const c = this.counts;
      const s = this.sum;
      s.useful.push(s.useful.at(i) + c[PREFILL] + c[DECODE]);
      s.wasted.push(s.wasted.at(i) + c[RECOMPUTE] + c[HELD] + c[STALLED] + c[WASTED]);
      s.generated.push(s.generated.at(i) + generated);
      s.finished.push(s.finished.at(i) + finished);
      s.arrived.push(s.arrived.at(i) + arrived);
      s.prefill.push(s.prefill.at(i) + arrays.prefill[row]);
      s.open.push(s.open.at(i) + slots - c[CLOSED]);
      this.n = i + 1;
    }
    return "taken";
  }

  /**
   * Which slots are closed in iteration i, once its changes are made; those that stay empty begin a span of their own
   * where their look changes.
   * @param {number} i
   * @param {number} change the first of its changes
   * @param {ArrayLike<number>} ci @param {ArrayLike<number>} cs @param {ArrayLike<number>} cq iteration, slot and state of each change
   */
  shutSlots(i, change, ci, cs, cq) {
    const next = this.currentState.slice();
    const stays = new Uint8Array(this.slots).fill(1);
    for (let c = change; c < ci.length && ci[c] === i; c++) {
      next[cs[c]] = cq[c];
      stays[cs[c]] = 0;
    }
    let open = this.limit;
    for (let slot = 0; slot < this.slots; slot++) if (next[slot] !== IDLE) open--;
    for (let slot = 0; slot < this.slots; slot++) {
      this.shut[slot] = next[slot] === IDLE && open-- <= 0 ? 1 : 0;
      if (stays[slot] && next[slot] === IDLE && this.rows[slot].first.length) this.open_span(i, slot, -1, IDLE, 0);
    }
  }

  /** @param {number} i @param {number} slot @param {number} request @param {number} state @param {number} tokens */
  open_span(i, slot, request, state, tokens) {
    const row = this.rows[slot];
    const shown = state !== IDLE ? state : this.shut[slot] ? CLOSED : this.someoneWaits ? WASTED : IDLE;
    const last = row.first.length - 1;
    if (last >= 0 && row.request[last] === request && row.state[last] === shown && !(row.flags[last] & (ENDS | LOSES))) {
      row.tokens[last] += tokens;
      return;
    }
    if (last >= 0) this.counts[row.state[last]]--;
    this.counts[shown]++;
    row.first.push(i);
    row.request.push(request);
    row.state.push(shown);
    row.tokens.push(tokens);
    row.flags.push(0);
    this.spanCount++;
    this.current[slot] = request;
    this.currentState[slot] = state;
    if (request >= 0) this.record(request).spans.push({ slot, span: last + 1 });
  }

  /** @param {number} slot @param {number} flag */
  flag(slot, flag) {
    const row = this.rows[slot];
    if (row && row.first.length) row.flags[row.first.length - 1] |= flag;
  }

  /** @param {number} kind @param {number} at @param {number} request @param {number} slot @param {string} reason */
  note(kind, at, request, slot, reason) {
    if (kind === SET) {
      this.changes.push({ at, words: reason });
      if (at > 0 && this.byKind[SET][this.byKind[SET].length - 1] !== at) this.byKind[SET].push(at);
      return;
    }
    const record = this.record(request);
    record.marks.push(this.marks.length);
    this.marks.push({ kind, at, request, slot, reason });
    const places = this.byKind[kind];
    if (places[places.length - 1] !== at) places.push(at);
    if (kind === ARRIVE) {
      record.arrived = at;
      this.enqueue(request, at, false);
    } else if (kind === PREEMPT) {
      this.enqueue(request, at, true);
    } else if (kind === ADMIT) {
      if (record.admitted < 0) record.admitted = at;
      this.dequeue(request, at);
      let replaced = -1;
      if (slot >= 0) {
        this.flag(slot, ENTERS);
        const row = this.rows[slot];
        for (let j = row.first.length - 2; j >= 0 && replaced < 0; j--) if (row.request[j] !== request) replaced = row.request[j];
      }
      record.admissions.push({ at, slot, replaced, reason });
    } else if (kind === FINISH) {
      record.finished = at;
      record.why = reason;
      if (slot >= 0) this.flag(slot, ENDS);
    } else if (kind === CANCEL) {
      if (record.finished < 0) {
        record.finished = at;
        record.why = "cancelled";
      }
      this.dequeue(request, at);
    }
  }

  /** @param {number} request @param {number} at @param {boolean} again */
  enqueue(request, at, again) {
    this.open.set(request, this.stays.request.length);
    this.stays.request.push(request);
    this.stays.from.push(at);
    this.stays.to.push(Infinity);
    this.stays.again.push(again);
  }

  /** @param {number} request @param {number} at */
  dequeue(request, at) {
    const stay = this.open.get(request);
    if (stay === undefined) return;
    this.stays.to[stay] = at;
    this.open.delete(request);
  }

  /** What is set during iteration k - 1: the newest change of every name, in the order of the names. @param {number} k */
  settings(k) {
    /** @type {Map<string, string>} */
    const values = new Map();
    for (const { at, words } of this.changes) {
      if (at >= k && at > 0) break;
      const [name, ...rest] = words.split(" = ");
      values.set(name, rest.join(" = "));
    }
    return values;
  }

  /** Span of a slot that covers iteration i; -1 if there is none. @param {number} slot @param {number} i */
  spanAt(slot, i) {
    if (i < 0 || i >= this.n || !this.rows[slot]) return -1;
    return lastAtMost(this.rows[slot].first, i);
  }

  /** Iteration after the last one of a span. @param {number} slot @param {number} span */
  endOf(slot, span) {
    const first = this.rows[slot].first;
    return span + 1 < first.length ? first[span + 1] : this.n;
  }

  /** Lane seconds at the end of the first k iterations. @param {number} k */
  secondsAt(k) {
    return k > 0 ? this.t1.at(Math.min(k, this.n) - 1) : 0;
  }

  /** How many iterations had ended at a lane time. @param {number} seconds */
  iterationsAt(seconds) {
    return lastAtMost(this.t1.data, seconds + 1e-12, this.n) + 1;
  }

  /** Counters over the first k iterations. @param {number} k */
  counters(k) {
    const useful = this.sum.useful.at(k);
    const seconds = this.secondsAt(k);
    const generated = this.sum.generated.at(k);
    return {
      finished: this.sum.finished.at(k),
      occupancy: k ? useful / this.sum.open.at(k) : NaN,
      wasted: this.sum.wasted.at(k),
      generated,
      rate: seconds > 0 ? generated / seconds : NaN,
      waiting: k ? this.waiting.at(k - 1) : 0,
      used: k ? this.used.at(k - 1) : 0,
      reserved: k ? this.reserved.at(k - 1) : 0,
      seconds,
    };
  }

  /**
   * Who waits during iteration k - 1, in order, at most `limit`: the preempted ones first, then by arrival.
   * @param {number} k
   * @param {number} limit
   */
  queue(k, limit) {
    /** @type {{request: number, again: boolean}[]} */
    const back = [];
    /** @type {{request: number, again: boolean}[]} */
    const fresh = [];
    const { request, from, to, again } = this.stays;
    const i = k - 1;
    for (let stay = 0; stay < request.length && from[stay] <= i; stay++) {
      if (to[stay] <= i) continue;
      if (again[stay]) back.unshift({ request: request[stay], again: true });
      else if (fresh.length < limit) fresh.push({ request: request[stay], again: false });
    }
    return back.concat(fresh).slice(0, limit);
  }

  /**
   * One request over the first k iterations. Times are lane seconds, null where they are not known yet.
   * @param {number} id
   * @param {number} k
   * @param {number | null} arrival lane seconds, where the workload gives them
   */
  request(id, k, arrival = null) {
    const record = this.requests.get(id);
    if (!record || record.arrived < 0 || record.arrived >= k) return null;
    const tokens = lastAtMost(record.tokens, k - 1) + 1;
    const admission = record.admissions.filter((entry) => entry.at < k).pop() ?? null;
    const ended = record.finished >= 0 && record.finished < k;
    const came = arrival ?? this.t0.at(record.arrived);
    const first = tokens > 0 ? this.t1.at(record.tokens[0]) : null;
    const last = tokens > 0 ? this.t1.at(record.tokens[tokens - 1]) : null;
    let status = "s_waiting";
    if (ended) {
      const span = admission ? this.spanAt(admission.slot, k - 1) : -1;
      const row = admission ? this.rows[admission.slot] : null;
      status = row && span >= 0 && row.request[span] === id && row.state[span] === HELD ? "s_held" : "s_finished";
    } else if (admission) {
      const lost = record.marks.some((m) => this.marks[m].kind === PREEMPT && this.marks[m].at < k && this.marks[m].at >= admission.at);
      status = lost ? "s_preempted" : "s_running";
    }
    return {
      id, status, tokens, why: ended ? record.why : "",
      text: record.pieces.length ? record.pieces.slice(0, tokens).join("") : null,
      slot: admission ? admission.slot : -1,
      replaced: admission ? admission.replaced : -1,
      reason: admission ? admission.reason : "",
      waited: admission ? this.t0.at(record.admissions[0].at) - came : null,
      ttft: first === null ? null : first - came,
      tpot: tokens > 1 && last !== null && first !== null ? (last - first) / (tokens - 1) : null,
      preemptions: record.marks.filter((m) => this.marks[m].kind === PREEMPT && this.marks[m].at < k).length,
      admitted: record.admitted >= 0 && record.admitted < k ? record.admitted : -1,
      finished: ended ? record.finished : -1,
    };
  }

  /** The policy's words about a cell: why admitted, preempted or stalled there. @param {number} slot @param {number} span */
  reasons(slot, span) {
    const row = this.rows[slot];
    const record = this.requests.get(row.request[span]);
    if (!record) return [];
    const [from, to] = [row.first[span], this.endOf(slot, span)];
    return record.marks.map((m) => this.marks[m]).filter((mark) => {
      if (mark.kind === ADMIT) return mark.slot === slot && mark.at === this.stretchStart(slot, span);
      if (mark.kind === STALL) return row.state[span] === STALLED && mark.at >= from && mark.at < to;
      if (mark.kind === PREEMPT) return mark.at === to && mark.slot === slot;
      return false;
    });
  }

  /** First iteration of the unbroken stay of a span's request in its slot. @param {number} slot @param {number} span */
  stretchStart(slot, span) {
    const row = this.rows[slot];
    let j = span;
    while (j > 0 && row.request[j - 1] === row.request[span] && !(row.flags[j - 1] & LOSES)) j--;
    return row.first[j];
  }

  /**
   * Iterations shown so that the next (or previous) mark of a kind has just happened; null if there is none.
   * @param {number} kind
   * @param {number} k iterations shown now
   * @param {1 | -1} direction
   */
  jump(kind, k, direction) {
    const places = this.byKind[kind];
    const at = direction > 0 ? lastAtMost(places, k - 1, places.length) + 1 : lastAtMost(places, k - 2, places.length);
    return at >= 0 && at < places.length ? places[at] + 1 : null;
  }
}

/** A whole board: lanes, prompts, titles. Fed with blocks. */
export class Run {
  constructor() {
    /** @type {Lane[]} */
    this.lanes = [];
    /** @type {Record<string, any>} */
    this.meta = {};
    /** @type {Map<number, {prompt: string, promptTokens: number, maxNew: number, arrival: number | null}>} */
    this.shared = new Map();
    /** @type {Map<number, {prompt: string, promptTokens: number, maxNew: number, arrival: number | null}>[]} */
    this.own = [];
    /** Blocks that came with something missing before them. */
    this.gaps = 0;
    /** Rises with everything that is taken in. */
    this.version = 0;
  }

  /** @param {{name: string, summary?: string, slots: number, total_blocks?: number}[]} infos */
  setLanes(infos) {
    this.lanes = infos.map((info) => new Lane(info));
    this.own = infos.map(() => new Map());
    this.version++;
  }

  /** Takes in blocks. False if a gap shows that something was lost. @param {Uint8Array} bytes */
  add(bytes) {
    let whole = true;
    for (let at = 0; at < bytes.length; ) {
      const { header, arrays, next } = decodeBlock(bytes, at);
      at = next;
      if (header.kind === "meta") {
        this.meta = { ...this.meta, ...header.meta };
        if (header.meta.lanes && !this.lanes.length) this.setLanes(header.meta.lanes);
      } else if (header.kind === "requests") {
        const table = header.lane === null ? this.shared : this.own[header.lane];
        for (const [id, prompt, promptTokens, maxNew, arrival] of header.rows) table.set(id, { prompt, promptTokens, maxNew, arrival });
      } else if (header.kind === "iterations") {
        const lane = header.lane === null ? undefined : this.lanes[header.lane];
        if (!lane || lane.slots !== header.slots) throw new Error("a block belongs to a lane that this board does not have.");
        const answer = lane.append(header, arrays);
        if (answer === "gap") {
          this.gaps++;
          whole = false;
        }
      }
      this.version++;
    }
    return whole;
  }

  have() {
    return this.lanes.map((lane) => lane.n);
  }

  /** @param {number} lane @param {number} id */
  about(lane, id) {
    return this.own[lane]?.get(id) ?? this.shared.get(id) ?? null;
  }

  /** Requests that a lane will serve. @param {number} lane */
  total(lane) {
    return Math.max(this.shared.size, this.own[lane]?.size ?? 0, this.lanes[lane].sum.arrived.at(this.lanes[lane].n));
  }
}

// ------------------------------------------------------------------------------------------------------- geometry

/** Where time lies on the page: `start` (iterations or seconds) at the left edge, `scale` px a unit. */
export class Axis {
  /** @param {Mode} mode @param {number} start @param {number} scale */
  constructor(mode, start, scale) {
    this.mode = mode;
    this.start = start;
    this.scale = scale;
  }
  /** @param {number} value @returns {number} px */
  x(value) {
    return (value - this.start) * this.scale;
  }
  /** @param {number} px @returns {number} iterations or seconds */
  value(px) {
    return this.start + px / this.scale;
  }
  /** Left edge of iteration i in px. @param {Lane} lane @param {number} i */
  left(lane, i) {
    if (this.mode === "iterations") return this.x(i);
    return this.x(i < lane.n ? lane.t0.at(i) : lane.secondsAt(lane.n));
  }
  /** Right edge of iteration i - 1 in px. @param {Lane} lane @param {number} i */
  right(lane, i) {
    return this.mode === "iterations" ? this.x(i) : this.x(lane.secondsAt(i));
  }
  /** Iteration under a px; may lie outside 0 … n - 1. @param {Lane} lane @param {number} px */
  iteration(lane, px) {
    const value = this.value(px);
    return this.mode === "iterations" ? Math.floor(value) : lastAtMost(lane.t0.data, value, lane.n);
  }
  /** px of an average iteration. @param {Lane} lane */
  pitch(lane) {
    if (this.mode === "iterations") return this.scale;
    return lane.n ? (lane.secondsAt(lane.n) / lane.n) * this.scale : this.scale;
  }
}

/**
 * An axis zoomed by `factor` around a px that stays where it is, within limits.
 * @param {Axis} axis @param {number} px @param {number} factor @param {number} least @param {number} most px a unit
 */
export function zoomed(axis, px, factor, least, most) {
  const scale = Math.min(most, Math.max(least, axis.scale * factor));
  return new Axis(axis.mode, axis.value(px) - px / scale, scale);
}

/** A step of 1, 2 or 5 × 10^n so that ticks keep `room` px between them. @param {number} scale @param {number} room @param {boolean} whole */
export function tickStep(scale, room, whole) {
  const least = room / scale;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= least * 0.999999) ?? 10 * power;
  return whole ? Math.max(1, Math.round(step)) : step;
}

/**
 * Tick values between the edges of `width` px.
 * @param {Axis} axis @param {number} width
 * @returns {number[]}
 */
export function ticks(axis, width) {
  const step = tickStep(axis.scale, axis.mode === "iterations" ? 74 : 84, axis.mode === "iterations");
  const values = [];
  for (let k = Math.max(0, Math.ceil(axis.start / step - 1e-9)); k * step <= axis.value(width) + 1e-9; k++) values.push(k * step);
  return values;
}

/**
 * Heights of a lane's drawing in px.
 * @param {number} slots @param {number} lanes @param {boolean} narrow
 */
export function laneHeights(slots, lanes, narrow) {
  const room = (lanes === 1 ? 520 : lanes === 2 ? 420 : 260) * (narrow ? 0.8 : 1);
  const pitch = Math.max(2, Math.min(narrow ? 22 : 26, Math.floor(room / slots)));
  const gap = pitch >= 18 ? 4 : pitch >= 10 ? 2 : pitch >= 5 ? 1 : 0;
  const rows = pitch * slots;
  return { pitch, gap, rows, strip: 34, axis: 24, top: 4, height: 4 + rows + 8 + 34 + 24 };
}

/**
 * Slot and iteration under a point of a lane's drawing; null outside the rows or beyond what is shown.
 * @param {Lane} lane @param {Axis} axis @param {{pitch: number, top: number}} heights @param {number} x @param {number} y
 */
export function hitTest(lane, axis, heights, x, y) {
  const slot = Math.floor((y - heights.top) / heights.pitch);
  if (slot < 0 || slot >= lane.slots) return null;
  const i = axis.iteration(lane, x);
  if (i < 0 || i >= lane.n) return null;
  if (axis.mode === "seconds" && axis.value(x) >= lane.t1.at(i) && i + 1 < lane.n && axis.value(x) < lane.t0.at(i + 1)) return null;
  return { slot, iteration: i, span: lane.spanAt(slot, i) };
}

/**
 * Cursor values map between the axes through one lane, so that the place is kept.
 * @param {Lane} lane @param {number} value @param {Mode} from @param {Mode} to
 */
export function convert(lane, value, from, to) {
  if (from === to || lane.n === 0) return value;
  if (to === "seconds") {
    const whole = Math.min(Math.floor(value), lane.n);
    if (whole >= lane.n) return lane.secondsAt(lane.n) + Math.max(0, value - lane.n) * (lane.secondsAt(lane.n) / lane.n);
    return lane.secondsAt(whole) + (value - whole) * (lane.t1.at(whole) - lane.secondsAt(whole));
  }
  const end = lane.secondsAt(lane.n);
  if (value >= end) return lane.n + (value - end) / (end / lane.n);
  const whole = lane.iterationsAt(value);
  const [a, b] = [lane.secondsAt(whole), lane.t1.at(whole)];
  return whole + (b > a ? (value - a) / (b - a) : 0);
}

/** The 4 × 4 ordered-dither thresholds, each between 0 and 1. */
const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map((v) => (v + 0.5) / 16);

/**
 * Level of detail: which state, and whose, each of `parts` stacked pixels of each column of a slot shows, where a column
 * covers several iterations. Pixels are handed out by share (useful on top, then spare, waste below), so the area of a
 * state on screen is its share of the time, however far one zooms out.
 * @param {Lane} lane
 * @param {number} slot
 * @param {Float64Array} edges iteration (may be fractional) at each column's left edge, and at the right edge of the last
 * @param {number} parts
 * @param {Uint8Array} state [columns * parts], 255 where there is nothing; filled in
 * @param {Int32Array} request [columns]: whose useful work it is; filled in
 * @param {number} [phase] column at which the first edge lies on an endless page, so that panning does not flicker
 */
export function coarse(lane, slot, edges, parts, state, request, phase = 0) {
  const { first, state: states, request: requests } = lane.rows[slot];
  const columns = edges.length - 1;
  const spans = first.length;
  const n = lane.n;
  let j = spans ? Math.max(0, lastAtMost(first, edges[0])) : 0;
  for (let c = 0, at = 0; c < columns; c++, at += parts) {
    const from = edges[c] > 0 ? edges[c] : 0;
    const to = edges[c + 1] < n ? edges[c + 1] : n;
    request[c] = -1;
    if (!(to > from) || !spans) {
      for (let p = 0; p < parts; p++) state[at + p] = 255;
      continue;
    }
    while (j + 1 < spans && first[j + 1] <= from) j++;
    if (j + 1 >= spans || first[j + 1] >= to) {
      // One span fills the column: what one sees when zoomed in, and most of what one sees zoomed out.
      const only = states[j];
      for (let p = 0; p < parts; p++) state[at + p] = only;
      request[c] = requests[j];
      continue;
    }
    SHARE.fill(0);
    let most = 0;
    let last = j;
    for (let s = j; s < spans && first[s] < to; s++) {
      const end = s + 1 < spans ? first[s + 1] : n;
      const overlap = (end < to ? end : to) - (first[s] > from ? first[s] : from);
      const what = states[s];
      SHARE[what] += overlap;
      if ((what === PREFILL || what === DECODE) && overlap > most) {
        most = overlap;
        request[c] = requests[s];
      } else if (request[c] < 0) request[c] = requests[s];
      last = s;
    }
    j = last;
    // Pixel p shows the state in which the fraction (p + threshold) / parts of the column's stack lies.
    const threshold = BAYER[(slot & 3) * 4 + ((c + phase) & 3)];
    let p = 0;
    let sum = 0;
    for (let k = 0; k < 8 && p < parts; k++) {
      const what = STACK[k];
      if (SHARE[what] === 0) continue;
      sum += SHARE[what];
      const until = (sum / (to - from)) * parts - threshold;
      while (p < parts && p < until - 1e-9) state[at + p++] = what;
    }
    while (p < parts) state[at + p] = p ? state[at + p++ - 1] : states[(p++, last)];
  }
}
const SHARE = new Float64Array(8);
const STACK = [DECODE, PREFILL, IDLE, RECOMPUTE, STALLED, HELD, WASTED, CLOSED];

// ------------------------------------------------------------------------------------------------------- painting

/** Patterns of one theme at one pixel ratio. Each state has its own texture; see `THEMES` for the inks' contrast. */
class Brushes {
  /** @param {Theme} theme @param {number} ratio device pixels a CSS pixel */
  constructor(theme, ratio) {
    this.theme = theme;
    this.ratio = ratio;
    /** @type {Map<string, CanvasPattern | string>} */
    this.made = new Map();
    /** Where each pattern was put last. @type {Map<string, number>} */
    this.shifts = new Map();
    /** @type {{ground: Uint32Array, ink: Uint32Array} | null} */
    this.table = null;
  }

  /**
   * What fills a cell. `shift` keeps patterns in place while the view pans.
   * @param {CanvasRenderingContext2D} ctx @param {number} state @param {number} request @param {number} shift
   */
  fill(ctx, state, request, shift) {
    if (state === DECODE) return colourOf(request);
    if (state === IDLE) return this.theme.spare[0];
    if (state === STALLED) return stalledGround(colourOf(request), this.theme);
    const key = state === HELD || state === WASTED ? String(state) : `${state} ${colourOf(request)}`;
    let pattern = this.made.get(key);
    if (!pattern) {
      pattern = this.pattern(ctx, state, request);
      this.made.set(key, pattern);
    }
    if (typeof pattern !== "string" && this.shifts.get(key) !== shift) {
      this.shifts.set(key, shift);
      pattern.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, ((shift % 6) + 6) % 6, 0]));
    }
    return pattern;
  }

  /** Ground and ink of every state and request colour as ImageData keeps them: index state * 8 + request modulo 8. Closed slots stay 0: nothing is there. */
  pixels() {
    if (!this.table) {
      this.table = { ground: new Uint32Array(64), ink: new Uint32Array(64) };
      const theme = this.theme;
      PALETTE.forEach((colour, whose) => {
        const pale = stalledGround(colour, theme);
        const pairs = [
          theme.spare, [colour, inkOn(colour)], [colour, colour], [colour, inkOn(colour)], theme.held, [pale, pale], theme.wasted,
        ];
        pairs.forEach(([ground, ink], state) => {
          /** @type {{ground: Uint32Array, ink: Uint32Array}} */ (this.table).ground[state * 8 + whose] = pixel(ground);
          /** @type {{ground: Uint32Array, ink: Uint32Array}} */ (this.table).ink[state * 8 + whose] = pixel(ink);
        });
      });
    }
    return this.table;
  }

  /** @param {CanvasRenderingContext2D} ctx @param {number} state @param {number} request @returns {CanvasPattern | string} */
  pattern(ctx, state, request) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6 * this.ratio;
    const t = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
    t.scale(this.ratio, this.ratio);
    const [ground, ink] = state === HELD ? this.theme.held : state === WASTED ? this.theme.wasted : [colourOf(request), inkOn(colourOf(request))];
    t.fillStyle = ground;
    t.fillRect(0, 0, 6, 6);
    t.fillStyle = t.strokeStyle = ink;
    if (state === PREFILL) {
      t.lineWidth = 1.5;
      for (const x of [-6, 0, 6]) line(t, x - 1, -1, x + 7, 7);
    } else if (state === RECOMPUTE) {
      t.fillRect(1, 0, 2, 6);
    } else if (state === HELD) {
      t.lineWidth = 0.9;
      line(t, 1.6, 1.6, 4.4, 4.4);
      line(t, 4.4, 1.6, 1.6, 4.4);
    } else {
      t.beginPath();
      t.arc(3, 3, 1.15, 0, 7);
      t.fill();
    }
    return ctx.createPattern(tile, "repeat") ?? ground;
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

/** More spans than this in sight are drawn as a picture of columns. */
const MOST_SPANS = 4500;
/** And so is what lies closer than this, in px a span on average: there states would hide one another. */
const NARROW = 6;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', 'Noto Sans SC', sans-serif";

/**
 * @typedef {ReturnType<typeof laneHeights>} Heights
 * @typedef {{lane: Lane, axis: Axis, heights: Heights, width: number, brushes: Brushes, font: string, lit: number, language: Language, from: number, to: number, draft: boolean, lanes: number}} Scene
 * `from` and `to`: the px that have to be painted; `draft`: it moves, so speed comes before detail.
 */

/** Whether the scene has to be drawn as columns of several iterations. @param {Scene} scene */
export function needsColumns({ lane, axis, width, draft, lanes }) {
  const from = Math.max(0, axis.iteration(lane, 0));
  const to = Math.min(lane.n, axis.iteration(lane, width) + 1);
  let spans = 0;
  for (const row of lane.rows) spans += lastAtMost(row.first, to) - lastAtMost(row.first, from) + 1;
  return spans > (draft ? MOST_SPANS / 3 : MOST_SPANS) / Math.sqrt(lanes) || (width * lane.slots) / spans < NARROW;
}

/** All rows up to the newest iteration. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintRows(ctx, scene) {
  if (needsColumns(scene)) paintColumns(ctx, scene);
  else paintSpans(ctx, scene);
  if (scene.lit >= 0) paintLit(ctx, scene);
}

/** First span of a slot that may reach beyond a px. @param {Lane} lane @param {number} slot @param {Axis} axis @param {number} px */
function firstSpan(lane, slot, axis, px) {
  const i = axis.iteration(lane, px);
  return Math.max(0, i >= lane.n ? lane.rows[slot].first.length - 1 : lane.spanAt(slot, Math.max(0, i)) - 1);
}

/** Span by span, with labels and marks. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintSpans(ctx, scene) {
  const { lane, heights } = scene;
  for (let slot = 0; slot < lane.slots; slot++) paintRow(ctx, scene, slot, () => true);
  if (heights.pitch >= 15) for (let slot = 0; slot < lane.slots; slot++) paintLabels(ctx, scene, slot, () => true);
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} slot @param {(request: number) => boolean} wanted */
function paintRow(ctx, { lane, axis, heights, from, to, brushes }, slot, wanted) {
  const theme = brushes.theme;
  const row = lane.rows[slot];
  const y = heights.top + slot * heights.pitch;
  const h = heights.pitch - heights.gap;
  const shift = axis.x(0);
  const unit = axis.pitch(lane);
  const mark = Math.max(1, Math.min(3, unit * 0.45));
  for (let j = firstSpan(lane, slot, axis, from); j < row.first.length; j++) {
    const x0 = axis.left(lane, row.first[j]);
    if (x0 > to) break;
    const end = lane.endOf(slot, j);
    const x1 = axis.right(lane, end);
    if (x1 < from || !wanted(row.request[j])) continue;
    const state = row.state[j];
    if (state === CLOSED) continue;
    const wide = Math.max(x1 - x0, 0.5);
    ctx.fillStyle = brushes.fill(ctx, state, row.request[j], shift);
    const soft = heights.pitch >= 14 && wide > 7 && state !== IDLE && state !== WASTED && state !== HELD;
    if (soft) {
      const opens = j === 0 || row.request[j - 1] !== row.request[j] ? 2.5 : 0;
      ctx.beginPath();
      ctx.roundRect(x0, y, wide, h, [opens, 0, 0, opens]);
      ctx.fill();
    } else ctx.fillRect(x0, y, wide, h);
    if (state === IDLE && h >= 4) {
      // An empty tray: plain, but for a line at its foot.
      ctx.fillStyle = theme.spare[1];
      ctx.fillRect(x0, y + h - 1, wide, 1);
    }
    if (state === STALLED && h >= 4) {
      ctx.fillStyle = stalledInk(colourOf(row.request[j]), theme);
      ctx.fillRect(x0, y + h / 2 - 1, wide, 2);
      if (wide >= 7 && h >= 12) {
        ctx.fillRect(x0 + 1, y + h / 2 - 4, 1.8, 8);
        ctx.fillRect(x0 + 4.2, y + h / 2 - 4, 1.8, 8);
      }
    }
    const flags = row.flags[j];
    if (flags & ENDS) {
      ctx.fillStyle = theme.end;
      ctx.fillRect(x1 - mark, y, mark, h);
    }
    if (flags & LOSES) {
      // A torn edge: the request did not end here, it was sent back.
      ctx.fillStyle = theme.ground;
      ctx.fillRect(x1 - mark - 1.5, y, mark + 1.5, h);
      ctx.fillStyle = theme.cursor;
      const tooth = Math.max(2, h / 4);
      for (let t = 0; t * tooth < h; t += 2) ctx.fillRect(x1 - mark, y + t * tooth, mark, Math.min(tooth, h - t * tooth));
    }
    if (flags & ENTERS && unit >= 5 && h >= 10) {
      ctx.fillStyle = theme.end;
      ctx.beginPath();
      ctx.moveTo(x0, y);
      ctx.lineTo(x0 + 5, y);
      ctx.lineTo(x0, y + 5);
      ctx.fill();
    }
  }
}

/** Request numbers, where there is room, in the middle of what a request decoded. @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} slot @param {(request: number) => boolean} wanted */
function paintLabels(ctx, { lane, axis, heights, from, to, font }, slot, wanted) {
  const row = lane.rows[slot];
  const y = heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2 + 0.5;
  ctx.font = `600 11px ${font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  for (let j = firstSpan(lane, slot, axis, from); j < row.first.length; j++) {
    if (row.state[j] !== DECODE || !wanted(row.request[j])) continue;
    const x0 = axis.left(lane, row.first[j]);
    if (x0 > to) break;
    const x1 = axis.right(lane, lane.endOf(slot, j)) - (row.flags[j] & ENDS ? 3 : 0);
    const label = String(row.request[j]);
    if (x1 - x0 < label.length * 6.6 + 5) continue;
    ctx.fillStyle = textOn(colourOf(row.request[j]));
    ctx.fillText(label, (x0 + x1) / 2, y);
  }
}

/** One request stands out: the rest is veiled, its own spans are drawn again. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintLit(ctx, scene) {
  const { lane, axis, heights, from, to, brushes, lit } = scene;
  const record = lane.requests.get(lit);
  ctx.globalAlpha = 0.66;
  ctx.fillStyle = brushes.theme.veil;
  ctx.fillRect(from, 0, to - from, heights.top + heights.rows);
  ctx.globalAlpha = 1;
  if (!record) return;
  for (const slot of new Set(record.spans.map((entry) => entry.slot))) {
    paintRow(ctx, scene, slot, (request) => request === lit);
    ctx.strokeStyle = brushes.theme.end;
    ctx.lineWidth = 1.5;
    for (const { slot: where, span } of record.spans) {
      if (where !== slot) continue;
      const x0 = axis.left(lane, lane.rows[slot].first[span]);
      const x1 = axis.right(lane, lane.endOf(slot, span));
      if (x1 < from || x0 > to) continue;
      const y = heights.top + slot * heights.pitch;
      line(ctx, x0, y - 0.5, Math.max(x1, x0 + 1), y - 0.5);
      line(ctx, x0, y + heights.pitch - heights.gap + 0.5, Math.max(x1, x0 + 1), y + heights.pitch - heights.gap + 0.5);
    }
    if (heights.pitch >= 15) paintLabels(ctx, scene, slot, (request) => request === lit);
  }
}

/**
 * Column edges in iterations.
 * @param {Lane} lane @param {Axis} axis @param {number} columns
 * @param {number} step px a column
 * @param {number} [from] px at which the first column begins
 */
export function columnEdges(lane, axis, columns, step, from = 0) {
  const edges = new Float64Array(columns + 1);
  for (let c = 0; c <= columns; c++) {
    const value = axis.value(from + c * step);
    if (axis.mode === "iterations") edges[c] = value;
    else edges[c] = value < 0 ? -1 : convert(lane, value, "seconds", "iterations");
  }
  return edges;
}

const scratch = { state: new Uint8Array(0), request: new Int32Array(0), canvas: /** @type {HTMLCanvasElement | null} */ (null) };
/** @param {string} colour 0xAABBGGRR as ImageData keeps it */
const pixel = (colour) => {
  const [r, g, b] = rgb(colour);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
};

/** Where a state's texture puts ink, 4 rows of 12 columns for each state. */
export const INKED = new Uint8Array(8 * 48);
for (let y = 0; y < 4; y++)
  for (let c = 0; c < 12; c++) {
    INKED[IDLE * 48 + y * 12 + c] = c % 6 === 0 && y === 3 ? 1 : 0;
    INKED[PREFILL * 48 + y * 12 + c] = (c + y) % 3 === 0 ? 1 : 0;
    INKED[RECOMPUTE * 48 + y * 12 + c] = c % 3 === 0 ? 1 : 0;
    INKED[HELD * 48 + y * 12 + c] = (c + 2 * (y & 1)) % 4 === 0 ? 1 : 0;
    INKED[WASTED * 48 + y * 12 + c] = c % 3 === 0 && y % 2 === 0 ? 1 : 0;
  }

/** Several iterations a column. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintColumns(ctx, { lane, axis, heights, from, to, brushes, draft, lanes }) {
  // A column is a device pixel. Coarser while it moves: a quarter of the work, for the eye that follows.
  const step = draft ? 2 : 1 / brushes.ratio;
  const left = Math.floor(from);
  const columns = Math.max(1, Math.ceil((Math.ceil(to) - left) / step));
  const phase = ((Math.round((axis.start * axis.scale + left) / step) % 12) + 12) % 12;
  const budget = (draft ? 80000 : 500000) / lanes;
  const parts = Math.max(1, Math.min(heights.pitch - heights.gap, 8, Math.floor(budget / (lane.slots * columns))));
  const edges = columnEdges(lane, axis, columns, step, left);
  if (scratch.state.length < columns * parts) scratch.state = new Uint8Array(columns * parts);
  if (scratch.request.length < columns) scratch.request = new Int32Array(columns);
  const { state: states, request: owners } = scratch;
  const picture = ctx.createImageData(columns, lane.slots * parts);
  const pixels = new Uint32Array(picture.data.buffer);
  const { ground, ink } = brushes.pixels();
  for (let slot = 0; slot < lane.slots; slot++) {
    coarse(lane, slot, edges, parts, states, owners, phase);
    for (let p = 0; p < parts; p++) {
      const y = slot * parts + p;
      const texture = (y & 3) * 12;
      let at = y * columns;
      for (let c = 0, column = phase; c < columns; c++, at++) {
        const state = states[c * parts + p];
        if (state !== 255) {
          const which = state * 8 + (owners[c] & 7);
          pixels[at] = INKED[state * 48 + texture + column] ? ink[which] : ground[which];
        }
        if (++column === 12) column = 0;
      }
    }
  }
  const canvas = (scratch.canvas ??= document.createElement("canvas"));
  if (canvas.width < columns || canvas.height < lane.slots * parts) {
    canvas.width = Math.max(canvas.width, columns);
    canvas.height = Math.max(canvas.height, lane.slots * parts);
  }
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true })).putImageData(picture, 0, 0);
  ctx.imageSmoothingEnabled = false;
  if (heights.gap === 0) ctx.drawImage(canvas, 0, 0, columns, lane.slots * parts, left, heights.top, columns * step, heights.rows);
  else for (let slot = 0; slot < lane.slots; slot++) ctx.drawImage(canvas, 0, slot * parts, columns, parts, left, heights.top + slot * heights.pitch, columns * step, heights.pitch - heights.gap);
}

/** Under the rows: occupancy as an area, tokens an iteration as a line; columns average what they cover. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintStrip(ctx, { lane, axis, heights, from: left, to: right, brushes, draft }) {
  if (lane.n === 0) return;
  const theme = brushes.theme;
  const top = heights.top + heights.rows + 8;
  const height = heights.strip - 6;
  const start = Math.floor(left);
  const step = draft ? 2 : 1;
  const columns = Math.max(1, Math.ceil((Math.ceil(right) - start) / step));
  const edges = columnEdges(lane, axis, columns, step, start);
  // Rectangles at whole px, equal neighbours as one: a path of as many corners takes a software renderer far longer.
  /** @type {[number, number, number, number][]} x, width, top of the area, height of the line */
  const runs = [];
  for (let c = 0; c < columns; c++) {
    if (edges[c + 1] <= 0 || edges[c] >= lane.n) continue;
    const from = Math.max(0, Math.min(lane.n - 1, Math.floor(edges[c])));
    const to = Math.min(lane.n, Math.max(from + 1, Math.floor(edges[c + 1])));
    const share = (lane.sum.useful.at(to) - lane.sum.useful.at(from)) / (lane.sum.open.at(to) - lane.sum.open.at(from));
    const rate = (lane.sum.generated.at(to) - lane.sum.generated.at(from)) / (to - from) / lane.mostTokens;
    const area = Math.round(height * (1 - share));
    const y = Math.round(height * (1 - rate));
    const last = runs[runs.length - 1];
    if (last && last[2] === area && last[3] === y) last[1] += step;
    else runs.push([start + c * step, step, area, y]);
  }
  ctx.fillStyle = theme.area;
  // A little wider, so that no seam shows where CSS pixels are no whole device pixels; the next one covers it.
  runs.forEach(([x, wide, area], k) => ctx.fillRect(x, top + area, k + 1 < runs.length ? wide + 0.6 : wide, height - area));
  ctx.fillStyle = theme.stroke;
  let before = -1;
  for (const [x, wide, , y] of runs) {
    ctx.fillRect(x, top + y - 1, wide, 1.5);
    if (before >= 0 && before !== y) ctx.fillRect(x - 0.5, top + Math.min(before, y) - 1, 1.25, Math.abs(before - y) + 1.5);
    before = y;
  }
  ctx.fillStyle = theme.line;
  ctx.fillRect(left, top + height, right - left, 1);
}

/** A line where somebody changed a control while it ran. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintChanges(ctx, { lane, axis, heights, from, to, brushes }) {
  const bottom = heights.top + heights.rows;
  ctx.fillStyle = brushes.theme.stroke;
  for (const at of lane.byKind[SET]) {
    const x = Math.round(axis.left(lane, at));
    if (x < from - 6 || x > to + 6) continue;
    for (let y = heights.top; y < bottom; y += 5) ctx.fillRect(x - 0.5, y, 1.5, 3);
    ctx.beginPath();
    ctx.moveTo(x, bottom + 1);
    ctx.lineTo(x + 5, bottom + 8);
    ctx.lineTo(x - 5, bottom + 8);
    ctx.fill();
  }
}

/** Ticks and their labels, from y = 0 down. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function paintAxis(ctx, { axis, width, brushes, font, language }) {
  const theme = brushes.theme;
  ctx.strokeStyle = theme.faint;
  ctx.fillStyle = theme.faint;
  ctx.lineWidth = 1;
  ctx.font = `11px ${font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  const step = tickStep(axis.scale, axis.mode === "iterations" ? 74 : 84, axis.mode === "iterations");
  const digits = axis.mode === "iterations" ? 0 : Math.max(0, -Math.floor(Math.log10(step * 1.0000001)));
  for (const value of ticks(axis, width)) {
    const x = Math.round(axis.x(value)) + 0.5;
    line(ctx, x, 0, x, 4);
    const label = number(language, value, digits) + (axis.mode === "seconds" ? " " + say(language, "second") : "");
    const half = ctx.measureText(label).width / 2;
    ctx.fillText(label, Math.min(width - half, Math.max(half, x)), 6);
  }
}

// ------------------------------------------------------------------------------------------------------ the board

/**
 * An element with attributes and children; text only ever becomes text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {string} path @returns {SVGSVGElement} a 16 × 16 icon */
function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}
const ICONS = {
  stop: "M3 3h10v10H3z", play: "M4 2.5v11l9.5-5.5z", pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
  back: "M11.5 3v10L4.8 8zM3 3h1.6v10H3z", forward: "M4.5 3v10l6.7-5zM11.4 3H13v10h-1.6z",
  previous: "M10.5 3v10L3.5 8z", next: "M5.5 3v10l7-5z", plus: "M7 3h2v4h4v2H9v4H7V9H3V7h4z", minus: "M3 7h10v2H3z",
  fit: "M2 2h4v1.6H3.6V6H2zm8 0h4v4h-1.6V3.6H10zM2 10h1.6v2.4H6V14H2zm10.4 0H14v4h-4v-1.6h2.4z",
};

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64];
/** Iterations a second at speed 1. */
const PACE = 10;
const CHIPS = 24;
const GUTTER = 30;
/** Longest text that the inspector puts on the page. */
const MOST_TEXT = 4000;
const TABLE_ROWS = 500;
/** Milliseconds after a movement until the view counts as at rest. */
const SETTLE = 140;
/** Milliseconds of painting in one frame after which the other lanes wait for the next one, stretched into place. */
const PAINT_BUDGET = 6;
/** And so many lanes at most while the view moves (zooming: of large runs). Without a GPU a browser needs more time for what was painted than painting took. */
const MOST_PANNING = 2, MOST_ZOOMING = 1;
let boards = 0;

/**
 * Where a live run is controlled; absent for recorded runs.
 * @typedef {object} Host
 * @property {() => {status: string, actions: string[], knobs: any[], refusal: string}} state
 * @property {(message: Record<string, any>) => void} send
 */

/** One view of a run on a page. */
export class BoardView {
  /**
   * @param {HTMLElement} parent
   * @param {Run} run
   * @param {{language?: Language, host?: Host | null, autoplay?: boolean}} [options]
   */
  constructor(parent, run, { language = "en", host = null, autoplay = false } = {}) {
    this.run = run;
    this.host = host;
    /** @type {Language} */
    this.language = language === "zh" ? "zh" : "en";
    /** @type {Mode} */
    this.mode = "iterations";
    this.cursor = 0;
    /** At the newest iteration, whatever comes. */
    this.follow = !autoplay;
    this.playing = false;
    this.speed = 1;
    this.fitted = true;
    this.axis = new Axis("iterations", 0, 8);
    /** @type {{lane: number, slot: number, iteration: number} | null} */
    this.pointed = null;
    this.pinned = -1;
    this.hovered = -1;
    this.chosen = { lane: 0, slot: -1 };
    this.visible = true;
    /** When the view was last zoomed or panned. */
    this.movedAt = -1e9;
    /** Lane that is painted first in the next frame. */
    this.turn = 0;
    this.frame = 0;
    this.frames = 0;
    this.last = 0;
    this.textDue = 0;
    this.announceDue = 0;
    this.announced = "";
    this.seen = -1;
    this.gone = false;
    this.id = `cbviz-${++boards}`;
    /** @type {Theme} */
    this.theme = THEMES.light;
    this.themeName = "";
    this.font = FONT;
    this.brushes = new Brushes(this.theme, 1);
    /** What the inspector, the message line and the controls show now, so that they are not built again. */
    this.inspected = "";
    this.refused = "";
    this.changesInLegend = false;
    /** Stop was pressed, and the kernel has not answered yet: it may be busy with a cell. */
    this.askedToStop = false;
    this.controlsKey = "";
    this.textKey = "";
    /** @type {number | undefined} */
    this.later = undefined;
    /** @type {number | undefined} */
    this.settling = undefined;
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    /** @type {(() => void)[]} */
    this.cleanups = [];
    /** @type {Lane[]} */
    this.drawn = [];
    // JupyterLab hears keys before the page does; this attribute asks it not to act on those meant for the board.
    this.root = h("section", { class: "cbviz", tabindex: "0", role: "region", "data-lm-suppress-shortcuts": "true" });
    parent.append(this.root);
    this.build();
    this.watch();
    if (autoplay && !this.still.matches) this.play();
    else if (autoplay) this.follow = true;
    this.changed();
  }

  /** @param {string} key @param {Record<string, string | number>} [blanks] */
  say(key, blanks) {
    return say(this.language, key, blanks);
  }
  /** @param {number} value @param {number} [digits] */
  num(value, digits) {
    return number(this.language, value, digits);
  }

  // ------------------------------------------------------------------------------------------------ the page

  build() {
    const root = this.root;
    root.replaceChildren();
    root.lang = this.language === "zh" ? "zh-CN" : "en";
    root.setAttribute("aria-label", this.say("board"));
    /** @param {string} name @param {string} label @param {() => void} act @param {string} [path] */
    const button = (name, label, act, path) => {
      const made = h("button", { type: "button", class: `cb-button cb-${name}`, "aria-label": label, title: label, "data-action": name });
      if (path) made.append(icon(path));
      else made.textContent = label;
      made.addEventListener("click", act);
      return made;
    };
    this.buttons = {
      iterations: button("iterations", this.say("iterations"), () => this.setMode("iterations")),
      seconds: button("seconds", this.say("seconds"), () => this.setMode("seconds")),
      zoomOut: button("zoom-out", this.say("zoom_out"), () => this.zoom(1 / 1.5), ICONS.minus),
      zoomIn: button("zoom-in", this.say("zoom_in"), () => this.zoom(1.5), ICONS.plus),
      fit: button("fit", this.say("fit"), () => this.fit(), ICONS.fit),
      table: button("table", this.say("table"), () => this.toggleTable()),
      language: button("language", this.say("language"), () => this.setLanguage()),
      help: button("help", "?", () => this.toggleHelp()),
      stop: button("stop", this.say("stop"), () => this.control({ action: "stop" }), ICONS.stop),
      back: button("back", this.say("back"), () => this.step(-1), ICONS.back),
      play: button("play", this.say("play"), () => this.toggle(), ICONS.play),
      forward: button("forward", this.say("forward"), () => this.step(1), ICONS.forward),
      live: button("live", this.say("live"), () => this.toEnd()),
      previous: button("previous", this.say("previous"), () => this.jump(null, -1), ICONS.previous),
      next: button("next", this.say("next"), () => this.jump(null, 1), ICONS.next),
    };
    const b = this.buttons;
    b.language.title = this.say("language_title");
    b.language.lang = this.language === "zh" ? "en" : "zh-CN";
    b.help.title = this.say("help");
    b.help.setAttribute("aria-label", this.say("help"));
    b.table.title = this.say("table_title");
    b.live.title = this.say("live_title");
    b.table.setAttribute("aria-expanded", "false");
    b.help.setAttribute("aria-expanded", "false");
    this.title = h("h2", { class: "cb-title", dir: "auto" });
    this.subtitle = h("p", { class: "cb-subtitle", dir: "auto" });
    const header = h(
      "header", { class: "cb-header" },
      h("div", { class: "cb-titles" }, this.title, this.subtitle),
      h(
        "div", { class: "cb-tools" },
        h("div", { class: "cb-group", role: "group", "aria-label": this.say("units") }, b.iterations, b.seconds),
        h("div", { class: "cb-group" }, b.zoomOut, b.fit, b.zoomIn),
        h("div", { class: "cb-group" }, b.table, b.language, b.help),
      ),
    );
    this.lanesBox = h("div", { class: "cb-lanes" });
    this.inspector = h("aside", { class: "cb-inspector", "aria-label": this.say("request", { id: "" }).trim() });
    this.legend = h("div", { class: "cb-legend", role: "list" });
    this.jumpKind = h("select", { class: "cb-select", "aria-label": this.say("jump"), title: this.say("jump") });
    for (const [kind, key] of /** @type {[number, string][]} */ ([[ADMIT, "j_admit"], [FINISH, "j_finish"], [PREEMPT, "j_preempt"], [STALL, "j_stall"], [SET, "j_set"]]))
      this.jumpKind.append(h("option", { value: String(kind) }, this.say(key)));
    this.speedBox = h("select", { class: "cb-select cb-speed", "aria-label": this.say("speed") });
    for (const speed of SPEEDS) this.speedBox.append(h("option", { value: String(speed) }, (speed === 0.25 ? "¼" : speed === 0.5 ? "½" : String(speed)) + "×"));
    this.speedBox.value = String(this.speed);
    this.speedBox.addEventListener("change", () => this.setSpeed(Number(this.speedBox?.value)));
    this.scrub = h("input", { type: "range", class: "cb-scrub", min: "0", step: "1", "aria-label": this.say("position") });
    this.scrub.addEventListener("input", () => {
      this.pauseView();
      this.moveTo((Number(this.scrub?.value) / Number(this.scrub?.max || 1)) * this.extent(), true);
    });
    this.place = h("output", { class: "cb-place" });
    this.status = h("span", { class: "cb-status" });
    this.transport = h(
      "div", { class: "cb-transport", role: "group", "aria-label": this.say("position") },
      h("div", { class: "cb-keys" }, b.stop, b.back, b.play, b.forward, b.live),
      this.speedBox, this.scrub, h("div", { class: "cb-where" }, this.place, this.status),
      h("div", { class: "cb-group cb-jump", role: "group", "aria-label": this.say("jump") }, b.previous, this.jumpKind, b.next),
    );
    this.finish = h("div", { class: "cb-finish" });
    this.controlsBox = h("div", { class: "cb-controls", role: "group", "aria-label": this.say("controls") });
    this.message = h("p", { class: "cb-message", role: "status" });
    this.liveText = h("p", { class: "cb-hidden", "aria-live": "polite", "data-summary": "" });
    this.tableBox = h("div", { class: "cb-table-box", id: `${this.id}-table` });
    this.tableBox.hidden = true;
    this.helpBox = this.buildHelp();
    this.tip = h("div", { class: "cb-tip", role: "tooltip" });
    this.tip.hidden = true;
    root.append(
      header, h("div", { class: "cb-body" }, h("div", { class: "cb-main" }, this.lanesBox, this.legend), this.inspector),
      this.transport, this.controlsBox, this.message, this.finish, this.tableBox, this.helpBox, this.tip, this.liveText,
    );
    this.drawn = [];
    this.controlsKey = "";
    this.inspected = "";
    this.textKey = "";
    this.textDue = 0;
    this.applyTheme(true);
  }

  buildHelp() {
    const keys = [
      ["Space", "k_play"], ["← →", "k_step"], ["Shift ← →", "k_page"], ["Home End", "k_ends"], ["+ − 0", "k_zoom"], [", .", "k_pan"], ["[ ]", "k_speed"],
      ["A F P S C", "k_jump"], ["↑ ↓", "k_slot"], ["PgUp PgDn", "k_lane"], ["Enter", "k_pin"], ["U", "k_units"], ["T", "k_table"], ["L", "k_lang"], ["X", "k_stop"], ["?", "k_help"], ["Esc", "k_close"],
    ];
    const list = h("dl");
    for (const [key, words] of keys) list.append(h("dt", {}, ...key.split(" ").map((part) => h("kbd", {}, part))), h("dd", {}, this.say(words)));
    const close = h("button", { type: "button", class: "cb-button" }, this.say("close"));
    close.addEventListener("click", () => this.toggleHelp());
    const box = h("div", { class: "cb-help-box", role: "dialog", "aria-label": this.say("help"), tabindex: "-1" }, h("h3", {}, this.say("help")), list, h("p", {}, this.say("k_wheel")), h("p", {}, this.say("lod")), close);
    box.hidden = true;
    return box;
  }

  /** Lanes are built when they are known. */
  buildLanes() {
    this.lanesBox?.replaceChildren();
    this.drawn = this.run.lanes;
    this.parts = this.run.lanes.map((lane, index) => {
      // Layers, each painted only when it changes: slot numbers, cells and strip (cut off at the cursor by the style
      // sheet), ticks, and the flag where the lane ended.
      const canvas = h("canvas", { class: "cb-canvas", role: "img", "data-lane": String(index) });
      const base = h("canvas", { class: "cb-base", "aria-hidden": "true", "data-cells": String(index) });
      const scale = h("canvas", { class: "cb-axis", "aria-hidden": "true" });
      const flagLabel = h("span", {});
      const flag = h("i", { class: "cb-flag", "aria-hidden": "true" }, flagLabel);
      const cursor = h("i", { class: "cb-cursor", "aria-hidden": "true" });
      const chosen = h("i", { class: "cb-chosen", "aria-hidden": "true" });
      const plot = h("div", { class: "cb-plot" }, canvas, base, scale, flag, chosen, cursor);
      const counters = Object.fromEntries(
        ["iterations", "finished", "occupancy", "wasted", "rate"].map((name) => {
          const value = h("strong");
          return [name, { value, box: h("span", { class: `cb-counter cb-c-${name}`, title: name === "iterations" ? "" : this.say(`${name}_title`) }, value, h("span", {}, this.say(name))) }];
        }),
      );
      const meter = { used: h("i", { class: "cb-kv-used" }), reserved: h("i", { class: "cb-kv-reserved" }), value: h("strong"), box: h("span", { class: "cb-counter cb-kv" }) };
      meter.box.append(h("span", { class: "cb-kv-bar", "aria-hidden": "true" }, meter.used, meter.reserved), meter.value, h("span", {}, this.say("kv")));
      meter.box.hidden = lane.totalBlocks === 0;
      const chips = Array.from({ length: CHIPS }, () => h("span", { class: "cb-chip", role: "listitem" }));
      for (const chip of chips) {
        chip.hidden = true;
        chip.addEventListener("pointerenter", () => this.hover(Number(chip.dataset.request)));
        chip.addEventListener("pointerleave", () => this.hover(-1));
        chip.addEventListener("click", () => this.pin(Number(chip.dataset.request)));
      }
      const waiting = h("span", { class: "cb-waiting" });
      const summary = h("span", { class: "cb-lane-summary", dir: "auto" }, inWords(this.language, lane.summary));
      const queue = h("div", { class: "cb-queue" }, h("span", { class: "cb-small" }, this.say("queue")), h("div", { class: "cb-chips", role: "list", "aria-label": this.say("queue") }, ...chips), waiting);
      const box = h(
        "section", { class: "cb-lane", "aria-label": lane.name },
        h("div", { class: "cb-lane-head" }, h("h3", { dir: "auto" }, lane.name), summary, h("div", { class: "cb-counters" }, ...Object.values(counters).map((c) => c.box), meter.box)),
        h("div", { class: "cb-lane-body" }, queue, plot),
      );
      this.lanesBox?.append(box);
      this.listen(plot, index);
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      return { canvas, context, counters, meter, summary, chips, waiting, box, base, cursor, chosen, scale, flag, flagLabel, key: "", backKey: "", axisKey: "", place: 0, axis: /** @type {Axis | null} */ (null), cost: 0, heights: laneHeights(lane.slots, this.run.lanes.length, false), width: 0 };
    });
    for (const { canvas } of this.parts) this.sizes?.observe(canvas.parentElement ?? canvas);
    this.buildLegend();
  }

  buildLegend() {
    const theme = this.theme;
    this.legend?.replaceChildren();
    const entries = [[PREFILL, "prefill"], [DECODE, "decode"], [HELD, "held"], [STALLED, "stalled"], [RECOMPUTE, "recompute"], [IDLE, "idle"], [WASTED, "wasted_idle"]];
    const changes = this.run.lanes.some((lane) => lane.changes.length > 0);
    const ratio = this.ratio();
    /** @param {string} key @param {(ctx: CanvasRenderingContext2D) => void} paint @param {number} width */
    const entry = (key, paint, width) => {
      const swatch = h("canvas", { "aria-hidden": "true" });
      swatch.width = width * ratio;
      swatch.height = 14 * ratio;
      swatch.style.width = `${width}px`;
      const ctx = /** @type {CanvasRenderingContext2D} */ (swatch.getContext("2d"));
      ctx.scale(ratio, ratio);
      paint(ctx);
      this.legend?.append(h("span", { class: "cb-legend-entry", role: "listitem" }, swatch, this.say(key)));
    };
    for (const [state, key] of /** @type {[number, string][]} */ (entries))
      entry(key, (ctx) => {
        ctx.fillStyle = this.brushes.fill(ctx, state, 0, 0);
        ctx.beginPath();
        ctx.roundRect(0, 0, 20, 14, 2);
        ctx.fill();
        if (state === IDLE) {
          ctx.fillStyle = theme.spare[1];
          ctx.fillRect(0, 13, 20, 1);
        } else if (state === STALLED) {
          ctx.fillStyle = stalledInk(PALETTE[0], theme);
          ctx.fillRect(0, 6, 20, 2);
        }
      }, 20);
    entry("end_mark", (ctx) => {
      ctx.fillStyle = theme.end;
      ctx.fillRect(2, 0, 3, 14);
    }, 7);
    entry("preempt_mark", (ctx) => {
      ctx.fillStyle = theme.cursor;
      for (let t = 0; t < 4; t += 2) ctx.fillRect(2, t * 3.5, 3, 3.5);
    }, 7);
    if (changes)
      entry("change_mark", (ctx) => {
        ctx.fillStyle = theme.stroke;
        for (let y = 0; y < 14; y += 5) ctx.fillRect(5, y, 1.5, 3);
      }, 11);
    entry("strip_occupancy", (ctx) => {
      ctx.fillStyle = theme.area;
      ctx.fillRect(0, 4, 20, 10);
    }, 20);
    entry("strip_tokens", (ctx) => {
      ctx.strokeStyle = theme.stroke;
      ctx.lineWidth = 1.5;
      line(ctx, 0, 7, 20, 7);
    }, 20);
  }

  // ------------------------------------------------------------------------------------------- watching the page

  watch() {
    this.sizes = new ResizeObserver(() => this.changed());
    this.sizes.observe(this.root);
    const seen = new IntersectionObserver((entries) => {
      this.visible = entries[entries.length - 1].isIntersecting;
      this.root.dataset.visible = String(this.visible);
      if (!this.visible) return;
      this.applyTheme(false); // notebooks take boards out of the page and put them back: only here is there a ground behind it
      this.changed();
    });
    seen.observe(this.root);
    const themes = new MutationObserver(() => this.applyTheme(false));
    for (const element of [document.documentElement, document.body])
      if (element) themes.observe(element, { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "data-theme", "data-vscode-theme-kind"] });
    const queries = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((query) => window.matchMedia(query));
    const retheme = () => this.applyTheme(false);
    for (const query of queries) query.addEventListener("change", retheme);
    const onkey = (/** @type {KeyboardEvent} */ event) => this.key(event);
    this.root.addEventListener("keydown", onkey);
    this.cleanups.push(
      () => this.sizes?.disconnect(), () => seen.disconnect(), () => themes.disconnect(),
      () => queries.forEach((query) => query.removeEventListener("change", retheme)), () => this.root.removeEventListener("keydown", onkey),
    );
  }

  /** Light or dark, from whatever lies behind the board; the system's own colours where they are forced. @param {boolean} always */
  applyTheme(always) {
    if (!always && !this.root.isConnected) return;
    let dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    for (let element = this.root.parentElement; element; element = element.parentElement) {
      const ground = getComputedStyle(element).backgroundColor.match(/[\d.]+/g)?.map(Number);
      if (!ground || (ground.length > 3 && ground[3] < 0.5)) continue;
      dark = luminance(hex(ground.slice(0, 3))) < 0.35;
      break;
    }
    const forced = window.matchMedia("(forced-colors: active)").matches;
    const name = `${dark ? "dark" : "light"}${forced ? " forced" : ""} ${this.ratio()}`;
    if (name === this.themeName && !always) return;
    this.themeName = name;
    this.theme = { ...THEMES[dark ? "dark" : "light"] };
    this.root.dataset.theme = dark ? "dark" : "light";
    const style = getComputedStyle(this.root);
    if (forced) {
      const probe = (/** @type {string} */ system) => {
        this.root.style.color = system;
        const parts = getComputedStyle(this.root).color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
        return hex(parts.slice(0, 3));
      };
      const [text, ground, accent] = [probe("CanvasText"), probe("Canvas"), probe("Highlight")];
      this.root.style.color = "";
      this.theme = { ...this.theme, text, faint: text, ground, veil: ground, end: text, line: text, stroke: accent, cursor: accent, spare: [ground, text], held: [ground, text], wasted: [ground, accent] };
    }
    this.font = style.fontFamily || FONT;
    this.brushes = new Brushes(this.theme, this.ratio());
    if (this.drawn.length) this.buildLegend();
    this.parts?.forEach((part) => (part.key = part.backKey = part.axisKey = ""));
    this.changed();
  }

  ratio() {
    return Math.min(2, window.devicePixelRatio || 1);
  }

  // -------------------------------------------------------------------------------------------------------- time

  live() {
    return this.host !== null && ["running", "paused", "stopping"].includes(this.host.state().status);
  }

  /** The newest moment of all lanes, in units of the axis. */
  extent() {
    return Math.max(0, ...this.run.lanes.map((lane) => (this.mode === "iterations" ? lane.n : lane.secondsAt(lane.n))));
  }

  /** The lane through which cursor values map between iterations and seconds: the longest. */
  guide() {
    return this.run.lanes.reduce((a, b) => (b.n > a.n ? b : a), this.run.lanes[0]);
  }

  now() {
    return this.follow ? this.extent() : Math.min(this.cursor, this.extent());
  }

  /** Iterations of a lane that are over at the cursor. @param {Lane} lane */
  shown(lane) {
    if (this.follow) return lane.n;
    return this.mode === "iterations" ? Math.min(lane.n, Math.floor(this.cursor + 1e-9)) : lane.iterationsAt(this.cursor);
  }

  /** @param {number} value @param {boolean} [snap] to whole iterations */
  moveTo(value, snap = false) {
    const most = this.extent();
    this.cursor = Math.max(0, Math.min(most, value));
    if (snap && this.mode === "iterations") this.cursor = Math.round(this.cursor);
    this.follow = this.cursor >= most && (this.live() || !this.playing);
    this.reveal();
    this.changed();
  }

  toEnd() {
    this.cursor = this.extent();
    this.follow = true;
    this.reveal();
    if (!this.live()) this.pauseView();
    this.changed();
  }

  /** Keeps the cursor in sight when the view is zoomed. */
  reveal() {
    const width = this.parts?.[0]?.width ?? 0;
    if (this.fitted || !width) return;
    const x = this.axis.x(this.now());
    if (x > width * 0.9 || x < 0) this.axis = new Axis(this.mode, this.now() - (width * 0.75) / this.axis.scale, this.axis.scale);
  }

  /** @param {number} direction @param {number} [count] */
  step(direction, count = 1) {
    if (direction > 0 && this.live() && this.now() >= this.extent()) {
      this.follow = true;
      this.control({ action: "step" });
      return;
    }
    this.pauseView();
    if (this.mode === "iterations") this.moveTo((direction > 0 ? Math.floor(this.now() + 1e-9) : Math.ceil(this.now() - 1e-9)) + direction * count);
    else {
      const lane = this.guide();
      if (!lane) return;
      const k = Math.max(0, Math.min(lane.n, this.shown(lane) + direction * count));
      this.moveTo(lane.secondsAt(k));
    }
  }

  /** Play and pause: the engine where the run is live, and the view. */
  toggle() {
    if (this.live()) {
      const status = this.host?.state().status;
      if (status === "running") {
        this.control({ action: "pause" });
        this.playing = false;
      } else {
        this.control({ action: "resume" });
        if (!this.follow) this.playing = true;
      }
      this.changed();
    } else if (this.playing) this.pauseView();
    else this.play();
  }

  play() {
    if (!this.live() && this.now() >= this.extent() && this.extent() > 0) this.cursor = 0;
    else this.cursor = this.now();
    this.follow = false;
    this.playing = true;
    this.last = 0;
    this.reveal();
    this.changed();
  }

  pauseView() {
    if (!this.playing) return;
    this.playing = false;
    this.cursor = this.now();
    this.changed();
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = SPEEDS.includes(speed) ? speed : 1;
    if (this.speedBox) this.speedBox.value = String(this.speed);
    this.changed();
  }

  /** Axis units a second while playing. In seconds an average iteration takes as long as it does in iterations. */
  pace() {
    const lane = this.guide();
    const each = this.mode === "iterations" || !lane?.n ? 1 : lane.secondsAt(lane.n) / lane.n;
    return PACE * this.speed * each;
  }

  /** @param {Mode} mode */
  setMode(mode) {
    if (mode === this.mode) return;
    const lane = this.guide();
    if (lane) {
      this.cursor = convert(lane, this.now(), this.mode, mode);
      if (!this.fitted) {
        const width = this.parts?.[0]?.width ?? 1;
        const from = convert(lane, this.axis.start, this.mode, mode);
        const to = convert(lane, this.axis.value(width), this.mode, mode);
        this.axis = new Axis(mode, from, width / Math.max(to - from, 1e-9));
      }
    }
    this.mode = mode;
    this.changed();
  }

  setLanguage() {
    this.language = this.language === "en" ? "zh" : "en";
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.action : undefined;
    const tabled = this.tableBox && !this.tableBox.hidden;
    this.build();
    if (tabled) this.toggleTable();
    if (focused) /** @type {HTMLElement | null} */ (this.root.querySelector(`[data-action="${focused}"]`))?.focus();
    this.changed();
  }

  /** @param {number | null} kind @param {1 | -1} direction */
  jump(kind, direction) {
    const wanted = kind ?? Number(this.jumpKind?.value);
    if (this.jumpKind) this.jumpKind.value = String(wanted);
    this.pauseView();
    /** @type {number | null} */
    let best = null;
    for (const lane of this.run.lanes) {
      const k = lane.jump(wanted, this.shown(lane), direction);
      if (k === null || k > lane.n) continue;
      const value = this.mode === "iterations" ? k : lane.secondsAt(k);
      if (direction > 0 ? value <= this.now() + 1e-12 : value >= this.now() - 1e-12) continue;
      if (best === null || (direction > 0 ? value < best : value > best)) best = value;
    }
    if (best !== null) {
      this.moveTo(best);
      this.tell("");
    } else {
      const what = { [ADMIT]: "j_admit", [FINISH]: "j_finish", [PREEMPT]: "j_preempt", [STALL]: "j_stall", [SET]: "j_set" }[wanted] ?? "j_admit";
      this.tell(this.say("none_left", { what: this.say(what) }));
    }
  }

  // ------------------------------------------------------------------------------------------------ zoom and pan

  fit() {
    this.fitted = true;
    this.changed();
  }

  /** @param {number} factor @param {number} [px] */
  zoom(factor, px) {
    const width = this.parts?.[0]?.width ?? 0;
    if (!width) return;
    const at = px ?? Math.max(0, Math.min(width, this.axis.x(this.now())));
    const least = width / Math.max(this.extent() * 1.5, this.mode === "iterations" ? 20 : 1e-6);
    const unit = this.mode === "iterations" ? 1 : 1 / Math.max(1e-9, this.guide().secondsAt(this.guide().n) / Math.max(1, this.guide().n));
    this.axis = zoomed(this.axis, at, factor, Math.min(least, this.axis.scale), 60 * unit);
    this.fitted = false;
    this.clampView(width);
    this.moved();
  }

  /** @param {number} px */
  pan(px) {
    const width = this.parts?.[0]?.width ?? 0;
    const scale = this.axis.scale;
    // Whole pixels, so that what is painted can be moved over.
    this.axis = new Axis(this.mode, Math.round(this.axis.start * scale + px) / scale, scale);
    this.fitted = false;
    this.clampView(width);
    this.moved();
  }

  /** Draw quickly while it moves, and finely once it rests. */
  moved() {
    this.movedAt = performance.now();
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.changed(), SETTLE + 20);
    this.changed();
  }

  /** Some of the run stays in sight. @param {number} width */
  clampView(width) {
    const span = width / this.axis.scale;
    const most = Math.max(0, this.extent() - span * 0.2);
    this.axis.start = Math.max(Math.min(0, -span * 0.05), Math.min(most, this.axis.start));
    if (Math.abs(this.axis.start * this.axis.scale) < 2) this.axis.start = 0;
  }

  /** The axis that shows everything; while the run grows, with room ahead that widens in steps. @param {number} width */
  fitAxis(width) {
    let extent = this.extent();
    if (this.live()) {
      const lane = this.guide();
      const unit = this.mode === "iterations" || !lane?.n ? 1 : lane.secondsAt(lane.n) / lane.n;
      let room = 60 * unit;
      while (room < extent * 1.04) room *= 1.3;
      extent = room;
    } else extent = Math.max(extent, this.mode === "iterations" ? 1 : 1e-6) * 1.015;
    return new Axis(this.mode, 0, width / extent);
  }

  // ------------------------------------------------------------------------------------------------------- input

  /** @param {HTMLElement} canvas @param {number} index */
  listen(canvas, index) {
    /** @type {Map<number, {x: number, y: number}>} */
    const down = new Map();
    let moved = false;
    let scrubbing = false;
    let spread = 0;
    const place = (/** @type {PointerEvent | WheelEvent} */ event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left - GUTTER, y: event.clientY - box.top };
    };
    canvas.addEventListener("pointerdown", (event) => {
      const at = place(event);
      const part = this.parts?.[index];
      if (!part) return;
      down.set(event.pointerId, at);
      canvas.setPointerCapture(event.pointerId);
      moved = false;
      spread = 0;
      scrubbing = down.size === 1 && at.y > part.heights.top + part.heights.rows + 4;
      if (scrubbing) {
        this.pauseView();
        this.moveTo(this.axis.value(at.x), true);
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = place(event);
      const before = down.get(event.pointerId);
      if (!before) {
        this.point(index, at.x, at.y, event);
        return;
      }
      if (down.size === 2) {
        down.set(event.pointerId, at);
        const [a, b] = [...down.values()];
        const apart = Math.hypot(a.x - b.x, a.y - b.y);
        if (spread > 0 && apart > 0) this.zoom(apart / spread, (a.x + b.x) / 2);
        spread = apart;
        moved = true;
      } else if (scrubbing) this.moveTo(this.axis.value(at.x), true);
      else if (moved || Math.abs(at.x - before.x) > 3) {
        this.pan(before.x - at.x);
        down.set(event.pointerId, at);
        moved = true;
      }
    });
    const up = (/** @type {PointerEvent} */ event) => {
      if (!down.delete(event.pointerId)) return;
      if (!moved && !scrubbing && event.type === "pointerup") {
        const at = place(event);
        this.point(index, at.x, at.y, event);
        this.pin(this.hovered);
      }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => {
      if (!down.size) this.point(index, -1, -1, null);
    });
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.004)), place(event).x);
        } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          event.preventDefault();
          this.pan((event.deltaX || event.deltaY) * (event.deltaMode ? 16 : 1));
        }
      },
      { passive: false },
    );
  }

  /** @param {number} index @param {number} x @param {number} y @param {PointerEvent | null} event */
  point(index, x, y, event) {
    const part = this.parts?.[index];
    const lane = this.run.lanes[index];
    if (!part || !lane || !this.tip) return;
    const hit = event && x >= 0 && x <= part.width ? hitTest(lane, this.axis, part.heights, x, y) : null;
    const below = y > part.heights.top + part.heights.rows && y < part.heights.top + part.heights.rows + 8 + part.heights.strip;
    const i = event && below && x >= 0 && x <= part.width ? this.axis.iteration(lane, x) : -1;
    if (event && i >= 0 && i < this.shown(lane)) {
      this.pointed = null;
      this.hover(-1);
      const share = (lane.sum.useful.at(i + 1) - lane.sum.useful.at(i)) / (lane.sum.open.at(i + 1) - lane.sum.open.at(i));
      const tokens = lane.sum.generated.at(i + 1) - lane.sum.generated.at(i);
      const words = this.say("tip_strip", { share: percent(this.language, share), n: this.num(tokens) });
      const near = lane.changes.filter(({ at }) => at > 0 && at < this.shown(lane) && Math.abs(this.axis.left(lane, at) - x) <= 6);
      const changes = near.map(({ at, words: change }) => {
        const [name, ...rest] = change.split(" = ");
        return h("div", { class: "cb-reason" }, `${this.say("at", { n: this.num(at) })} · ${this.setting(name, rest.join(" = "))}`);
      });
      this.showTip(event, [h("div", { class: "cb-tip-head" }, this.say("at", { n: this.num(i) })), h("div", {}, words), ...changes]);
      return;
    }
    if (!hit || hit.iteration >= this.shown(lane) || hit.span < 0) {
      this.pointed = null;
      this.tip.hidden = true;
      this.hover(-1);
      return;
    }
    this.pointed = { lane: index, slot: hit.slot, iteration: hit.iteration };
    this.hover(lane.rows[hit.slot].request[hit.span]);
    this.showTip(event, this.tipLines(lane, hit.slot, hit.span, hit.iteration));
  }

  /** @param {PointerEvent | null} event @param {HTMLElement[]} lines */
  showTip(event, lines) {
    if (!this.tip) return;
    this.tip.replaceChildren(...lines);
    this.tip.hidden = false;
    const frame = this.root.getBoundingClientRect();
    const box = this.tip.getBoundingClientRect();
    const px = event ? event.clientX - frame.left : 0;
    const py = event ? event.clientY - frame.top : 0;
    this.tip.style.left = `${Math.max(4, Math.min(frame.width - box.width - 6, px + 14))}px`;
    this.tip.style.top = `${py + box.height + 22 > frame.height ? py - box.height - 10 : py + 16}px`;
  }

  /** @param {Lane} lane @param {number} slot @param {number} span @param {number} i */
  tipLines(lane, slot, span, i) {
    const row = lane.rows[slot];
    const [request, state] = [row.request[span], row.state[span]];
    const lines = [h("div", { class: "cb-tip-head" }, (request >= 0 ? this.say("request", { id: request }) + " · " : "") + this.say(STATE_WORDS[state]))];
    lines.push(h("div", {}, `${this.say("slot")} ${slot} · ${this.say("at", { n: this.num(i) })} · ${duration(this.language, lane.t1.at(i) - lane.t0.at(i))}`));
    if (state === PREFILL) lines.push(h("div", {}, this.say("tip_prefill", { n: this.num(row.tokens[span]) })));
    if (state === RECOMPUTE) lines.push(h("div", {}, this.say("tip_recompute", { n: this.num(row.tokens[span]) })));
    for (const mark of lane.reasons(slot, span).slice(0, 4)) {
      const key = mark.kind === ADMIT ? "admitted_because" : mark.kind === STALL ? "stalled_because" : "preempted_because";
      if (mark.reason) lines.push(h("div", { class: "cb-reason", dir: "auto" }, `${this.say(key)}${this.language === "zh" ? "\uFF1A" : ": "}${inWords(this.language, mark.reason).slice(0, 200)}`));
    }
    return lines;
  }

  /** @param {number} request */
  hover(request) {
    if (this.hovered === request) return;
    this.hovered = request;
    this.textDue = 0;
    this.changed();
  }

  /** @param {number} request */
  pin(request) {
    this.pinned = request < 0 || this.pinned === request ? -1 : request;
    this.textDue = 0;
    this.changed();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const typing = target instanceof HTMLInputElement && target.type !== "range";
    const chooses = target instanceof HTMLSelectElement;
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const presses = target instanceof HTMLButtonElement;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (chooses && key !== "Escape") return;
    if (presses && (key === " " || key === "Enter")) return;
    const ranged = target instanceof HTMLInputElement;
    const back = event.shiftKey ? -1 : 1;
    /** @type {Record<string, () => void>} */
    const acts = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(-1, event.shiftKey ? 10 : 1),
      ArrowRight: () => this.step(1, event.shiftKey ? 10 : 1),
      Home: () => (this.pauseView(), this.moveTo(0)),
      End: () => this.toEnd(),
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), "0": () => this.fit(),
      ",": () => this.pan(-80), ".": () => this.pan(80), "<": () => this.pan(-400), ">": () => this.pan(400),
      "[": () => this.setSpeed(SPEEDS[Math.max(0, SPEEDS.indexOf(this.speed) - 1)]),
      "]": () => this.setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.speed) + 1)]),
      a: () => this.jump(ADMIT, back > 0 ? 1 : -1), f: () => this.jump(FINISH, back > 0 ? 1 : -1),
      p: () => this.jump(PREEMPT, back > 0 ? 1 : -1), s: () => this.jump(STALL, back > 0 ? 1 : -1),
      c: () => this.jump(SET, back > 0 ? 1 : -1),
      ArrowUp: () => this.choose(0, -1), ArrowDown: () => this.choose(0, 1), PageUp: () => this.choose(-1, 0), PageDown: () => this.choose(1, 0),
      Enter: () => this.pin(this.hovered),
      u: () => this.setMode(this.mode === "iterations" ? "seconds" : "iterations"),
      t: () => this.toggleTable(), l: () => this.setLanguage(), x: () => this.control({ action: "stop" }), "?": () => this.toggleHelp(),
      Escape: () => this.escape(),
    };
    const act = acts[key];
    if (!act || (ranged && key === "Enter")) return;
    // The notebook has shortcuts of its own for most of these.
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  escape() {
    if (this.helpBox && !this.helpBox.hidden) this.toggleHelp();
    else if (this.tableBox && !this.tableBox.hidden) this.toggleTable();
    else {
      this.pin(-1);
      this.chosen.slot = -1;
      this.hover(-1);
    }
  }

  /** Walks through the slots with keys; the request that sits there now is shown. @param {number} lanes @param {number} slots */
  choose(lanes, slots) {
    const all = this.run.lanes;
    if (!all.length) return;
    this.chosen.lane = Math.max(0, Math.min(all.length - 1, this.chosen.lane + lanes));
    const lane = all[this.chosen.lane];
    this.chosen.slot = Math.max(0, Math.min(lane.slots - 1, this.chosen.slot < 0 ? 0 : this.chosen.slot + slots));
    this.hoverChosen();
    this.changed();
  }

  hoverChosen() {
    if (this.chosen.slot < 0) return;
    const lane = this.run.lanes[this.chosen.lane];
    const span = lane.spanAt(this.chosen.slot, this.shown(lane) - 1);
    this.pointed = { lane: this.chosen.lane, slot: this.chosen.slot, iteration: this.shown(lane) - 1 };
    this.hover(span >= 0 ? lane.rows[this.chosen.slot].request[span] : -1);
  }

  toggleHelp() {
    if (!this.helpBox) return;
    this.helpBox.hidden = !this.helpBox.hidden;
    this.buttons?.help.setAttribute("aria-expanded", String(!this.helpBox.hidden));
    if (!this.helpBox.hidden) this.helpBox.focus();
    else this.root.focus();
  }

  toggleTable() {
    if (!this.tableBox) return;
    this.tableBox.hidden = !this.tableBox.hidden;
    this.buttons?.table.setAttribute("aria-expanded", String(!this.tableBox.hidden));
    this.textDue = 0;
    this.changed();
  }

  /** @param {Record<string, any>} message */
  control(message) {
    if (!this.live()) return;
    this.host?.send(message);
    if (message.action !== "stop") return;
    this.askedToStop = true;
    this.textDue = 0;
    this.changed();
  }

  /** @param {string} text */
  tell(text) {
    if (this.message) this.message.textContent = text;
  }

  // ----------------------------------------------------------------------------------------------------- drawing

  /** Something changed: draw once in the next frame. */
  changed() {
    if (this.frame || this.gone) return;
    this.frame = requestAnimationFrame((time) => this.draw(time));
  }

  /** @param {number} time */
  draw(time) {
    this.frame = 0;
    if (this.gone) return;
    if (!this.visible) {
      // Off screen nothing is drawn; what has come is told all the same.
      this.root.dataset.received = this.run.have().join(" ");
      this.root.dataset.status = this.host?.state().status ?? "recorded";
      return;
    }
    if (this.drawn !== this.run.lanes) this.buildLanes();
    const elapsed = this.last ? Math.min(0.1, (time - this.last) / 1000) : 0;
    this.last = time;
    if (this.playing) {
      this.cursor += elapsed * this.pace();
      if (this.cursor >= this.extent()) {
        this.cursor = this.extent();
        this.follow = true;
        this.playing = false;
      }
      this.reveal();
    }
    if (this.follow && this.live()) this.reveal();
    this.hoverChosen();
    if (this.parts) {
      this.measure();
      this.drawLanes(this.parts);
    }
    this.frames++;
    // Numbers change ten times a second at most: nobody reads faster.
    const texts = [this.now(), this.follow, this.playing, this.mode, this.language, this.hovered, this.pinned, this.run.version, this.host?.state().status].join(" ");
    if (time >= this.textDue || (texts !== this.textKey && !this.playing)) {
      this.textDue = time + 100;
      this.textKey = texts;
      this.drawTexts(time);
    }
    this.state();
    if (this.playing || (this.frame === 0 && this.run.version !== this.seen)) {
      this.seen = this.run.version;
      this.changed();
    } else this.last = 0;
  }

  measure() {
    /** @type {NonNullable<BoardView["parts"]>} */
    const parts = this.parts ?? [];
    const narrow = this.root.clientWidth < 640;
    const ratio = this.ratio();
    for (const [index, part] of parts.entries()) {
      const box = part.canvas.parentElement?.clientWidth ?? 0;
      const width = Math.max(40, box - GUTTER);
      part.heights = laneHeights(this.run.lanes[index].slots, parts.length, narrow);
      const [w, t] = [Math.round((width + GUTTER) * ratio), Math.round(part.heights.height * ratio)];
      if (part.canvas.width !== w || part.canvas.height !== t) {
        const ticks = part.heights.top + part.heights.rows + 8 + part.heights.strip - 4;
        part.canvas.width = w;
        part.base.width = part.scale.width = Math.round(width * ratio);
        part.canvas.height = t;
        part.base.height = Math.round(ticks * ratio);
        part.scale.height = Math.round((part.heights.height - ticks) * ratio);
        part.canvas.style.height = `${part.heights.height}px`;
        part.base.style.height = part.cursor.style.height = part.scale.style.top = `${ticks}px`;
        part.scale.style.height = `${part.heights.height - ticks}px`;
        part.base.style.left = part.scale.style.left = `${GUTTER}px`;
        part.base.style.width = part.scale.style.width = `${width}px`;
        part.flag.style.top = `${part.heights.top - 2}px`;
        part.flag.style.height = `${part.heights.rows + 2}px`;
        part.key = part.backKey = part.axisKey = "";
      }
      part.width = width;
    }
    if (this.fitted && parts.length) this.axis = this.fitAxis(parts[0].width);
    else if (this.axis.mode !== this.mode) this.axis = this.fitAxis(parts[0].width);
  }

  /**
   * Every lane, the one that has waited longest first. When a frame's time is up, the rest keep what they show, moved and
   * stretched to the new axis, and are painted in the next frame: a view that follows the hand beats one that is sharp.
   * @param {NonNullable<BoardView["parts"]>} parts
   */
  drawLanes(parts) {
    const began = performance.now();
    const moves = began - this.movedAt < SETTLE;
    const zooms = parts.some((part) => part.axis !== null && part.axis.scale !== this.axis.scale);
    const cheap = parts.reduce((sum, part) => sum + part.cost, 0) < PAINT_BUDGET / 2;
    const most = !moves || (zooms && cheap) ? parts.length : zooms ? MOST_ZOOMING : MOST_PANNING;
    let waits = -1;
    for (let k = 0; k < parts.length; k++) {
      const index = (this.turn + k) % parts.length;
      const late = k > 0 && (k >= most || performance.now() - began > PAINT_BUDGET);
      if (!this.drawLane(parts[index], this.run.lanes[index], late) && waits < 0) waits = index;
    }
    if (waits < 0) return;
    this.turn = waits;
    this.changed();
  }

  /**
   * False if it has to be painted anew and was only moved. `late`: no time is left in this frame.
   * @param {NonNullable<BoardView["parts"]>[number]} part @param {Lane} lane @param {boolean} late
   */
  drawLane(part, lane, late) {
    const ratio = this.ratio();
    const { heights, width } = part;
    const lit = this.pinned >= 0 ? this.pinned : this.hovered;
    const draft = performance.now() - this.movedAt < SETTLE;
    /** @type {Scene} */
    const scene = { lane, axis: this.axis, heights, width, brushes: this.brushes, font: this.font, lit, language: this.language, from: 0, to: width, draft, lanes: this.run.lanes.length };
    const place = this.axis.start * this.axis.scale;
    const key = [lane.n, this.axis.scale, this.mode, width, this.themeName, lit, draft].join(" ");
    const stale = key !== part.key || place !== part.place;
    const waits = late && stale && part.axis !== null && part.axis.mode === this.mode && part.key !== "";
    if (stale && !waits) {
      const paints = performance.now();
      // Everything that does not move with the cursor is painted once and then only copied.
      const base = /** @type {CanvasRenderingContext2D} */ (part.base.getContext("2d"));
      const by = Math.round(place - part.place);
      const shifts = key === part.key && Math.abs(by) < width * 0.8 && Math.abs(by - (place - part.place)) < 1e-6 && Number.isInteger(by * ratio);
      part.key = key;
      part.place = place;
      part.axis = this.axis;
      base.setTransform(1, 0, 0, 1, 0, 0);
      if (shifts) {
        // Panned: what is there moves over, and only what comes into sight is painted.
        base.globalCompositeOperation = "copy";
        base.drawImage(part.base, -by * ratio, 0);
        base.globalCompositeOperation = "source-over";
        scene.from = by > 0 ? Math.max(0, Math.floor(width - by) - 1) : 0;
        scene.to = by > 0 ? width : Math.min(width, Math.ceil(-by) + 1);
        base.clearRect(scene.from * ratio, 0, (scene.to - scene.from) * ratio, part.base.height);
      } else base.clearRect(0, 0, part.base.width, part.base.height);
      base.setTransform(ratio, 0, 0, ratio, 0, 0);
      if (lane.n) {
        base.save();
        base.beginPath();
        base.rect(scene.from, 0, scene.to - scene.from, heights.height);
        base.clip();
        paintRows(base, scene);
        paintStrip(base, scene);
        paintChanges(base, scene);
        base.restore();
      }
      part.cost = performance.now() - paints;
    }
    const end = this.axis.right(lane, lane.n);
    const cut = Math.max(0, Math.min(width, this.follow ? end : Math.min(end, this.axis.x(this.cursor))));
    // Where what was painted last lies on the axis of now.
    const stretch = waits && part.axis ? this.axis.scale / part.axis.scale : 1;
    const shift = waits && part.axis ? (part.axis.start - this.axis.start) * this.axis.scale : 0;
    const transform = waits ? `translateX(${shift.toFixed(2)}px) scaleX(${stretch.toFixed(5)})` : "";
    if (part.base.style.transform !== transform) part.base.style.transform = transform;
    const [hides, shows] = [Math.max(0, -shift / stretch), Math.min(width, (cut - shift) / stretch)];
    const clip = shows >= width && hides <= 0 ? "" : `inset(0 ${Math.max(0, width - shows).toFixed(2)}px 0 ${hides.toFixed(2)}px)`;
    if (part.base.style.clipPath !== clip) part.base.style.clipPath = clip;
    const x = this.follow && this.live() ? end : this.axis.x(this.now());
    part.cursor.hidden = (this.atEnd() && !this.live()) || !lane.n || x < -1 || x > width + 1;
    part.cursor.style.transform = `translateX(${(GUTTER + x - 0.75).toFixed(2)}px)`;
    part.chosen.hidden = this.chosen.slot < 0 || this.run.lanes[this.chosen.lane] !== lane;
    if (!part.chosen.hidden) {
      part.chosen.style.transform = `translate(${GUTTER}px, ${heights.top + this.chosen.slot * heights.pitch - 1.5}px)`;
      part.chosen.style.height = `${heights.pitch - heights.gap + 3}px`;
      part.chosen.style.width = `${width}px`;
    }
    const axisKey = [place, this.axis.scale, this.mode, width, this.themeName, this.language].join(" ");
    if (axisKey !== part.axisKey) {
      part.axisKey = axisKey;
      const ctx = /** @type {CanvasRenderingContext2D} */ (part.scale.getContext("2d"));
      ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
      ctx.clearRect(0, 0, width, heights.height);
      paintAxis(ctx, scene);
    }
    this.placeFlag(part, lane, end);
    const backKey = [width, heights.pitch, this.themeName, this.language].join(" ");
    if (backKey !== part.backKey) {
      part.backKey = backKey;
      const ctx = part.context;
      ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
      ctx.clearRect(0, 0, width + GUTTER, heights.height);
      this.drawGutter(ctx, lane, heights, width);
    }
    return !waits;
  }

  /** Nothing more will come. @param {Lane} lane */
  ended(lane) {
    return !this.live() || lane.ended;
  }

  atEnd() {
    return this.now() >= this.extent() - 1e-12;
  }

  /** @param {CanvasRenderingContext2D} ctx @param {Lane} lane @param {Heights} heights @param {number} width */
  drawGutter(ctx, lane, heights, width) {
    ctx.fillStyle = this.theme.faint;
    ctx.font = `11px ${this.font}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const every = Math.max(1, [1, 2, 4, 8, 16, 32, 64].find((step) => step * heights.pitch >= 14) ?? 64);
    for (let slot = 0; slot < lane.slots; slot += every) ctx.fillText(this.num(slot), GUTTER - 8, heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2);
    if (heights.pitch >= 10) {
      // The rows' own hairlines: the future is an empty ruled page, not idle slots.
      ctx.strokeStyle = this.theme.line;
      ctx.globalAlpha = 0.5;
      ctx.lineWidth = 1;
      for (let slot = 0; slot < lane.slots; slot++) {
        const y = Math.round(heights.top + slot * heights.pitch + (heights.pitch - heights.gap) / 2) + 0.5;
        line(ctx, GUTTER, y, GUTTER + width, y);
      }
      ctx.globalAlpha = 1;
    }
  }

  /**
   * A chequered flag where the lane ended, once the cursor is there; with words where there is room for them.
   * @param {NonNullable<BoardView["parts"]>[number]} part @param {Lane} lane @param {number} x px of the end
   */
  placeFlag(part, lane, x) {
    const done = this.ended(lane) && this.shown(lane) >= lane.n && lane.n > 0;
    part.flag.hidden = !done || x < -6 || x > part.width + 6;
    if (part.flag.hidden) return;
    const at = Math.min(x, part.width - 6);
    part.flag.style.transform = `translateX(${(GUTTER + at).toFixed(2)}px)`;
    set(part.flagLabel, this.say("lane_done", { n: this.num(lane.n), s: duration(this.language, lane.secondsAt(lane.n)) }));
    part.context.font = `600 12px ${this.font}`;
    const ends = at + 30 + part.context.measureText(part.flagLabel.textContent ?? "").width;
    const cursor = this.axis.x(this.now());
    part.flagLabel.hidden = ends > part.width || (cursor > at + 8 && cursor < ends);
  }

  /** @param {number} time */
  drawTexts(time) {
    const { meta, lanes } = this.run;
    set(this.title, inWords(this.language, String(meta.title ?? "")));
    set(this.subtitle, inWords(this.language, String(meta.subtitle ?? "")));
    const b = this.buttons;
    if (!b || !this.scrub || !this.place || !this.status || !this.speedBox) return;
    const changes = lanes.some((lane) => lane.changes.length > 0);
    if (changes !== this.changesInLegend) {
      this.changesInLegend = changes;
      this.buildLegend();
    }
    const live = this.live();
    const status = this.host?.state().status ?? "recorded";
    const moving = live ? status === "running" || this.playing : this.playing;
    b.iterations.setAttribute("aria-pressed", String(this.mode === "iterations"));
    b.seconds.setAttribute("aria-pressed", String(this.mode === "seconds"));
    if (b.play.dataset.moving !== String(moving)) {
      b.play.dataset.moving = String(moving);
      b.play.replaceChildren(icon(moving ? ICONS.pause : ICONS.play));
      b.play.title = this.say(moving ? "pause" : "play");
      b.play.setAttribute("aria-label", b.play.title);
    }
    b.stop.hidden = this.host === null || !this.host.state().actions.includes("stop");
    if (!live || status === "stopping") this.askedToStop = false;
    b.stop.toggleAttribute("disabled", !live || status === "stopping" || this.askedToStop);
    b.live.hidden = !live;
    b.live.setAttribute("aria-pressed", String(this.follow));
    const extent = this.extent();
    const now = this.now();
    const steps = this.mode === "iterations" ? Math.max(1, Math.ceil(extent)) : 1000;
    if (this.scrub.max !== String(steps)) this.scrub.max = String(steps);
    const value = String(extent ? Math.round((now / extent) * steps) : 0);
    if (this.scrub.value !== value) this.scrub.value = value;
    this.scrub.style.setProperty("--cb-done", `${extent ? (100 * now) / extent : 0}%`);
    const place = this.mode === "iterations"
      ? this.say("at", { n: this.num(Math.floor(now + 1e-9)) }) + " " + this.say("of_total", { total: this.num(extent) })
      : duration(this.language, now) + " " + this.say("of_total", { total: duration(this.language, extent) });
    set(this.place, place);
    this.scrub.setAttribute("aria-valuetext", place);
    set(this.status, this.askedToStop ? this.say("asked_to_stop") : live ? this.say(status === "running" && this.follow ? "is_live" : status === "running" ? "running" : status) : this.host && status === "stopped" ? this.say("stopped") : "");
    this.status.dataset.status = status;
    this.speedBox.title = this.say("speed_title", { rate: this.num(PACE * this.speed, this.speed < 1 ? 1 : 0) });
    this.parts?.forEach((part, index) => this.drawCounters(part, this.run.lanes[index], index));
    this.drawInspector();
    this.drawFinish();
    this.drawControls();
    if (this.tableBox && !this.tableBox.hidden) this.drawTable();
    const refusal = this.host?.state().refusal ?? "";
    if (refusal !== this.refused) {
      this.refused = refusal;
      if (refusal) this.tell(this.say("refused", { why: refusal }));
    }
    this.announce(time);
  }

  /** One setting in words. @param {string} name @param {string} value */
  setting(name, value) {
    const key = `set_${name}`;
    const shown = value !== "" && Number.isFinite(Number(value)) ? number(this.language, Number(value), value.includes(".") ? 1 : 0) : value;
    return Object.hasOwn(WORDS[this.language], key) ? this.say(key, { v: shown }) : `${name} ${value}`;
  }

  /** @param {NonNullable<BoardView["parts"]>[number]} part @param {Lane} lane @param {number} index */
  drawCounters(part, lane, index) {
    const k = this.shown(lane);
    if (lane.changes.length) set(part.summary, [...lane.settings(k)].filter(([name]) => name !== "pace").map(([name, value]) => this.setting(name, value)).join(" · "));
    const c = lane.counters(k);
    const total = this.run.total(index);
    set(part.counters.iterations.value, this.num(k));
    part.counters.iterations.box.title = this.say("single", { policy: lane.name, n: this.num(k), s: duration(this.language, c.seconds) });
    set(part.counters.finished.value, `${this.num(c.finished)}/${this.num(total)}`);
    set(part.counters.occupancy.value, percent(this.language, c.occupancy));
    set(part.counters.wasted.value, this.num(c.wasted));
    set(part.counters.rate.value, this.num(c.rate, c.rate < 10 ? 1 : 0));
    if (lane.totalBlocks) {
      const of = (/** @type {number} */ blocks) => `${(100 * blocks) / lane.totalBlocks}%`;
      part.meter.used.style.width = of(c.used);
      part.meter.reserved.style.width = of(c.reserved);
      set(part.meter.value, percent(this.language, (c.used + c.reserved) / lane.totalBlocks));
      part.meter.box.title = this.say("kv_title", { used: this.num(c.used), reserved: this.num(c.reserved), free: this.num(lane.totalBlocks - c.used - c.reserved), total: this.num(lane.totalBlocks) });
    }
    const queue = lane.queue(k, CHIPS);
    part.chips.forEach((chip, place) => {
      const entry = queue[place];
      chip.hidden = !entry;
      if (!entry) return;
      const id = String(entry.request);
      if (chip.dataset.request !== id) {
        chip.dataset.request = id;
        chip.textContent = id;
        chip.style.background = colourOf(entry.request);
        chip.style.color = textOn(colourOf(entry.request));
      }
      chip.dataset.again = String(entry.again);
      chip.dataset.lit = String(entry.request === (this.pinned >= 0 ? this.pinned : this.hovered));
    });
    set(part.waiting, c.waiting ? this.say("waiting", { n: this.num(c.waiting) }) : this.say("nobody_waits"));
    part.canvas.setAttribute("data-shown", String(k));
    part.canvas.setAttribute("data-received", String(lane.n));
  }

  drawInspector() {
    const box = this.inspector;
    if (!box) return;
    const id = this.pinned >= 0 ? this.pinned : this.hovered;
    box.dataset.request = String(id);
    if (id < 0) {
      if (this.inspected === "none") return;
      this.inspected = "none";
      box.replaceChildren(h("p", { class: "cb-faint" }, this.say("point")));
      return;
    }
    const views = this.run.lanes.map((lane, index) => lane.request(id, this.shown(lane), this.run.about(index, id)?.arrival ?? null));
    const from = this.pointed?.lane ?? views.findIndex((view) => view !== null);
    const about = this.run.lanes.map((_, index) => this.run.about(index, id)).find((entry) => entry !== null) ?? null;
    const key = JSON.stringify([id, this.pinned, views, from, this.language]);
    if (this.inspected === key) return;
    const fresh = !this.inspected.startsWith(`[${id},`);
    this.inspected = key;
    const kept = box.querySelector(".cb-output")?.scrollTop ?? 0;
    const chip = h("span", { class: "cb-chip" }, String(id));
    chip.style.background = colourOf(id);
    chip.style.color = textOn(colourOf(id));
    const release = h("button", { type: "button", class: "cb-button cb-release" }, this.say(this.pinned >= 0 ? "release" : "keep"));
    release.addEventListener("click", () => this.pin(id));
    const said = views[from] ?? views.find((view) => view !== null) ?? null;
    const text = said === null || said.tokens === 0 ? this.say("empty_output") : said.text === null ? this.say("no_text", { n: this.num(said.tokens) }) : said.text;
    const output = h("div", { class: "cb-text cb-output", dir: "auto", tabindex: "0", role: "group", "aria-label": this.say("output") }, said?.text ? clip(text) : text);
    const prompt = h("div", { class: "cb-text cb-prompt", dir: "auto", tabindex: "0", role: "group", "aria-label": this.say("prompt") }, clip(about?.prompt ?? ""));
    const table = h("table", { class: "cb-facts" });
    const head = h("tr", {}, h("td", {}));
    this.run.lanes.forEach((lane) => head.append(h("th", { scope: "col", dir: "auto" }, lane.name)));
    if (this.run.lanes.length > 1) table.append(h("thead", {}, head));
    const body = h("tbody");
    /** @param {string} name @param {(view: NonNullable<(typeof views)[number]>) => string} fact @param {string} [title] */
    const row = (name, fact, title = "") => {
      const cells = views.map((view) => h("td", { dir: "auto" }, view ? fact(view) : "–"));
      body.append(h("tr", {}, h("th", title ? { scope: "row", title } : { scope: "row" }, this.say(name)), ...cells));
    };
    row("status", (view) => this.say(view.status, { why: this.say(`why_${["end", "stop", "length", "cancelled"].includes(view.why) ? view.why : ""}`) }));
    row("slot_row", (view) => (view.slot < 0 ? "–" : view.replaced >= 0 ? this.say("freed_by", { slot: this.num(view.slot), id: view.replaced }) : this.num(view.slot)));
    row("waited", (view) => duration(this.language, view.waited));
    row("ttft", (view) => duration(this.language, view.ttft), this.say("ttft_title"));
    row("tpot", (view) => duration(this.language, view.tpot), this.say("tpot_title"));
    row("tokens", (view) => this.num(view.tokens));
    if (views.some((view) => view && view.preemptions)) row("preemptions", (view) => this.num(view.preemptions));
    if (views.some((view) => view && view.reason)) row("admitted_because", (view) => inWords(this.language, view.reason).slice(0, 200) || "–");
    table.append(body);
    const facts = h("div", { class: "cb-facts-box" }, table);
    box.replaceChildren(
      h("div", { class: "cb-said" }, h("div", { class: "cb-inspector-head" }, chip, h("h3", {}, this.say("request", { id })), release), h("div", { class: "cb-small" }, this.say("prompt")), prompt, h("div", { class: "cb-small" }, this.say("output")), output),
      facts,
    );
    const texts = views.filter((view) => view && view.finished >= 0 && view.text !== null && view.why !== "cancelled").map((view) => view?.text);
    if (texts.length > 1 && texts.some((other) => other !== texts[0])) facts.append(h("p", { class: "cb-differ" }, this.say("differ")));
    if (this.live() && this.host?.state().actions.includes("cancel")) {
      const cancel = h("button", { type: "button", class: "cb-button" }, this.say("cancel", { id }));
      cancel.addEventListener("click", () => this.control({ action: "cancel", request: id }));
      facts.append(cancel);
    }
    // While it streams the newest words stay in sight, unless somebody scrolled back.
    output.scrollTop = fresh || kept > 0 ? output.scrollHeight : kept;
  }

  drawFinish() {
    const box = this.finish;
    if (!box) return;
    const result = this.live() ? null : this.run.meta.finish ?? null;
    const lanes = this.run.lanes;
    const [first, last] = [lanes[0], lanes[lanes.length - 1]];
    if (!first) {
      box.replaceChildren(h("p", { class: "cb-faint" }, this.say("empty")));
      box.dataset.key = "";
      return;
    }
    const ended = result !== null && this.atEnd();
    const counts = lanes.map((lane) => lane.counters(this.shown(lane)).finished);
    const key = JSON.stringify([ended, ended ? result : counts, this.language, ended ? 0 : lanes.map((lane) => (lanes.length > 1 ? 0 : this.shown(lane)))]);
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    box.dataset.ended = String(ended);
    if (!ended) {
      let words = "";
      if (lanes.length > 1) {
        const [a, z] = [counts[0], counts[counts.length - 1]];
        const names = { first: first.name, last: last.name, a: this.num(z), b: this.num(a) };
        words = a === z ? this.say("more_finished", names) : this.say("ahead", names);
      } else words = this.say("single", { policy: first.name, n: this.num(this.shown(first)), s: duration(this.language, first.secondsAt(this.shown(first))) });
      box.replaceChildren(h("p", { class: "cb-so-far", dir: "auto" }, h("span", { class: "cb-small" }, this.say("so_far_label")), " ", words));
      return;
    }
    const line = h("div", { class: "cb-verdict" });
    const times = (/** @type {number} */ value) => this.num(value, 2) + "×";
    const how = this.say(result.clock === "virtual" ? "computed" : "measured");
    if (typeof result.speedup === "number") {
      line.append(h("strong", { class: "cb-big" }, times(result.speedup)), h("span", { class: "cb-verdict-words", dir: "auto" }, this.say(result.speedup >= 1 ? "faster" : "slower", { last: last.name, first: first.name }), h("span", { class: "cb-small" }, " " + how)));
      if (typeof result.iteration_ratio === "number" && typeof result.cost_ratio === "number") {
        const part = (/** @type {number} */ value, /** @type {string} */ words) => h("span", { class: "cb-part" }, h("strong", {}, times(value)), h("span", { class: "cb-small", dir: "auto" }, this.say(words, { first: first.name, last: last.name })));
        line.append(h("span", { class: "cb-parts" }, h("span", { class: "cb-op" }, "="), part(result.iteration_ratio, "part_iterations"), h("span", { class: "cb-op" }, "×"), part(result.cost_ratio, "part_cost")));
      }
    } else line.append(h("span", {}, lanes.map((lane) => this.say("single", { policy: lane.name, n: this.num(lane.n), s: duration(this.language, lane.secondsAt(lane.n)) })).join(" · ")));
    const notes = [];
    if (result.speedup_range && result.repeats > 1) notes.push(this.say("range", { repeats: this.num(result.repeats), low: this.num(result.speedup_range[0], 2), high: this.num(result.speedup_range[1], 2) }));
    if (result.stopped) notes.push(this.say("was_stopped"));
    if (result.compared > 0) notes.push(result.identical === result.compared ? this.say("same", { same: this.num(result.identical), all: this.num(result.compared) }) : this.say("differing", { n: this.num(result.compared - result.identical), all: this.num(result.compared) }));
    if (["lane", "alone", "virtual"].includes(result.clock) && lanes.length > 1) notes.push(this.say(`clock_${result.clock}`));
    if (result.note) notes.push(String(result.note));
    box.replaceChildren(line, h("p", { class: "cb-notes", dir: "auto" }, notes.join(" ")));
  }

  drawControls() {
    const box = this.controlsBox;
    if (!box) return;
    const { actions = [], knobs = [] } = this.host?.state() ?? {};
    const live = this.live();
    const key = JSON.stringify([actions, knobs, live, this.language]);
    if (key === this.controlsKey) return;
    this.controlsKey = key;
    box.replaceChildren();
    box.hidden = !live || (!knobs.length && !actions.includes("burst"));
    if (box.hidden) return;
    for (const knob of knobs) {
      const label = String((this.language === "zh" && knob.label_zh) || knob.label);
      if (knob.choices) {
        const select = h("select", { class: "cb-select", "data-knob": knob.name });
        for (const choice of knob.choices) select.append(h("option", { value: String(choice) }, String(choice)));
        select.value = String(knob.value);
        select.addEventListener("change", () => this.control({ action: "set", name: knob.name, value: select.value }));
        box.append(h("label", { class: "cb-knob" }, h("span", {}, label), select));
      } else {
        const range = h("input", { type: "range", min: String(knob.low), max: String(knob.high), step: String(knob.step), value: String(knob.value), "data-knob": knob.name });
        const value = h("output", {}, this.num(Number(knob.value), knob.step < 1 ? 2 : 0));
        range.addEventListener("input", () => set(value, this.num(Number(range.value), knob.step < 1 ? 2 : 0)));
        range.addEventListener("change", () => this.control({ action: "set", name: knob.name, value: Number(range.value) }));
        box.append(h("label", { class: "cb-knob" }, h("span", {}, label), range, value));
      }
    }
    if (actions.includes("burst")) {
      const burst = h("button", { type: "button", class: "cb-button" }, this.say("burst"));
      burst.addEventListener("click", () => this.control({ action: "burst" }));
      box.append(burst);
    }
  }

  /** What the grid shows, in words: for those who cannot see it, and for copying. */
  drawTable() {
    const box = this.tableBox;
    if (!box) return;
    const lanes = this.run.lanes;
    const key = JSON.stringify([lanes.map((lane) => this.shown(lane)), this.language]);
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    const lanesTable = h("table", {}, h("thead", {}, h("tr", {}, ...["t_lane", "iterations", "seconds", "finished", "occupancy", "wasted", "rate"].map((name) => h("th", { scope: "col" }, this.say(name))))));
    const lanesBody = h("tbody");
    lanes.forEach((lane) => {
      const k = this.shown(lane);
      const c = lane.counters(k);
      lanesBody.append(h("tr", {}, h("th", { scope: "row", dir: "auto" }, lane.name), ...[this.num(k), duration(this.language, c.seconds), this.num(c.finished), percent(this.language, c.occupancy, 1), this.num(c.wasted), this.num(c.rate, 1)].map((text) => h("td", {}, text))));
    });
    lanesTable.append(lanesBody);
    const names = ["t_request", "t_lane", "status", "t_slot", "t_admitted", "t_finished", "tokens", "waited", "ttft", "tpot", "t_prompt"];
    const table = h("table", {}, h("caption", {}, this.say("t_caption")), h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, this.say(name))))));
    const body = h("tbody");
    const ids = [...new Set(lanes.flatMap((lane) => [...lane.requests.keys()]))].sort((a, b) => a - b);
    for (const id of ids.slice(0, Math.ceil(TABLE_ROWS / Math.max(1, lanes.length)))) {
      lanes.forEach((lane, index) => {
        const view = lane.request(id, this.shown(lane), this.run.about(index, id)?.arrival ?? null);
        if (!view) return;
        const why = this.say(`why_${["end", "stop", "length", "cancelled"].includes(view.why) ? view.why : ""}`);
        const cells = [
          lane.name, this.say(view.status, { why }), view.slot < 0 ? "–" : this.num(view.slot), view.admitted < 0 ? "–" : this.num(view.admitted), view.finished < 0 ? "–" : this.num(view.finished), this.num(view.tokens),
          duration(this.language, view.waited), duration(this.language, view.ttft), duration(this.language, view.tpot), (this.run.about(index, id)?.prompt ?? "").slice(0, 80),
        ];
        body.append(h("tr", {}, h("th", { scope: "row" }, String(id)), ...cells.map((text) => h("td", { dir: "auto" }, text))));
      });
    }
    table.append(body);
    const cut = ids.length * lanes.length > TABLE_ROWS ? [h("p", { class: "cb-faint" }, this.say("t_cut", { n: this.num(Math.ceil(TABLE_ROWS / lanes.length)), all: this.num(ids.length) }))] : [];
    const scroller = h("div", { class: "cb-scroll", tabindex: "0", role: "group", "aria-label": this.say("t_caption") }, table);
    const changes = lanes.filter((lane) => lane.changes.length).map((lane) => {
      const list = h("table", {}, h("caption", {}, this.say("t_changes")), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.say("t_at")), h("th", { scope: "col" }, this.say("j_set")))));
      const rows = h("tbody");
      for (const { at, words } of lane.changes.filter((change) => change.at < Math.max(1, this.shown(lane))).slice(-TABLE_ROWS)) {
        const [name, ...rest] = words.split(" = ");
        rows.append(h("tr", {}, h("th", { scope: "row" }, this.num(at)), h("td", { dir: "auto" }, this.setting(name, rest.join(" = ")))));
      }
      list.append(rows);
      return list;
    });
    box.replaceChildren(lanesTable, ...changes, ...cut, scroller);
  }

  /** A summary for screen readers, at most every two seconds, and once more at the end. @param {number} time */
  announce(time) {
    const lines = this.run.lanes.map((lane, index) => {
      const k = this.shown(lane);
      const c = lane.counters(k);
      return this.say("aria_grid", {
        lane: lane.name, slots: this.num(lane.slots), n: this.num(k), done: this.num(c.finished), all: this.num(this.run.total(index)),
        occupancy: percent(this.language, c.occupancy), wasted: this.num(c.wasted), waiting: this.num(c.waiting),
      });
    });
    const ended = !this.live() && this.host !== null && this.atEnd() && this.run.meta.finish;
    const text = lines.join(" ") + (ended ? " " + this.say("aria_end") : "");
    if (text === this.announced) return;
    if (time < this.announceDue) {
      this.later ??= window.setTimeout(() => {
        this.later = undefined;
        this.changed();
      }, Math.max(20, this.announceDue - time));
      return;
    }
    this.announceDue = time + 2000;
    this.announced = text;
    if (this.liveText) this.liveText.textContent = text;
    this.parts?.forEach((part, index) => part.canvas.setAttribute("aria-label", lines[index]));
  }

  /** What tests and style sheets may ask. */
  state() {
    const data = this.root.dataset;
    const lanes = this.run.lanes;
    data.lanes = String(lanes.length);
    data.iteration = String(Math.max(0, ...lanes.map((lane) => this.shown(lane))));
    data.received = lanes.map((lane) => lane.n).join(" ");
    data.painted = (this.parts ?? []).map((part) => part.key.split(" ")[0]).join(" ");
    data.dropped = String(this.run.gaps);
    data.live = String(this.live());
    data.status = this.host?.state().status ?? "recorded";
    data.playing = String(this.live() ? this.host?.state().status === "running" : this.playing);
    data.follow = String(this.follow);
    data.mode = this.mode;
    data.speed = String(this.speed);
    data.language = this.language;
    data.fitted = String(this.fitted);
    data.pinned = String(this.pinned);
    data.lit = String(this.pinned >= 0 ? this.pinned : this.hovered);
    data.frames = String(this.frames);
    data.scale = this.axis.scale.toFixed(4);
    data.changes = lanes.map((lane) => lane.changes.filter(({ at }) => at > 0 && at < this.shown(lane)).length).join(" ");
    data.asked = this.askedToStop ? "stop" : "";
  }

  destroy() {
    this.gone = true;
    cancelAnimationFrame(this.frame);
    window.clearTimeout(this.later);
    window.clearTimeout(this.settling);
    for (const cleanup of this.cleanups) cleanup();
    this.root.remove();
  }
}
/** @param {HTMLElement | undefined} element @param {string} text */
function set(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/**
 * At most `MOST_TEXT` characters, the middle left out; controls that would turn the direction of the page are shown as
 * what they are.
 * @param {string} text
 */
export function clip(text) {
  const short = text.length > MOST_TEXT ? text.slice(0, MOST_TEXT / 2) + " … " + text.slice(-MOST_TEXT / 2) : text;
  return short.replace(/[\u202A-\u202E\u2066-\u2069\u200E\u200F\u061C]/g, (sign) => `\u27E8U+${sign.charCodeAt(0).toString(16).toUpperCase()}\u27E9`);
}

// --------------------------------------------------------------------------------------------------- entry points

/** @param {any} part a DataView, an ArrayBuffer or bytes, as hosts differ @returns {Uint8Array} */
export function bytesOf(part) {
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  return new Uint8Array(0);
}

/** The browser's end of one widget: takes increments in, confirms them, asks again when something is missing. */
export class Feed {
  /** @param {any} model an anywidget model */
  constructor(model) {
    this.model = model;
    this.run = new Run();
    /** @type {Set<BoardView>} */
    this.views = new Set();
    this.refusal = "";
    this.lastSeq = -1;
    this.asked = 0;
    this.onmessage = (/** @type {any} */ content, /** @type {any[]} */ buffers) => this.message(content, buffers ?? []);
    this.onwhole = () => this.whole();
    this.onstatus = () => this.tell();
    this.onmeta = () => {
      this.meta();
      this.tell();
    };
    model.on("msg:custom", this.onmessage);
    model.on("change:_run", this.onwhole);
    model.on("change:_meta", this.onmeta);
    for (const name of ["_status", "_knobs", "_actions"]) model.on(`change:${name}`, this.onstatus);
    this.meta();
    this.whole();
    if (model.get("_status") !== "recorded") this.hello("hello");
  }

  meta() {
    const meta = this.model.get("_meta") ?? {};
    if (!this.run.lanes.length && meta.lanes) this.run.setLanes(meta.lanes);
    this.run.meta = { ...this.run.meta, ...meta };
    this.run.version++;
  }

  /** The whole run in the widget's state: late views and lost ends need nothing else. */
  whole() {
    const bytes = bytesOf(this.model.get("_run"));
    if (!bytes.length) return;
    this.run.add(bytes);
    this.tell();
  }

  /** @param {"hello" | "resync"} type */
  hello(type) {
    this.asked = Date.now();
    this.model.send({ type, have: this.run.have() });
  }

  /** @param {any} content @param {any[]} buffers */
  message(content, buffers) {
    if (content?.type === "refused") {
      this.refusal = String(content.sentence ?? "");
    } else if (content?.type === "frame") {
      this.refusal = content.refusal ?? this.refusal;
      let whole = true;
      for (const buffer of buffers) whole = this.run.add(bytesOf(buffer)) && whole;
      if (this.lastSeq >= 0 && content.seq > this.lastSeq + 1) whole = whole && !this.behind(content.have);
      this.lastSeq = content.seq;
      this.model.send({ type: "ack", seq: content.seq });
      if ((!whole || this.behind(content.have)) && Date.now() - this.asked > 100) this.hello("resync");
    }
    this.tell();
  }

  /** @param {number[] | undefined} sent iterations of each lane that have been sent so far */
  behind(sent) {
    const have = this.run.have();
    return Array.isArray(sent) && sent.some((n, lane) => n > (have[lane] ?? 0));
  }

  tell() {
    for (const view of this.views) {
      view.textDue = 0;
      view.changed();
    }
  }

  /** @returns {Host | null} */
  host() {
    if (this.model.get("_status") === "recorded") return null;
    return {
      state: () => ({ status: this.model.get("_status"), actions: this.model.get("_actions") ?? [], knobs: this.model.get("_knobs") ?? [], refusal: this.refusal }),
      send: (message) => this.model.send({ type: "control", ...message }),
    };
  }

  close() {
    this.model.off("msg:custom", this.onmessage);
    this.model.off("change:_run", this.onwhole);
    this.model.off("change:_meta", this.onmeta);
    for (const name of ["_status", "_knobs", "_actions"]) this.model.off(`change:${name}`, this.onstatus);
  }
}

/** @type {WeakMap<object, Feed>} */
const feeds = new WeakMap();

/** Once a widget. @param {{model: any}} props */
function initialize({ model }) {
  const feed = new Feed(model);
  feeds.set(model, feed);
  return () => {
    feed.close();
    feeds.delete(model);
  };
}

/** Once a view. @param {{model: any, el: HTMLElement}} props */
function render({ model, el }) {
  const known = feeds.get(model);
  const feed = known ?? new Feed(model);
  const view = new BoardView(el, feed.run, { language: model.get("_language"), host: feed.host(), autoplay: false });
  feed.views.add(view);
  return () => {
    feed.views.delete(view);
    view.destroy();
    if (!known) feed.close();
  };
}

/**
 * Shows a packed run without a kernel. `packed` is base64 of gzip of the run's blocks.
 * @param {HTMLElement} element
 * @param {string} packed
 * @param {{language?: Language, autoplay?: boolean}} [options]
 */
export async function mount(element, packed, options = {}) {
  const zipped = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const run = new Run();
  run.add(bytes);
  const holder = document.createElement("div");
  const view = new BoardView(holder, run, options);
  element.replaceChildren(holder);
  view.applyTheme(true);
  return view;
}

export default { initialize, render };
