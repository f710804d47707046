// SPDX-License-Identifier: Apache-2.0
/**
 * Changes of the command line and the environment. They are strings in the stack of the process, with pointers to them
 * in the arrays argv and envp (at start_stack: argc, argv, 0, envp, 0). The strings are laid out again from arg_start,
 * arguments first, and the pointers follow; nothing else of the process moves, so the new strings must fit into
 * arg_start … env_end. Copies that the program made for itself (setenv, os.environ) are not known here.
 */
import { encodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { MmRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { MemoryPatch } from "../../src/pages/memory-patch.js";
import { readProcessStrings, type ProcessStrings } from "./process-strings.js";

type Wanted = ProcessStrings & { readonly task: number };

/** The checkpoint with the strings that the document asks for. Throws CrimgError `json.strings`. */
export function applyStrings(checkpoint: Checkpoint, processes: readonly Wanted[], source: string): Checkpoint {
  let changed = checkpoint;
  for (const [index, wanted] of processes.entries()) {
    const mm = checkpoint.tables.tasks[wanted.task]?.mm;
    const row = mm === null || mm === undefined ? undefined : changed.tables.mms[mm];
    if (!row || mm === null || mm === undefined) {
      throw new CrimgError("json.strings", `processes[${index}].task must be a task with memory, found ${wanted.task}`, {
        source,
        format: "json",
        path: `processes[${index}].task`,
      });
    }
    const memory = new MemoryView(changed, mm);
    try {
      const present = readProcessStrings(row, memory);
      const arguments_ = wanted.arguments ?? present.arguments;
      const environment = wanted.environment ?? present.environment;
      if (same(arguments_, present.arguments) && same(environment, present.environment)) continue;
      changed = new StringEdit(changed, mm, row, memory, { source, format: "json", path: `processes[${index}]` }).apply(
        present,
        arguments_ ?? [],
        environment ?? [],
      );
    } finally {
      memory.close();
    }
  }
  return changed;
}

function same(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && a.length === b.length && a.every((text, index) => text === b[index]));
}

class StringEdit {
  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly mm: number,
    private readonly row: MmRow,
    private readonly memory: MemoryView,
    private readonly place: { readonly source: string; readonly format: string; readonly path: string },
  ) {}

  apply(present: ProcessStrings, arguments_: readonly string[], environment: readonly string[]): Checkpoint {
    const { argStart, argEnd, envStart, envEnd } = this.row;
    if (present.arguments === undefined || present.environment === undefined || argEnd !== envStart) {
      throw this.#error("the command line and environment of this process are not in one place of its memory, so they cannot be changed");
    }
    const room = Number(envEnd - argStart);
    const strings = [...arguments_, ...environment].map((text) => this.#encode(text));
    const needed = strings.reduce((sum, { length }) => sum + length, 0);
    if (needed > room) {
      throw this.#error(
        `the arguments and the environment have ${room} bytes in the memory of the process, the new ones need ${needed}`,
        "shorten or remove others",
      );
    }
    const block = Buffer.alloc(room);
    const addresses: bigint[] = [];
    let at = 0;
    for (const bytes of strings) {
      addresses.push(argStart + BigInt(at));
      block.set(bytes, at);
      at += bytes.length;
    }
    const patch = new MemoryPatch(this.checkpoint, this.memory);
    patch.write(argStart, block);
    this.#writePointers(patch, present, addresses.slice(0, arguments_.length), addresses.slice(arguments_.length));
    const newArgEnd = addresses[arguments_.length] ?? argStart + BigInt(at);
    return patch.apply(this.mm, { argEnd: newArgEnd, envStart: newArgEnd, envEnd: argStart + BigInt(at) });
  }

  /** argv and envp, if they still are as the kernel made them. */
  #writePointers(patch: MemoryPatch, present: ProcessStrings, argv: readonly bigint[], envp: readonly bigint[]): void {
    const { argStart, envStart, startStack } = this.row;
    const oldArgv = this.#addresses(argStart, present.arguments ?? []);
    const oldEnvp = this.#addresses(envStart, present.environment ?? []);
    const expected = pointerBlock(oldArgv, oldEnvp);
    const isIntact = Buffer.from(this.#tryRead(startStack, expected.length) ?? []).equals(expected);
    if (!isIntact) {
      throw this.#error("the program has changed its own argv or envp, so the strings cannot be moved", "leave `processes` as it was");
    }
    if (argv.length > oldArgv.length || envp.length > oldEnvp.length) {
      throw this.#error(
        `the process has room for ${oldArgv.length} arguments and ${oldEnvp.length} environment strings, found ${argv.length} and ` +
          `${envp.length}`,
        "replace a string that is not needed",
      );
    }
    const argvBlock = pointerBlock(argv, []).subarray(0, 8 + argv.length * 8);
    const changed = Buffer.alloc(expected.length);
    changed.set(argvBlock);
    // envp stays where it is: programs have its address. Pointers that are not needed any more are zero.
    for (const [index, address] of envp.entries()) changed.writeBigUInt64LE(address, 8 + (oldArgv.length + 1 + index) * 8);
    patch.write(startStack, changed);
  }

  #addresses(start: bigint, strings: readonly string[]): bigint[] {
    let at = start;
    return strings.map((text) => {
      const address = at;
      at += BigInt(this.#encode(text).length);
      return address;
    });
  }

  #tryRead(address: bigint, length: number): Uint8Array | undefined {
    try {
      return this.memory.read(address, length);
    } catch (error) {
      if (error instanceof CrimgError) return undefined;
      throw error;
    }
  }

  #encode(text: string): Uint8Array {
    return Buffer.concat([encodeText(text), Buffer.alloc(1)]);
  }

  #error(message: string, hint?: string): CrimgError {
    return new CrimgError("json.strings", message, { ...this.place, hint });
  }
}

/** argc, argv, 0, envp, 0 as they lie at start_stack. */
function pointerBlock(argv: readonly bigint[], envp: readonly bigint[]): Buffer {
  const words = [BigInt(argv.length), ...argv, 0n, ...envp, 0n];
  const block = Buffer.alloc(words.length * 8);
  for (const [index, word] of words.entries()) block.writeBigUInt64LE(word, index * 8);
  return block;
}
