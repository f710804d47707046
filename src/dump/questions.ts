// SPDX-License-Identifier: Apache-2.0
/**
 * What the collectors will ask, found out before anything is frozen: they run on a thread that answers nothing, and what they
 * asked is noted. Then all of it is asked of every thread in one go, and the collectors find the answers there. What depends
 * on an answer is asked when its time has come, one by one.
 */
import type { SyscallName } from "../linux/syscall-numbers.js";
import { errno, InjectedList, type InjectedCall, type Question, type QuestionArgument } from "../native/index.js";
import type { AskedArgument, Asking } from "../state/asking.js";

/** No thread has this id. */
const noThread = -0x5eed;

/** A thread that answers ENOSYS to every call and has no files. */
export class QuestionRecorder implements Asking {
  readonly tid = noThread;
  readonly name = "";
  readonly usesProtectionKeys = false;
  /** Calls that the thread is to make. */
  readonly inner: InjectedCall[] = [];
  /** Calls about the thread. `{ id: 1 }` is its id. */
  readonly outer: Extract<Question, { call: SyscallName }>[] = [];
  readonly files = new Set<string>();

  call(name: SyscallName, ...args: readonly AskedArgument[]): number {
    this.inner.push({
      name,
      args: args.map((argument) => (typeof argument === "object" && "out" in argument ? { room: argument.out.length } : argument)),
    });
    return -errno.ENOSYS;
  }

  callBig(name: SyscallName, ...args: readonly AskedArgument[]): bigint {
    return BigInt(this.call(name, ...args));
  }

  preservingRegisters<Result>(work: () => Result): Result {
    return work();
  }

  outside(name: SyscallName, ...args: readonly (number | bigint | Uint8Array | null)[]): number {
    const asked = args.map((argument): QuestionArgument => {
      if (argument === noThread) return { id: 1 };
      return argument instanceof Uint8Array ? { room: argument.length } : (argument ?? 0);
    });
    this.outer.push({ call: name, args: asked });
    return -errno.ENOSYS;
  }

  file(name: string): Uint8Array | undefined {
    this.files.add(name);
    return undefined;
  }

  status(): string | undefined {
    return undefined;
  }

  stat(): bigint {
    return 0n;
  }
}

/** Lists of injected calls that fit below a stack. */
export function listsOf(calls: readonly InjectedCall[]): InjectedList[] {
  const lists: InjectedList[] = [];
  let [part, length] = [[] as InjectedCall[], 0];
  for (const call of calls) {
    const more = InjectedList.bytesOf(call);
    if (part.length > 0 && length + more > InjectedList.maxBytes) {
      lists.push(new InjectedList(part));
      [part, length] = [[], 0];
    }
    part.push(call);
    length += more;
  }
  if (part.length > 0) lists.push(new InjectedList(part));
  return lists;
}
