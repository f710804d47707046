// SPDX-License-Identifier: Apache-2.0
/** What /proc/PID/maps says of mappings (proc_pid_maps(5)): the kernel looks at no page for it, unlike for smaps. */
import { decodeText } from "../bytes/text.js";
import type { MappedRange } from "./gadgets.js";

/** A mapping as maps tells it. */
export interface MapsLine extends MappedRange {
  readonly isShared: boolean;
}

const pattern = /^([0-9a-f]+)-([0-9a-f]+) (.)(.)(.)(.) \S+ \S+ \d+ *(.*)$/;

/** One line; undefined if it is none. */
export function parseMapsLine(line: string): MapsLine | undefined {
  const [, start, end, r, w, x, p, text = ""] = pattern.exec(line) ?? [];
  if (start === undefined || end === undefined) return undefined;
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    isReadable: r === "r",
    isWritable: w === "w",
    isExecutable: x === "x",
    isShared: p === "s",
    text,
  };
}

/** All of them, ascending; none where maps could not be read. */
export function parseMaps(maps: Buffer | undefined): MapsLine[] {
  return decodeText(maps ?? Buffer.alloc(0))
    .split("\n")
    .flatMap((line) => parseMapsLine(line) ?? []);
}
