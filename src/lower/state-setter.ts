// SPDX-License-Identifier: Apache-2.0
/** Sets the rows of src/state: their calls become ops of the thread that the state is of. */
import { type Setting, type SettingArgument, type SettingOptions, threadId } from "../state/setting.js";
import type { AnyState, Phase } from "../state/state.js";
import { statesOfMm, statesOfTask, statesOfThread } from "../state/states.js";
import type { SyscallName } from "../linux/syscall-numbers.js";
import { AT, O } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Arg } from "./operands.js";

/** Ops of a thread that sets its states. */
class OpSetting implements Setting {
  readonly taskName: string;

  constructor(
    private readonly l: Lowering,
    task: number,
    readonly isLeader: boolean,
    private readonly tid: Arg = 0,
  ) {
    this.taskName = l.taskName(task);
  }

  call(name: SyscallName, args: readonly SettingArgument[], { mayFail, tolerates, ...words }: SettingOptions = {}): void {
    const { builder: b } = this.l;
    const operands = args.map((argument) => this.#operand(argument));
    if (tolerates === undefined) {
      b.syscall(name, operands, mayFail === true ? { expect: "any" } : words);
      return;
    }
    const result = b.slot(`result of ${name}`);
    const isSet = b.label(`${name} has its way`);
    b.syscall(name, operands, { ...words, store: result, expect: [0, -tolerates.errno] });
    b.jumpIf(result, "eq", 0, isSet);
    if (tolerates.says !== undefined) b.print(tolerates.says);
    b.place(isSet);
  }

  file(name: string, value: string, { hint }: SettingOptions = {}): void {
    const { builder: b } = this.l;
    const fd = b.slot(`fd of ${name}`);
    const message = `set ${name} to ${value}`;
    b.syscall("openat", [AT.fdcwd, b.string(`/proc/self/${name}`), O.wronly | O.cloexec, 0], { store: fd, message });
    b.syscall("write", [fd, b.string(value), value.length], { message, ...(hint === undefined ? {} : { hint }) });
    b.syscall("close", [fd], { message });
  }

  changeFile(name: string, value: string, says?: string): void {
    const { builder: b } = this.l;
    const fd = b.slot(`fd of ${name}`);
    const result = b.slot(`result of writing ${name}`);
    const found = b.buffer(16);
    const wanted = Buffer.alloc(16);
    wanted.write(value, "latin1");
    const message = `set ${name} to ${value}`;
    const done = b.label(`${name} is ${value}`);
    const differs = b.label(`${name} is another`);
    b.syscall("openat", [AT.fdcwd, b.string(`/proc/self/${name}`), O.rdwr | O.cloexec, 0], { store: fd, orElse: done });
    // Only at its begin may it be written.
    b.syscall("pread64", [fd, found, 15, 0], { expect: "any" });
    const same = b.label(`${name} stays`);
    b.compute(result, "move", 0);
    b.compare(found, b.bytes(wanted), wanted.length, { orElse: differs });
    b.jump(same);
    b.place(differs);
    b.syscall("write", [fd, b.string(value), value.length], { store: result, expect: "any" });
    b.place(same);
    b.syscall("close", [fd], { message });
    if (says !== undefined) {
      b.jumpIf(this.l.isNamespaced, "ne", 0, done);
      b.jumpIf(result, "ge", 0, done);
      b.print(says);
    }
    b.place(done);
  }

  #operand(argument: SettingArgument): Arg {
    if (argument === threadId) return this.tid;
    if (typeof argument === "string") return this.l.builder.string(argument);
    return argument instanceof Uint8Array ? this.l.builder.bytes(argument) : argument;
  }
}

/** Calls a state needs, without making them. */
class Count implements Setting {
  readonly taskName = "";
  readonly isLeader = true;
  calls = 0;

  call(): void {
    this.calls++;
  }

  file(): void {
    this.calls++;
  }

  changeFile(): void {
    this.calls++;
  }
}

function setAll<Row>(setting: Setting, states: Readonly<Record<string, AnyState<Row>>>, phase: Phase, row: Row): void {
  for (const state of Object.values(states)) if (state.phase === phase) state.set(setting, row);
}

function setTaskAndMm(l: Lowering, setting: Setting, phase: Phase, task: number): void {
  const row = l.task(task);
  const mm = row.mm === null ? undefined : l.checkpoint.tables.mms[row.mm];
  setAll(setting, statesOfTask, phase, row);
  if (mm !== undefined) setAll(setting, statesOfMm, phase, mm);
}

/** Ops of a process: those of its states that are set in a phase. */
export function setTaskStates(l: Lowering, phase: Phase, task: number): void {
  setTaskAndMm(l, new OpSetting(l, task, true), phase, task);
}

/** Ops of a thread: those of its states that are set in a phase. */
export function setThreadStates(l: Lowering, phase: Phase, thread: number): void {
  const row = l.thread(thread);
  const isLeader = l.checkpoint.threadsOf(row.task)[0] === thread;
  setAll(new OpSetting(l, row.task, isLeader, l.threadShared(thread).u4), statesOfThread, phase, row);
}

/** Whether a process has anything to set in a phase. */
export function hasTaskStates(l: Lowering, phase: Phase, task: number): boolean {
  const count = new Count();
  setTaskAndMm(l, count, phase, task);
  return count.calls > 0;
}
