/* A model's weights: a safetensors file (8 bytes of length, a JSON header, the numbers) in bfloat16, as float32. */

/** @typedef {{dtype: string, shape: number[], data_offsets: [number, number]}} Entry one tensor of the header */

/** A file of weights. Its numbers stay in bfloat16 until they are asked for. */
export class Weights {
  /** Throws with one sentence if the bytes are cut or foreign. @param {Uint8Array} bytes */
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = bytes.length < 8 ? Infinity : Number(view.getBigUint64(0, true));
    if (length > bytes.length - 8) throw new Error("the weights are cut or foreign: they hold no safetensors header.");
    /** @type {Record<string, Entry>} */
    this.header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    this.numbers = bytes.subarray(8 + length);
  }

  /** How many numbers a tensor has. @param {string} name */
  size(name) {
    return this.header[name].shape.reduce((product, length) => product * length, 1);
  }

  /** Writes a tensor into an array: the 16 bits of a bfloat16 are the upper half of a float32. @param {string} name @param {Float32Array} into */
  read(name, into) {
    const { dtype, data_offsets: [begin, end] } = this.header[name];
    const count = this.size(name);
    if (dtype !== "BF16" || end - begin !== 2 * count || end > this.numbers.length) throw new Error(`the weights are cut or foreign: ${name} is not ${count} numbers in bfloat16.`);
    const halves = new DataView(this.numbers.buffer, this.numbers.byteOffset + begin, 2 * count);
    const bits = new Uint32Array(into.buffer, into.byteOffset, count);
    for (let i = 0; i < count; i++) bits[i] = halves.getUint16(2 * i, true) << 16;
    return into;
  }
}
