/* Attention of one row over the keys and values that its slot has in the cache (grouped heads: GQA, Ainslie et al. 2023). */

/** @typedef {{heads: number, keyHeads: number, width: number}} Heads query heads, key and value heads, numbers of a head */

/** The cache of one layer: of each slot, `context` positions with the keys (or values) of all key heads. */
export class LayerCache {
  /** @param {(length: number) => Float32Array} floats @param {number} slots @param {number} context @param {Heads} heads */
  constructor(floats, slots, context, { keyHeads, width }) {
    /** Numbers of one position. */
    this.stride = keyHeads * width;
    this.context = context;
    this.keys = floats(slots * context * this.stride);
    this.values = floats(slots * context * this.stride);
  }

  /** Writes one position. @param {number} slot @param {number} position @param {Float32Array} keys @param {Float32Array} values @param {number} row of both */
  write(slot, position, keys, values, row) {
    const place = (slot * this.context + position) * this.stride;
    const begin = row * this.stride;
    for (let i = 0; i < this.stride; i++) {
      this.keys[place + i] = keys[begin + i];
      this.values[place + i] = values[begin + i];
    }
  }
}

/** Computes rows one after the other. */
export class Attention {
  /** @param {Heads} heads @param {number} context the most positions that a row can look back on */
  constructor(heads, context) {
    this.heads = heads;
    this.scale = 1 / Math.sqrt(heads.width);
    this.scores = new Float32Array(context);
  }

  /**
   * Attention of one row to the first `length` positions of its slot, for all heads.
   * @param {LayerCache} cache @param {number} slot @param {number} length
   * @param {Float32Array} queries @param {Float32Array} out @param {number} at where the row begins in both
   */
  row(cache, slot, length, queries, out, at) {
    const { heads, keyHeads, width } = this.heads;
    const shared = heads / keyHeads;
    const begin = slot * cache.context * cache.stride;
    for (let head = 0; head < heads; head++) {
      const first = begin + Math.floor(head / shared) * width;
      this.weigh(cache.keys, first, cache.stride, length, queries, at + head * width);
      this.mix(cache.values, first, cache.stride, length, out, at + head * width);
    }
  }

  /** softmax(q · k / √width) into `scores`. @param {Float32Array} keys @param {number} first @param {number} stride @param {number} length @param {Float32Array} queries @param {number} at */
  weigh(keys, first, stride, length, queries, at) {
    const { scores, scale } = this;
    const { width } = this.heads;
    let most = -Infinity;
    for (let position = 0; position < length; position++) {
      const key = first + position * stride;
      let sum = 0;
      for (let i = 0; i < width; i++) sum += queries[at + i] * keys[key + i];
      scores[position] = sum * scale;
      if (scores[position] > most) most = scores[position];
    }
    let total = 0;
    for (let position = 0; position < length; position++) {
      scores[position] = Math.exp(scores[position] - most);
      total += scores[position];
    }
    for (let position = 0; position < length; position++) scores[position] /= total;
  }

  /** The values, weighted by `scores`. @param {Float32Array} values @param {number} first @param {number} stride @param {number} length @param {Float32Array} out @param {number} at */
  mix(values, first, stride, length, out, at) {
    const { scores } = this;
    const { width } = this.heads;
    out.fill(0, at, at + width);
    for (let position = 0; position < length; position++) {
      const value = first + position * stride;
      const share = scores[position];
      for (let i = 0; i < width; i++) out[at + i] += share * values[value + i];
    }
  }
}
