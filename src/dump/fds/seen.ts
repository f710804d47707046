// SPDX-License-Identifier: Apache-2.0
/**
 * What /proc and fstat told of descriptors, each but once: the many descriptors of one file share its name and its state,
 * and what is found out about those is found out once.
 */
import { type FileStat, parseFileStat } from "../../native/index.js";
import { type FdInfo, parseFdInfo } from "./fdinfo.js";

export class SeenThings {
  readonly #stats = new Map<string, FileStat>();
  readonly #links = new Map<string, Buffer>();
  readonly #magics = new Map<number, bigint>();
  readonly #infos = new Map<string, FdInfo | undefined>();

  /** `text`: struct stat, one character a byte. */
  stat(text: string): FileStat {
    let stat = this.#stats.get(text);
    if (stat === undefined) {
      stat = parseFileStat(Buffer.from(text, "latin1"));
      this.#stats.set(text, stat);
    }
    return stat;
  }

  /** The bytes of a name; equal ones are the same object. */
  link(text: string): Buffer {
    let link = this.#links.get(text);
    if (link === undefined) {
      link = Buffer.from(text, "latin1");
      this.#links.set(text, link);
    }
    return link;
  }

  /** The type of a file system, of its halves. */
  magic(low: number, high: number): bigint {
    let magic = high === 0 ? this.#magics.get(low) : undefined;
    if (magic === undefined) {
      magic = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      if (high === 0) this.#magics.set(low, magic);
    }
    return magic;
  }

  info(text: string): FdInfo | undefined {
    let info = this.#infos.get(text);
    if (info === undefined) {
      info = parseFdInfo(text);
      this.#infos.set(text, info);
    }
    return info;
  }
}
