// SPDX-License-Identifier: Apache-2.0
/** Sections about the content of memory: mem, strings, grep. They read pages, a piece at a time. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { JsonValue } from "../../errors/json.js";
import { MemoryView, type MemoryRun } from "../../pages/memory-view.js";
import type { Block } from "./document.js";
import { type Scope, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

const defaultLength = 256;
const maxLength = 1 << 20;
/** More lines than this say little to people, and scripts get to know that there are more. */
const maxFound = 100_000;
const pieceLength = 1 << 20;
/** A string that goes on over a piece's end is put together up to this length. */
const longest = 4096;

function usage(message: string, expected: string): CrimgError {
  return new CrimgError("usage.bad", message, { expected });
}

/** The process whose memory is meant, and its address space. */
function oneTask({ checkpoint, tasks }: Scope): { readonly task: number; readonly mm: number } {
  for (const task of tasks) {
    const mm = checkpoint.tables.tasks[task]?.mm ?? null;
    if (mm !== null) return { task, mm };
  }
  throw new CrimgError("show.no-memory", "there is no process with memory to show");
}

function addressOf(scope: Scope, task: number, text: string): bigint {
  const thread = scope.checkpoint.tables.threads[scope.checkpoint.threadsOf(task)[0] ?? -1];
  if (thread !== undefined && (text === "sp" || text === "ip")) return thread.regs[text];
  if (/^(0x)?[0-9a-f]{1,16}$/i.test(text)) return BigInt(text.startsWith("0x") ? text : `0x${text}`);
  throw usage(`mem ${text}: not an address`, "hexadecimal, or sp or ip (of the first thread)");
}

/** `mem ADDR[:LEN]`: bytes in hexadecimal and as text. */
export function mem(scope: Scope, operand: string | undefined): Section {
  if (operand === undefined) throw usage("mem needs an address: crimg show IMAGE mem ADDR[:LEN]", "such as 7ffd12345000:64 or sp");
  const { task, mm } = oneTask(scope);
  const [at = "", lengthText] = operand.split(":");
  const length = lengthText === undefined ? defaultLength : Number(lengthText);
  if (!Number.isInteger(length) || length < 1 || length > maxLength) throw usage(`mem ${operand}: not a length`, `1 to ${maxLength} bytes`);
  const address = addressOf(scope, task, at);
  const view = new MemoryView(scope.checkpoint, mm);
  try {
    const vma = view.vmaAt(address);
    // A default length ends with the mapping.
    const end = lengthText === undefined && vma !== undefined && vma.end < address + BigInt(length) ? vma.end : address + BigInt(length);
    const bytes = view.read(address, Number(end - address));
    const lines: string[] = [];
    for (let offset = 0; offset < bytes.length; offset += 16) {
      const part = bytes.subarray(offset, offset + 16);
      const hex = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
      const text = Array.from(part, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
      const left = hex.slice(0, 8).join(" ").padEnd(23);
      lines.push(
        `${(address + BigInt(offset)).toString(16).padStart(12, "0")}  ${left}  ${hex.slice(8).join(" ").padEnd(23)}  ${text.join("")}`,
      );
    }
    const values = [{ address: `0x${address.toString(16)}`, length: bytes.length, bytes: Buffer.from(bytes).toString("base64") }];
    return { blocks: [{ heading: taskTitle(scope, task), lines }], selected: {}, values };
  } finally {
    view.close();
  }
}

/** Runs with content of their own: stored ones. Clean file pages are the files' business, zeros nobody's. */
function* storedRuns(scope: Scope, mm: number, view: MemoryView): Generator<MemoryRun> {
  const vmas = scope.checkpoint.vmasOf(mm).map((index) => scope.checkpoint.tables.vmas[index]);
  const [first, last] = [vmas[0], vmas.at(-1)];
  if (first === undefined || last === undefined) return;
  for (const run of view.runs(first.start, last.end)) if (run.origin.kind === "stored") yield run;
}

interface Found {
  readonly pid: number;
  readonly address: bigint;
  readonly text: string;
}

/** Printable runs of stored memory, as strings(1) finds them, across the borders of pieces. */
function* stringsOf(scope: Scope, task: number, mm: number, least: number): Generator<Found> {
  const pid = scope.checkpoint.tables.tasks[task]?.pid ?? 0;
  const view = new MemoryView(scope.checkpoint, mm);
  const buffer = new Uint8Array(pieceLength);
  try {
    let text = "";
    let start = 0n;
    let expected = -1n;
    const finish = (): Found | undefined => {
      const found = text.length >= least ? { pid, address: start, text } : undefined;
      text = "";
      return found;
    };
    for (const run of storedRuns(scope, mm, view)) {
      for (let done = 0n; done < run.length; ) {
        const length = run.length - done < BigInt(pieceLength) ? Number(run.length - done) : pieceLength;
        const address = run.address + done;
        if (address !== expected) {
          const found = finish();
          if (found) yield found;
        }
        const part = buffer.subarray(0, length);
        view.readInto(address, part);
        for (let index = 0; index < length; index++) {
          const byte = part[index] ?? 0;
          if ((byte >= 0x20 && byte < 0x7f) || byte === 9) {
            if (text === "") start = address + BigInt(index);
            text += String.fromCharCode(byte);
            if (text.length < longest) continue;
          }
          if (text === "") continue;
          const found = finish();
          if (found) yield found;
        }
        done += BigInt(length);
        expected = address + BigInt(length);
      }
    }
    const found = finish();
    if (found) yield found;
  } finally {
    view.close();
  }
}

function search(scope: Scope, least: number, isWanted: (found: Found) => boolean): Section {
  const seen = new Set<number>();
  const blocks: Block[] = [];
  const values: JsonValue[] = [];
  let isCutOff = false;
  for (const task of scope.tasks) {
    const mm = scope.checkpoint.tables.tasks[task]?.mm ?? null;
    if (mm === null || seen.has(mm)) continue;
    seen.add(mm);
    const lines: string[] = [];
    for (const found of stringsOf(scope, task, mm, least)) {
      if (!isWanted(found)) continue;
      if (values.length === maxFound) {
        isCutOff = true;
        break;
      }
      lines.push(`${found.address.toString(16).padStart(12, "0")}  ${found.text}`);
      values.push({ pid: found.pid, address: `0x${found.address.toString(16)}`, text: found.text });
    }
    if (lines.length > 0) blocks.push({ heading: taskTitle(scope, task), lines });
  }
  if (isCutOff) blocks.push({ lines: [`… the first ${maxFound}; grep, or --pid, finds the rest`] });
  return { blocks: blocks.length > 0 ? blocks : [{ lines: ["nothing found"] }], selected: {}, values, found: values.length };
}

/** `strings [N]`: printable text of at least N (4) characters in stored pages. */
export function strings(scope: Scope, operand: string | undefined): Section {
  const least = operand === undefined ? 4 : Number(operand);
  if (!Number.isInteger(least) || least < 1) throw usage(`strings ${operand}: not a length`, "a number of characters");
  return search(scope, least, () => true);
}

/** `grep REGEX`: text in stored pages that matches. */
export function grep(scope: Scope, operand: string | undefined): Section {
  if (operand === undefined) throw usage("grep needs a regular expression: crimg show IMAGE grep REGEX", "as JavaScript has them");
  let pattern: RegExp;
  try {
    pattern = new RegExp(operand, "u");
  } catch (error) {
    throw usage(`grep: ${error instanceof Error ? error.message : String(error)}`, "a regular expression as JavaScript has them");
  }
  return search(scope, 1, ({ text }) => pattern.test(text));
}
