/* The KV block pool: how many blocks each request has, and how many are free (PagedAttention, SOSP'23, §4.3). */

export class BlockPool {
  /** @param {number} blocks @param {number} blockSize positions in a block */
  constructor(blocks, blockSize) {
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.free = blocks;
    /** Request → its blocks. @type {Map<number, number>} */
    this.owned = new Map();
  }

  /** Blocks that hold this many positions. @param {number} positions */
  blocksFor(positions) {
    return Math.ceil(positions / this.blockSize);
  }

  /** The blocks of a request. @param {number} request */
  of(request) {
    return this.owned.get(request) ?? 0;
  }

  /** Gives a request blocks until it has room for `positions`. Throws if fewer are free; nothing has changed then. @param {number} request @param {number} positions */
  grow(request, positions) {
    const lacking = this.blocksFor(positions) - this.of(request);
    if (lacking <= 0) return;
    if (lacking > this.free) throw new Error(`request ${request} needs ${lacking} more KV blocks of ${this.blockSize} positions, but only ${this.free} of ${this.blocks} are free.`);
    this.free -= lacking;
    this.owned.set(request, this.of(request) + lacking);
  }

  /** Takes back all blocks of a request. @param {number} request */
  release(request) {
    this.free += this.of(request);
    this.owned.delete(request);
  }
}
