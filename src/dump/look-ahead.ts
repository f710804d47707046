// SPDX-License-Identifier: Apache-2.0
/**
 * What can be known of a program before it is frozen, and is the same or easily checked then: where its code has the
 * instructions that injected calls need, and the build-ids of the files that it has mapped.
 */
import { decodeText } from "../bytes/text.js";
import { tryStat } from "../native/index.js";
import { fileBuildId } from "./file-build-id.js";
import { findGadgets, type Gadgets, type MappedRange } from "./gadgets.js";
import { parseMapsLine } from "./maps-lines.js";
import { dumpPlan } from "./plan.js";
import { readMaps } from "./procfs.js";
import { TreeFacts } from "./tree-facts.js";

/** What lines of /proc/PID/maps have whose mapping can be executed. */
const isCode = Buffer.from(" r-xp ");

/** Bytes of maps that are looked through: a program with more mappings has more to do than that saves. */
const shortMaps = 1 << 20;

/**
 * Looks at a process that runs. Undefined: it is to be looked at when it stands still.
 * @param maps what /proc/PID/maps said a moment ago, if it is known
 */
export function lookAhead(pid: number, maps: Buffer | undefined = readMaps(pid)): Gadgets | undefined {
  if (maps === undefined || maps.length > shortMaps) return undefined;
  const ranges: MappedRange[] = [];
  for (const line of linesWith(maps, isCode)) {
    const range = parseMapsLine(line);
    // The word may be in a name.
    if (range === undefined || !range.isReadable || range.isWritable || !range.isExecutable || range.isShared) continue;
    ranges.push(range);
    // What another mount namespace has there is another file, by which nobody will look this one up.
    const stat = range.text.startsWith("/") ? tryStat(range.text) : undefined;
    if (typeof stat === "object") fileBuildId(range.text, stat);
  }
  return findGadgets(pid, ranges);
}

/**
 * Asks a process that runs what it will be asked when it stands still, and forgets it: the kernel makes what /proc shows of it at the
 * first look, which takes a third of that.
 */
export function lookOnce(pid: number): void {
  TreeFacts.begin([{ pid, threads: [{ pid, tid: pid }] }], dumpPlan(), false);
}

/** Lines that contain a word: of ten thousand few. */
function* linesWith(text: Buffer, word: Buffer): Generator<string> {
  for (let at = text.indexOf(word); at >= 0; ) {
    const end = text.indexOf(newline, at);
    yield decodeText(text.subarray(text.lastIndexOf(newline, at) + 1, end < 0 ? text.length : end));
    at = end < 0 ? -1 : text.indexOf(word, end);
  }
}

const newline = 10;
