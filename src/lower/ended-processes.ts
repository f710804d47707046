// SPDX-License-Identifier: Apache-2.0
/**
 * Files and directories of /proc that told of a process which is gone. A process of that id is made for the moment: they
 * are opened while it is there, entered (which the kernel allows only then), and it ends when every task has its place.
 */
import type { ObjectRow } from "../gen/tables.js";
import { AT, O, PR, SIG, WAIT } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Slot } from "./operands.js";

export class EndedProcesses {
  readonly #made = new Map<number, Slot>();

  constructor(private readonly l: Lowering) {}

  /** Whether `finish` has something to do. */
  get isUsed(): boolean {
    return this.#made.size > 0;
  }

  /** Ops of the first process, before the tree is made. */
  open({ path }: ObjectRow, flags: number, purpose: string): Slot {
    const { builder: b } = this.l;
    const pid = Number(/^\/proc\/(\d+)/.exec(path)?.[1] ?? 0);
    if (!this.#made.has(pid)) this.#made.set(pid, this.#make(pid));
    const slot = b.slot(`fd of ${path} (deleted)`);
    b.syscall("openat", [AT.fdcwd, b.string(path), flags | O.cloexec, 0], {
      store: slot,
      message: `open ${path}, of a process that is gone, ${purpose}`,
      hint: "--pid same or namespace gives processes their old ids",
    });
    this.l.keepHigh(slot);
    return slot;
  }

  #make(pid: number): Slot {
    const { l } = this;
    const b = l.builder;
    const [child, after] = [b.label(`stand-in ${pid}`), b.label(`after stand-in ${pid}`)];
    const shared = b.endingPid(`stand-in for ${pid}`);
    const result = b.slot(`pid of stand-in ${pid}`);
    l.processes.fork(
      { pid, flags: 0, exitSignal: this.l.own === undefined ? SIG.chld : 0, shared, what: `a stand-in for process ${pid}, which is gone` },
      child,
    );
    b.compute(result, "move", shared.u4);
    b.jump(after);
    b.place(child);
    b.about(`stand-in for ${pid}`, () => {
      b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0]);
      b.wait(l.descriptorsPlaced, this.#living);
      b.syscall("exit_group", [0]);
    });
    b.place(after);
    return result;
  }

  /** Ops of the first process when every task stands in its directory; of the root, where that has made them. */
  finish(): void {
    const { builder: b } = this.l;
    for (const [pid, result] of this.#made) {
      b.syscall("wait4", [result, 0, WAIT.wall, 0], { message: `reap the stand-in for process ${pid}, which is gone` });
    }
  }

  get #living(): number {
    return this.l.checkpoint.tables.tasks.filter((task) => task.state !== "zombie").length;
  }
}
