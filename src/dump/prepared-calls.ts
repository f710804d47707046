// SPDX-License-Identifier: Apache-2.0
/** Calls that a thread has made already, for the collectors that ask for them. Each is an answer once: what is asked again is asked. */
import type { SyscallName } from "../linux/syscall-numbers.js";
import type { InjectedAnswers, InjectedCall, InjectedList } from "../native/index.js";
import type { AskedArgument } from "../state/asking.js";

/** Lists, and what came of them in one thread, which is `row` in the answers. */
export interface MadeLists {
  readonly lists: readonly InjectedList[];
  readonly answers: readonly InjectedAnswers[];
}

type Argument = InjectedCall["args"][number];

function isSame(made: Argument, asked: AskedArgument): boolean {
  if (typeof made !== "object") {
    if (typeof asked === "object") return false;
    return typeof made === typeof asked ? made === asked : BigInt(made) === BigInt(asked);
  }
  if (typeof asked !== "object") return false;
  if ("in" in made) return "in" in asked && Buffer.from(made.in).equals(asked.in);
  return "out" in asked && asked.out.length === made.room;
}

function isSameCall(made: InjectedCall, name: SyscallName, args: readonly AskedArgument[]): boolean {
  return made.name === name && made.args.length === args.length && made.args.every((one, index) => isSame(one, args[index] ?? 0));
}

export class PreparedCalls {
  #list = 0;
  #call = 0;
  readonly #taken: Uint8Array[];

  constructor(
    private readonly made: MadeLists,
    private readonly row: number,
  ) {
    this.#taken = made.lists.map(({ calls }) => new Uint8Array(calls.length));
  }

  /** The result of such a call, with what it stored put where it is wanted; undefined if none was made. */
  take(name: SyscallName, args: readonly AskedArgument[]): bigint | undefined {
    const { lists, answers } = this.made;
    // They are asked in the order in which they were noted.
    for (let tries = 0; tries <= lists.length; tries++) {
      const list = lists[this.#list];
      const taken = this.#taken[this.#list];
      if (list === undefined || taken === undefined) return undefined;
      const found = this.#find(list.calls, taken, name, args);
      if (found >= 0) {
        taken[found] = 1;
        this.#call = found + 1;
        return this.#answer(answers[this.#list] as InjectedAnswers, found, args);
      }
      this.#list = (this.#list + 1) % lists.length;
      this.#call = 0;
    }
    return undefined;
  }

  /** As `take`, but it stays to be taken. */
  peek(name: SyscallName, args: readonly AskedArgument[]): bigint | undefined {
    for (const [index, list] of this.made.lists.entries()) {
      const call = list.calls.findIndex((one) => isSameCall(one, name, args));
      if (call >= 0) return this.#answer(this.made.answers[index] as InjectedAnswers, call, args);
    }
    return undefined;
  }

  #find(calls: readonly InjectedCall[], taken: Uint8Array, name: SyscallName, args: readonly AskedArgument[]): number {
    for (let offset = 0; offset < calls.length; offset++) {
      const at = (this.#call + offset) % calls.length;
      if (taken[at] === 0 && isSameCall(calls[at] as InjectedCall, name, args)) return at;
    }
    return -1;
  }

  #answer(answers: InjectedAnswers, call: number, args: readonly AskedArgument[]): bigint {
    const result = answers.result(this.row, call);
    let which = 0;
    for (const argument of args) {
      if (typeof argument !== "object" || !("out" in argument)) continue;
      if (result >= 0n || result < -4095n) argument.out.set(answers.stored(this.row, call, which));
      which++;
    }
    return result;
  }
}
