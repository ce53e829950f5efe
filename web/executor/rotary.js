/* Rotary position embeddings (RoFormer, §3.4): each pair of numbers of a head is turned by an angle that grows with the position. */

/** The angles of every position, as float32 because the model was trained with them so. */
export class Rotary {
  /** @param {number} positions @param {number} width numbers of a head @param {number} theta */
  constructor(positions, width, theta) {
    this.half = width / 2;
    this.cos = new Float32Array(positions * this.half);
    this.sin = new Float32Array(positions * this.half);
    for (let i = 0; i < this.half; i++) {
      const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / width)));
      for (let position = 0; position < positions; position++) {
        const angle = Math.fround(position * frequency);
        this.cos[position * this.half + i] = Math.cos(angle);
        this.sin[position * this.half + i] = Math.sin(angle);
      }
    }
  }

  /** Turns a head in place; number i is paired with number i + width / 2. @param {Float32Array} numbers @param {number} at @param {number} position */
  turn(numbers, at, position) {
    const { half, cos, sin } = this;
    const angles = position * half;
    for (let i = 0; i < half; i++) {
      const c = cos[angles + i];
      const s = sin[angles + i];
      const a = numbers[at + i];
      const b = numbers[at + half + i];
      numbers[at + i] = a * c - b * s;
      numbers[at + half + i] = b * c + a * s;
    }
  }
}
