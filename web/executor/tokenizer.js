/* The tokenizer of `tiny`: one character, one token. */

/** Ends a prompt, as the model's chat template does it. */
const PROMPT_END = "\n";

export class Tokenizer {
  /** @param {{model: {vocab: Record<string, number>, unk_token: string}, added_tokens: {id: number, special: boolean}[]}} file tokenizer.json */
  constructor({ model, added_tokens: added }) {
    this.ids = new Map(Object.entries(model.vocab));
    this.unknown = model.vocab[model.unk_token];
    /** The text of each token; special tokens have none. @type {string[]} */
    this.texts = [];
    for (const [text, id] of this.ids) this.texts[id] = text;
    for (const { id, special } of added) if (special) this.texts[id] = "";
  }

  /** The tokens of a prompt. @param {string} prompt @returns {number[]} */
  encode(prompt) {
    return [...(prompt + PROMPT_END)].map((sign) => this.ids.get(sign) ?? this.unknown);
  }

  /** The text that a token adds. @param {number} token */
  text(token) {
    return this.texts[token] ?? "";
  }
}
