// SPDX-License-Identifier: Apache-2.0
/**
 * Threads with directories of their own. They begin when the restore has closed what it had open, so each task keeps the
 * directories of its threads at numbers behind all others of the restore until these have gone there.
 */
import { CLONE, O } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Slot } from "./operands.js";

/** Slots of high descriptors in the first process. */
interface Opened {
  readonly cwd: Slot | undefined;
  readonly root: Slot | undefined;
}

export class ThreadDirectories {
  readonly #opened: Opened[] = [];

  constructor(private readonly l: Lowering) {}

  /** Ops of the first process. */
  open(): void {
    const { l } = this;
    for (const { thread, cwd, root } of l.checkpoint.tables.threadDirectories) {
      const { tid } = l.thread(thread);
      this.#opened.push({
        cwd: cwd === null ? undefined : l.openDirectory(cwd, `as current directory of thread ${tid}`),
        root: root === null ? undefined : l.openDirectory(root, `as root directory of thread ${tid}`),
      });
    }
  }

  /** Ops of a task before it closes what the restore had open, up to the first of these. */
  place(task: number): void {
    this.#opened.forEach(({ cwd, root }, index) => {
      if (this.l.thread(this.#row(index).thread).task !== task) return;
      for (const [slot, at] of [
        [cwd, 0],
        [root, 1],
      ] as const) {
        if (slot === undefined) continue;
        this.l.builder.syscall("dup3", [slot, this.#number(index, at), O.cloexec], { message: "keep a directory for a thread" });
      }
    });
  }

  /** Ops of the thread. */
  enter(thread: number): void {
    const { builder: b, checkpoint } = this.l;
    const index = checkpoint.tables.threadDirectories.findIndex((row) => row.thread === thread);
    const opened = this.#opened[index];
    if (opened === undefined) return;
    b.syscall("unshare", [CLONE.fs], { message: "have directories of its own" });
    if (opened.root !== undefined) {
      b.syscall("fchdir", [this.#number(index, 1)], { message: "enter the root directory" });
      b.syscall("chroot", [b.string(".")], { message: "change the root directory", hint: "resume as root" });
      b.syscall("close", [this.#number(index, 1)]);
    }
    if (opened.cwd !== undefined) {
      b.syscall("fchdir", [this.#number(index, 0)], { message: "enter the current directory" });
      b.syscall("close", [this.#number(index, 0)]);
    }
    b.syscall("umask", [this.#row(index).umask], { message: "set the umask" });
  }

  #row(index: number): Lowering["checkpoint"]["tables"]["threadDirectories"][number] {
    const row = this.l.checkpoint.tables.threadDirectories[index];
    if (row === undefined) throw new RangeError(`no directories ${index}`);
    return row;
  }

  #number(index: number, at: 0 | 1): number {
    return this.l.highFds.firstOfThreads + 2 * index + at;
  }
}
