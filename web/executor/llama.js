/* The forward pass of a small Llama (RMSNorm, rotary attention, SwiGLU) over rows of several requests at once. */
import { Arena } from "./arena.js";
import { Attention, LayerCache } from "./attention.js";
import { fastMatmul, plainMatmul, whole } from "./matmul.js";
import { Rotary } from "./rotary.js";
import { runsHere } from "./simd.js";
/** @import { Weights } from "./weights.js" */

/**
 * What the pass needs of a model's config.json.
 * @typedef {object} Config
 * @property {number} hidden_size
 * @property {number} intermediate_size
 * @property {number} num_hidden_layers
 * @property {number} num_attention_heads
 * @property {number} num_key_value_heads
 * @property {number} head_dim
 * @property {number} vocab_size
 * @property {number} max_position_embeddings
 * @property {number} rms_norm_eps
 * @property {number} eos_token_id
 * @property {{rope_theta: number}} rope_parameters
 */

/** Rows of one pass; a longer step is computed in several, which changes nothing because the cache keeps the earlier rows. */
const MOST_ROWS = 64;
/** Parts of a layer, by the ends of their names in the file. */
const PARTS = ["input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/** A model with a key-value cache for a number of slots. */
export class Llama {
  /**
   * @param {Config} config
   * @param {Weights} weights
   * @param {number} slots
   * @param {Uint8Array<ArrayBuffer> | null} kernel the bytes of `matmul.wasm`; null computes in plain JavaScript
   */
  constructor(config, weights, slots, kernel) {
    this.config = config;
    this.context = config.max_position_embeddings;
    const { hidden_size: hidden, intermediate_size: inner, head_dim: width, num_attention_heads: heads, num_key_value_heads: keyHeads } = config;
    this.heads = { heads, keyHeads, width };
    /** Whether the kernel runs here. */
    this.simd = kernel !== null && runsHere(kernel);
    /** The vocabulary, rounded up as the kernel wants it. */
    this.vocabulary = whole(config.vocab_size);
    const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);
    const names = layers.flatMap((layer) => PARTS.map((part) => `model.layers.${layer}.${part}.weight`));
    const cached = 2 * layers.length * slots * this.context * keyHeads * width;
    const rows = MOST_ROWS * (4 * hidden + 2 * keyHeads * width + 2 * inner + this.vocabulary);
    const stored = names.reduce((sum, name) => sum + weights.size(name), 0) + this.vocabulary * hidden + hidden;
    const arena = new Arena(cached + rows + stored + 4 * (names.length + 32), this.simd);
    const floats = (/** @type {number} */ length) => arena.floats(length);
    const read = (/** @type {string} */ name) => weights.read(name, floats(weights.size(name)));
    this.matmul = this.simd && kernel ? fastMatmul(kernel, arena) : plainMatmul;
    /** [vocabulary, hidden]: embeds tokens, and gives the logits as well. */
    this.embedding = weights.read("model.embed_tokens.weight", floats(this.vocabulary * hidden));
    this.norm = read("model.norm.weight");
    this.layers = layers.map((layer) => {
      const [before, after, q, k, v, o, gate, up, down] = PARTS.map((part) => read(`model.layers.${layer}.${part}.weight`));
      return { before, after, q, k, v, o, gate, up, down, cache: new LayerCache(floats, slots, this.context, this.heads) };
    });
    this.rotary = new Rotary(this.context, width, config.rope_parameters.rope_theta);
    this.attention = new Attention(this.heads, this.context);
    this.x = floats(MOST_ROWS * hidden);
    this.y = floats(MOST_ROWS * hidden);
    this.q = floats(MOST_ROWS * hidden);
    this.mixed = floats(MOST_ROWS * hidden);
    this.k = floats(MOST_ROWS * keyHeads * width);
    this.v = floats(MOST_ROWS * keyHeads * width);
    this.gate = floats(MOST_ROWS * inner);
    this.up = floats(MOST_ROWS * inner);
    this.logitsOfRows = floats(MOST_ROWS * this.vocabulary);
  }

  /**
   * Computes tokens, writes their keys and values, and calls `drawn(row, logits)` for the rows that are to yield a token.
   * Rows of one slot are given in order of their positions.
   * @param {number[]} slots @param {number[]} positions @param {number[]} tokens @param {boolean[]} draws one entry a row each
   * @param {(row: number, logits: Float32Array) => void} drawn `logits`: one number a token, valid during the call
   */
  forward(slots, positions, tokens, draws, drawn) {
    for (let begin = 0; begin < slots.length; begin += MOST_ROWS) {
      const end = Math.min(begin + MOST_ROWS, slots.length);
      const [some, at] = [slots.slice(begin, end), positions.slice(begin, end)];
      this.embed(tokens.slice(begin, end));
      for (const layer of this.layers) this.layer(layer, some, at);
      this.draw(begin, draws.slice(begin, end), drawn);
    }
  }

  /** @param {number[]} tokens */
  embed(tokens) {
    const { hidden_size: hidden } = this.config;
    tokens.forEach((token, row) => this.x.set(this.embedding.subarray(token * hidden, (token + 1) * hidden), row * hidden));
  }

  /** @param {Llama["layers"][number]} layer @param {number[]} slots @param {number[]} positions */
  layer(layer, slots, positions) {
    const { hidden_size: hidden, intermediate_size: inner, head_dim: width } = this.config;
    const rows = slots.length;
    const { heads, keyHeads } = this.heads;
    const { x, y, q, k, v, mixed, gate, up } = this;
    this.normalise(layer.before, rows);
    this.matmul(y, layer.q, q, rows, hidden, heads * width);
    this.matmul(y, layer.k, k, rows, hidden, keyHeads * width);
    this.matmul(y, layer.v, v, rows, hidden, keyHeads * width);
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < heads; head++) this.rotary.turn(q, (row * heads + head) * width, positions[row]);
      for (let head = 0; head < keyHeads; head++) this.rotary.turn(k, (row * keyHeads + head) * width, positions[row]);
      layer.cache.write(slots[row], positions[row], k, v, row);
    }
    for (let row = 0; row < rows; row++) this.attention.row(layer.cache, slots[row], positions[row] + 1, q, mixed, row * hidden);
    this.matmul(mixed, layer.o, y, rows, hidden, hidden);
    for (let i = 0; i < rows * hidden; i++) x[i] += y[i];
    this.normalise(layer.after, rows);
    this.matmul(y, layer.gate, gate, rows, hidden, inner);
    this.matmul(y, layer.up, up, rows, hidden, inner);
    for (let i = 0; i < rows * inner; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
    this.matmul(gate, layer.down, y, rows, inner, hidden);
    for (let i = 0; i < rows * hidden; i++) x[i] += y[i];
  }

  /** RMSNorm (Zhang & Sennrich 2019) of the first rows of x into y. @param {Float32Array} weight @param {number} rows */
  normalise(weight, rows) {
    const { hidden_size: hidden, rms_norm_eps: eps } = this.config;
    const { x, y } = this;
    for (let row = 0, at = 0; row < rows; row++, at += hidden) {
      let squares = 0;
      for (let i = 0; i < hidden; i++) squares += x[at + i] * x[at + i];
      const scale = 1 / Math.sqrt(squares / hidden + eps);
      for (let i = 0; i < hidden; i++) y[at + i] = x[at + i] * scale * weight[i];
    }
  }

  /** Logits of the rows that draw, gathered first: a prompt yields one token, not one a position. @param {number} begin @param {boolean[]} draws @param {(row: number, logits: Float32Array) => void} drawn */
  draw(begin, draws, drawn) {
    const { hidden_size: hidden, vocab_size: tokens } = this.config;
    const wanted = draws.flatMap((draw, row) => (draw ? [row] : []));
    wanted.forEach((row, place) => this.x.copyWithin(place * hidden, row * hidden, (row + 1) * hidden));
    this.normalise(this.norm, wanted.length);
    if (wanted.length) this.matmul(this.y, this.embedding, this.logitsOfRows, wanted.length, hidden, this.vocabulary);
    wanted.forEach((row, place) => drawn(begin + row, this.logitsOfRows.subarray(place * this.vocabulary, place * this.vocabulary + tokens)));
  }
}
