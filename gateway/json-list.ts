/**
 * A list for a reply, turned into JSON piece by piece while it is gathered: a list of ten thousand in one piece would keep
 * every other request waiting meanwhile.
 */
export class JsonList {
  #text = "";
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(items: readonly unknown[]): void {
    if (items.length === 0) return;
    const text = JSON.stringify(items).slice(1, -1);
    this.#text += this.#length === 0 ? text : `,${text}`;
    this.#length += items.length;
  }

  toText(): string {
    return `[${this.#text}]`;
  }
}
