/* Python's `random.Random`: the Mersenne Twister MT19937 (Matsumoto & Nishimura 1998), so that a seed draws the same workload. */

const N = 624;
const M = 397;

/** Draws as `random.Random(seed)` does, for seeds below 2³². */
export class Random {
  /** @param {number} seed */
  constructor(seed) {
    this.state = new Uint32Array(N);
    this.index = N;
    this.seedFrom(19650218);
    this.mixIn(seed);
  }

  /** `init_genrand` of the reference implementation. @param {number} seed */
  seedFrom(seed) {
    const { state } = this;
    state[0] = seed;
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }

  /** `init_by_array` of the reference implementation, for a key of one number. @param {number} key */
  mixIn(key) {
    const { state } = this;
    let i = 1;
    const next = () => {
      if (++i < N) return;
      state[0] = state[N - 1];
      i = 1;
    };
    for (let k = 0; k < N; k++, next()) state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1664525)) + key;
    for (let k = 1; k < N; k++, next()) state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1566083941)) - i;
    state[0] = 0x80000000;
  }

  /** 32 random bits. */
  bits32() {
    const { state } = this;
    if (this.index >= N) {
      for (let i = 0; i < N; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
        state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.index = 0;
    }
    let y = state[this.index++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** A number from 0 to below 1, in steps of 2⁻⁵³. */
  random() {
    const high = this.bits32() >>> 5;
    return (high * 67108864 + (this.bits32() >>> 6)) / 9007199254740992;
  }

  /** A whole number from 0 to below n, at most 2³¹. @param {number} n */
  below(n) {
    const bits = 32 - Math.clz32(n);
    let drawn = this.bits32() >>> (32 - bits);
    while (drawn >= n) drawn = this.bits32() >>> (32 - bits);
    return drawn;
  }

  /** @template T @param {readonly T[]} items @returns {T} */
  choice(items) {
    return items[this.below(items.length)];
  }

  /** @param {any[]} items in place */
  shuffle(items) {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
  }
}
