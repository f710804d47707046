// SPDX-License-Identifier: Apache-2.0
/** Text into a file, in large writes. */
import { writeFully } from "../../src/pages/file-source.js";

const flushBytes = 1 << 20;

export class TextOutput {
  #parts: string[] = [];
  #length = 0;
  #offset = 0n;

  constructor(private readonly fd: number) {}

  write(text: string): void {
    this.#parts.push(text);
    this.#length += text.length;
    if (this.#length >= flushBytes) this.flush();
  }

  flush(): void {
    const bytes = Buffer.from(this.#parts.join(""), "utf8");
    writeFully(this.fd, bytes, this.#offset);
    this.#offset += BigInt(bytes.length);
    this.#parts = [];
    this.#length = 0;
  }
}
