// SPDX-License-Identifier: Apache-2.0
/**
 * Damaged and hostile images executed. Damage (any byte that is not a page of the program, a cut, bytes missing) must end
 * in a clear message or a proper resume. A program that was made to do harm, with a right checksum, may do what any
 * executable may; what is looked at is that nothing survives its first process.
 */
import { Random } from "../fuzz/random.js";
import { mutate } from "../fuzz/mutate.js";
import { inTurns } from "./in-turns.js";
import type { Jail, Verdict } from "./jail.js";
import { type Resumable, mendChecksum, wholeStatus, withImage } from "./resumable.js";

export type Ending =
  /** One message, status 125 to 127. */
  | "told"
  /** As if nothing had been changed. */
  | "resumed"
  /** execve itself said no, or, the ELF header being wrong, the kernel killed while it loaded. */
  | "kernel"
  /** Anything else, the damage being in the interpreter, which can look at itself only if what looks is whole. */
  | "code"
  /** The first process died of a signal and said nothing. */
  | "signal"
  /** Had to be killed. */
  | "late"
  /** Another exit status. */
  | "other";

export interface HostileResult {
  readonly tried: number;
  readonly endings: Readonly<Record<Ending, number>>;
  /** Processes left when the first one had ended. */
  readonly survivors: number;
  /** Processes left when the first one, which waited for ever, had been killed. */
  readonly leftByKill: number;
  readonly examples: readonly string[];
}

const patience = 5000;
const maxExamples = 20;

/**
 * damage: bytes changed anywhere but in pages of the program. cut: the file ends early, or bytes are missing in the midst,
 * pages too. program: ops and data changed, and the checksum made right.
 */
export const hostilities = ["damage", "cut", "program"] as const;
export type Hostility = (typeof hostilities)[number];

const interpreterStart = 4096;

/** A changed copy, and where the first change lies. */
function changed(image: Resumable, kind: Hostility, random: Random): { readonly bytes: Buffer; readonly at: number } {
  const { bytes, pages, program } = image;
  let result: Buffer;
  if (kind === "program") {
    const part = bytes.subarray(program.start, program.end);
    const ops = { start: Number(image.header.ofsOps), end: Number(image.header.ofsData) };
    let inner = mutate(part, [ops, ops, { start: 0, end: ops.start }, { start: ops.end, end: part.length }], random);
    while (inner.length !== part.length) inner = mutate(part, [ops], random);
    result = Buffer.concat([bytes.subarray(0, program.start), inner, bytes.subarray(program.end)]);
    mendChecksum(result, image);
  } else if (kind === "cut") {
    const at = random.below(bytes.length);
    const missing = 1 + random.below(random.chance(50) ? 64 : bytes.length - at);
    result = random.chance(50)
      ? bytes.subarray(0, at)
      : Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + missing))]);
  } else {
    // Pages of the program are its memory: another byte there is another state, which nobody can tell from a right one.
    const front = { start: 0, end: pages.start };
    const back = { start: pages.end, end: bytes.length };
    do result = mutate(bytes, [front, { start: 0, end: 512 }, back, program], random);
    while (result.length !== bytes.length || result.subarray(pages.start, pages.end).compare(bytes, pages.start, pages.end) !== 0);
  }
  let at = 0;
  while (at < result.length && result[at] === bytes[at]) at += 1;
  return { bytes: result, at };
}

function endingOf(image: Resumable, { how, number, stderr }: Verdict, at: number): Ending {
  if (how === "refused") return "kernel";
  if (how === "exit" && number === wholeStatus) return "resumed";
  if (how === "exit" && number >= 125 && number <= 127 && stderr.startsWith("crimg: ")) return "told";
  // Where the ELF header or the first program headers are wrong, the kernel jumps anywhere, or kills after the point of no return.
  if (how === "signal" && stderr === "" && at < interpreterStart) return "kernel";
  if (at < image.pages.start) return "code";
  return how === "signal" || how === "late" ? how : "other";
}

export async function runHostile(
  image: Resumable,
  jail: Jail,
  directory: string,
  kind: Hostility,
  count: number,
  random: Random,
): Promise<HostileResult> {
  const endings: Record<Ending, number> = { told: 0, resumed: 0, kernel: 0, code: 0, signal: 0, late: 0, other: 0 };
  const examples: string[] = [];
  let survivors = 0;
  let leftByKill = 0;
  // All changes are made in order, so that the seed gives the same whatever ends first.
  const trials = Array.from({ length: count }, () => random.bits());
  await inTurns(trials, async (seed, number) => {
    const { bytes, at } = changed(image, kind, new Random(seed));
    const verdict = await withImage(directory, `hostile-${number}.elf`, bytes, (path) => jail.run(path, "nobody", patience));
    const ending = endingOf(image, verdict, at);
    endings[ending] += 1;
    if (ending === "late") leftByKill += verdict.survivors;
    else survivors += verdict.survivors;
    const isBad = verdict.survivors > 0 || (kind !== "program" && !["told", "resumed", "kernel", "code"].includes(ending));
    if (isBad && examples.length < maxExamples) {
      examples.push(
        `${kind} seed ${seed} at ${at}: ${verdict.how} ${verdict.number}, ${verdict.survivors} survive ` +
          `${verdict.stderr.trim().slice(0, 200)}`,
      );
    }
  });
  return { tried: count, endings, survivors, leftByKill, examples };
}
