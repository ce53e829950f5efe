/* Sorted numbers: columns that grow, and searching them. */

/** A column of numbers that grows; its buffer doubles when it is full. */
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
