// SPDX-License-Identifier: Apache-2.0
/**
 * V8 and Node told that this process, which is going to dump another, will not run for long. Not in the library, whose caller has
 * other things to do as well.
 *
 * Most functions of a small dump run once or twice. V8's first compiler takes 5 of 100 ms for those that run more often, and none
 * of them runs often enough to give that back. Where there is much the second compiler, which optimizes, takes 10 to 30 ms for
 * each of the functions that handle thousands of rows, on the second of two processors, and is mostly done with one when its loop
 * is over: without that ten thousand mappings take 300 ms in place of 360, two hundred processes 720 in place of 870. Ten thousand
 * threads take 3 % longer. And young objects get more room at once instead of little by little, each time by looking at all of them;
 * that by one thread: to wake others takes longer than to do what there is to do. Old ones are looked at when memory is short, and not
 * before: marking them little by little, while there is room, is for programs that go on.
 */
import { listChildren, procPath, readStatus } from "../dump/procfs.js";
import { setV8Flags, tryCall, tryReadInto } from "../native/index.js";

/** Nine times V8's own number of bytecodes, weighted, until a function counts as hot; see above. */
const always = "--interrupt-budget=600000 --semi-space-growth-factor=8 --no-parallel-scavenge --no-incremental-marking";
const little = "--no-sparkplug";

/** From where on functions run often: bytes of maps, threads, descriptors. */
const many = { maps: 1 << 14, threads: 32, descriptors: 1024 };

/** Left by the build in a process that makes a code cache, which has to be one of V8's own flags (tools/bundle/code-cache.mjs). */
const makesCache = Symbol.for("crimg.makes-cache");

/** To be called before most code is loaded. */
export function expectShortRun(pid: number): void {
  endAtOnce();
  if (Reflect.has(globalThis, makesCache)) return;
  setV8Flags(hasMuch(pid) ? always : `${always} ${little}`);
}

/** Node ends itself piece by piece, in up to 7 ms; the kernel does it at once. Listeners of "exit" are called before that. */
function endAtOnce(): void {
  const end: unknown = Reflect.get(process, "reallyExit");
  if (typeof end !== "function") return;
  Reflect.set(process, "reallyExit", (status: unknown) => {
    if (typeof status === "number") tryCall("exit_group", status);
    Reflect.apply(end, process, [status]);
  });
}

function hasMuch(pid: number): boolean {
  const status = readStatus(procPath(pid));
  if (status === undefined) return false;
  const atLeast = (field: string, number: number): boolean => Number(status.get(field) ?? 0) >= number;
  if (atLeast("Threads", many.threads) || atLeast("FDSize", 2 * many.descriptors)) return true;
  if ((listChildren(pid, pid)?.length ?? 0) > 0) return true;
  return tryReadInto(`${procPath(pid)}/maps`, Buffer.allocUnsafe(many.maps)) === undefined;
}
