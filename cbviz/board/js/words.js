/* What the board says, in English and in Chinese. */

import { number } from "./numbers.js";

/** @typedef {"en" | "zh"} Language */

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
    running: "running", paused: "paused", asked_to_stop: "stopping: waits for the kernel", stopping: "stopping: waits for the pass in flight", stopped: "stopped",
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
    running: "运行中", paused: "已暂停", asked_to_stop: "正在停止：等待内核响应", stopping: "正在停止：等待当前前向计算结束", stopped: "已停止",
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
 * A string of the table with its blanks filled in. An unknown key is a bug, and throws.
 * @param {Language} language
 * @param {string} key
 * @param {Record<string, string | number>} [blanks]
 */
export function say(language, key, blanks = {}) {
  const words = WORDS[language][key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(blanks[name] ?? ""));
}

/** One setting in words: "8 slots". @param {Language} language @param {string} name @param {string} value */
export function setting(language, name, value) {
  const key = `set_${name}`;
  const shown = value !== "" && Number.isFinite(Number(value)) ? number(language, Number(value), value.includes(".") ? 1 : 0) : value;
  return Object.hasOwn(WORDS[language], key) ? say(language, key, { v: shown }) : `${name} ${value}`;
}

/** A change as it was recorded, "name = value", in words. @param {Language} language @param {string} change */
export function changeInWords(language, change) {
  const [name, ...rest] = change.split(" = ");
  return setting(language, name, rest.join(" = "));
}

/** Why a request ended, as a key of `WORDS`. @param {string} why "" if it has not */
export const endWords = (why) => `why_${["end", "stop", "length", "cancelled"].includes(why) ? why : ""}`;
