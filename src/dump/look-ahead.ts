// SPDX-License-Identifier: Apache-2.0
/**
 * What can be known of a program before it is frozen, and is the same or easily checked then: where its code has the
 * instructions that injected calls need, and the build-ids of the files that it has mapped.
 */
import { decodeText } from "../bytes/text.js";
import { tryStat } from "../native/index.js";
import { fileBuildId } from "./file-build-id.js";
import { findGadgets, type Gadgets, type MappedRange } from "./gadgets.js";
import { readShortMaps } from "./procfs.js";

/** A line of /proc/PID/maps whose mapping can be executed (proc_pid_maps(5)). */
const code = /^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \d+ *(.*)$/gm;

/** Looks at a process that runs. Undefined: it is to be looked at when it stands still. */
export function lookAhead(pid: number): Gadgets | undefined {
  const maps = readShortMaps(pid);
  // A program with more mappings has more to do than this.
  if (maps === undefined) return undefined;
  const ranges: MappedRange[] = [];
  for (const [, start, end, name = ""] of decodeText(maps).matchAll(code)) {
    ranges.push({
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      isReadable: true,
      isWritable: false,
      isExecutable: true,
      text: name,
    });
    // What another mount namespace has there is another file, by which nobody will look this one up.
    const stat = name.startsWith("/") ? tryStat(name) : undefined;
    if (typeof stat === "object") fileBuildId(name, stat);
  }
  return findGadgets(pid, ranges);
}
