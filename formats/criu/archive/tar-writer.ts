// SPDX-License-Identifier: Apache-2.0
/** Writes a tar into an open file, member by member, plain or compressed. */
import { createWriteStream } from "node:fs";
import type { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { type Header, type Pack, pack as tarPack } from "tar-stream";
import { zstdCompressor } from "./zstd-compressor.js";
import type { Compression } from "./archive.js";

export type MemberHeader = Partial<Header> & Pick<Header, "name">;

export class TarWriter {
  readonly #tar: Pack = tarPack();
  readonly #written: Promise<void>;
  #failure: unknown;

  /** Writes from the beginning of `fd`, which is not closed. */
  constructor(fd: number, compression: Compression) {
    const file = createWriteStream("", { fd, autoClose: false, start: 0, highWaterMark: 1 << 20 });
    const compress: Transform | undefined =
      compression === "gzip" ? createGzip({ level: 1 }) : compression === "zstd" ? zstdCompressor() : undefined;
    const done = compress === undefined ? pipeline(this.#tar, file) : pipeline(this.#tar, compress, file);
    this.#written = done.catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Adds a member. @param content must give as many bytes as `header.size` says; without it the member has none */
  async add(header: MemberHeader, content?: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    let sink: ReturnType<Pack["entry"]> | undefined;
    const added = new Promise<void>((resolve, reject) => {
      const end = (error?: Error | null): void => (error ? reject(error) : resolve());
      sink = content === undefined ? void this.#tar.entry({ ...header, size: 0 }, new Uint8Array(0), end) : this.#tar.entry(header, end);
    });
    // Whatever stops the file stops the member.
    const stopped = this.#written.then(() => {
      throw this.#failure ?? new Error("the tar was closed early");
    });
    stopped.catch(() => undefined);
    const member = sink;
    if (member !== undefined && content !== undefined) {
      for await (const piece of content) {
        if (!member.write(piece)) await Promise.race([new Promise<void>((resolve) => member.once("drain", () => resolve())), stopped]);
      }
      member.end(null);
    }
    await Promise.race([added, stopped]);
  }

  async finish(): Promise<void> {
    this.#tar.finalize();
    await this.#written;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Gives up, after an error. */
  async abandon(): Promise<void> {
    this.#tar.destroy();
    await this.#written;
  }
}
