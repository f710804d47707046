// SPDX-License-Identifier: Apache-2.0
/**
 * Has the threads of a frozen process make the calls of the plan, a list in one go. Where that is not to be had (no signal
 * that the process ignores, no room for a page), nothing is prepared, and each call is injected when it is asked for.
 */
import {
  type AloneProcess,
  failed,
  type InjectedAnswers,
  type InjectedList,
  type InjectionPlace,
  peekSiginfo,
  stopRow,
  writeStop,
  SysError,
  XstateArena,
} from "../native/index.js";
import type { FrozenProcess, FrozenThread } from "./freeze.js";
import type { MappedRange } from "./gadgets.js";
import type { InjectionSite, Injector } from "./injector.js";
import { drivesFrom } from "./pin.js";
import { type MadeLists, PreparedCalls } from "./prepared-calls.js";
import type { StatusFields } from "./procfs.js";
import { restartedBy } from "./restart.js";
import type { DumpPlan } from "./plan.js";
import type { ThreadFacts } from "./thread-facts.js";

/** Signals that are ignored where a program has no handler for them: SIGURG, SIGWINCH, SIGCHLD. */
const ignoredSignals = [23, 28, 17];
/** Lowest address that a program may map (vm.mmap_min_addr), and where the kernel puts nothing by itself. */
const lowestAddress = 0x10000n;
const pageLength = 0x1000n;

/** Answers that a thread is only busy or short of room: it is asked call by call instead. −ENOSPC, −EBUSY, −E2BIG, −EFAULT. */
const notHere: ReadonlySet<number> = new Set([-28, -16, -7, -14]);

/** What the threads of a process have been asked. */
export class ListsMade {
  readonly #first: PreparedCalls | undefined;
  readonly #others: readonly InjectedAnswers[];

  constructor(
    private readonly process: FrozenProcess,
    private readonly plan: DumpPlan,
    private readonly first: MadeLists,
    private readonly firstRow: number,
    others: readonly InjectedAnswers[],
    private readonly rows: ReadonlyMap<number, number>,
  ) {
    this.#first = first.answers.length === 0 ? undefined : new PreparedCalls(first, firstRow);
    this.#others = others;
  }

  /** Those of one thread; undefined if it has not made them. */
  of({ tid }: Pick<FrozenThread, "tid">): PreparedCalls | undefined {
    if (tid === this.process.pid) return this.#first;
    const row = this.rows.get(tid);
    if (row === undefined || this.#others.length === 0 || this.#others.some((answers) => answers.status(row) !== 0)) return undefined;
    return new PreparedCalls({ lists: this.plan.calls, answers: this.#others }, row);
  }

  /** Extended state of a thread, without zeros at its end; undefined if it was not taken. */
  xstate({ tid }: Pick<FrozenThread, "tid">): Buffer | undefined {
    if (tid === this.process.pid) return this.first.answers[0]?.xstate(this.firstRow);
    const row = this.rows.get(tid);
    return row === undefined ? undefined : this.#others[0]?.xstate(row);
  }
}

/** The first signal that stops a thread without consequences, should crimg die. */
function stopSignal(status: StatusFields | undefined): number | undefined {
  if (status === undefined) return undefined;
  const caught = BigInt(`0x${status.get("SigCgt") ?? "0"}`);
  return ignoredSignals.find((signal) => (caught & (1n << BigInt(signal - 1))) === 0n);
}

/** A free page below everything. */
function freePage(ranges: readonly MappedRange[]): bigint | undefined {
  const first = ranges[0]?.start ?? 0n;
  return first >= lowestAddress + pageLength ? lowestAddress : undefined;
}

interface Rows {
  readonly orders: Int32Array;
  readonly stops: Buffer;
}

/** Threads in the order of their processors, with what is known of each. */
function rowsOf(threads: readonly FrozenThread[], facts: ThreadFacts | undefined): Rows {
  const stops = Buffer.alloc(threads.length * stopRow.length);
  const rows = threads.map((thread, row) => {
    writeStop(stops, row, thread);
    return [row, thread.tid, restartedBy(thread), facts?.processorOf(thread) ?? -1] as const;
  });
  return { orders: Int32Array.from(rows.sort((a, b) => a[3] - b[3]).flat()), stops };
}

/** What the only thread of a process needs to make its calls; undefined if there are others, or it cannot. */
function aloneProcess(process: FrozenProcess, { gadgets, ranges, writable }: InjectionSite, facts: ThreadFacts): AloneProcess | undefined {
  const [first, ...others] = process.threads;
  const address = freePage(ranges);
  if (first === undefined || others.length > 0 || address === undefined || !gadgets.returns || gadgets.restorer === 0n) return undefined;
  const signal = stopSignal(facts.of(first)?.status);
  if (signal === undefined) return undefined;
  const { syscall, restorer } = gadgets;
  const { pid, regs, sigmask } = first;
  return { pid, syscall, restorer, stub: address, signal, ranges: writable, regs, sigmask, restarted: restartedBy(first) };
}

/**
 * Runs the list of the plan in all processes that have only one thread, at the same time. What of them could not make it here
 * is left to `runLists`: undefined.
 */
export function runListsAlone(
  plan: DumpPlan,
  processes: readonly { readonly frozen: FrozenProcess; readonly site: InjectionSite; readonly facts: ThreadFacts }[],
): (ListsMade | undefined)[] {
  const asked = processes.map(({ frozen, site, facts }) => aloneProcess(frozen, site, facts));
  const made = plan.aloneCalls.injectAlone(asked.filter((one) => one !== undefined));
  // All signals are noted before anything can fail.
  let next = 0;
  const answered = processes.map(({ frozen }, index) => {
    const one = asked[index] === undefined ? undefined : made[next++];
    if (one !== undefined) frozen.threads[0]?.owedSignals.push(...one.answers.owed(one.row));
    return one;
  });
  return answered.map((one, index) => {
    const frozen = processes[index]?.frozen;
    const thread = frozen?.threads[0];
    if (one === undefined || frozen === undefined || thread === undefined) return undefined;
    const status = one.answers.status(one.row);
    if (one.answers.isOnItsWay(one.row)) throw new SysError("calls in a thread", -status, `thread ${thread.tid}`);
    if (!isGood(status, thread)) return undefined;
    return new ListsMade(frozen, plan, { lists: [plan.aloneCalls], answers: [one.answers] }, one.row, [], new Map());
  });
}

/** Runs the lists of the plan in all threads of a process. `leader` runs calls in the first of them, and none yet. */
export function runLists(
  process: FrozenProcess,
  plan: DumpPlan,
  leader: Injector,
  { gadgets, ranges, writable }: InjectionSite,
  facts: ThreadFacts,
): ListsMade | undefined {
  const [first, ...others] = process.threads;
  const signal = first === undefined ? undefined : stopSignal(facts.of(first)?.status);
  const address = freePage(ranges);
  if (first === undefined || signal === undefined || address === undefined || !leader.canHeal) return undefined;
  // It would come as soon as the mask is another.
  if (peekSiginfo(process.pid, true).length > 0) return undefined;
  const mapped = leader.mapStub(address);
  if (mapped === undefined) return undefined;
  drivesFrom();
  const place: InjectionPlace = {
    pid: process.pid,
    syscall: gadgets.syscall,
    restorer: gadgets.restorer,
    stub: address,
    counter: mapped.counter,
    signal,
    ranges: writable.length > 0 ? writable : new BigInt64Array(2),
  };
  const run = (list: InjectedList, rows: Rows, where: InjectionPlace, arena: XstateArena): InjectedAnswers =>
    list.inject(where, rows.orders, rows.stops, arena);
  const ofFirst: InjectedAnswers[] = [];
  const firstRows = rowsOf([first], facts);
  let isFirstDone = true;
  for (const list of plan.firstCalls) {
    const answers = run(list, firstRows, { ...place, first: mapped }, new XstateArena(1));
    leader.noteList(answers.owed(0), answers.isOnItsWay(0));
    isFirstDone = isGood(answers.status(0), first);
    if (!isFirstDone) break;
    ofFirst.push(answers);
  }
  const ofOthers: InjectedAnswers[] = [];
  if (isFirstDone && others.length > 0) {
    const rows = rowsOf(others, facts);
    const arena = new XstateArena(others.length * plan.calls.length);
    for (const list of plan.calls) {
      const answers = run(list, rows, place, arena);
      others.forEach((thread, row) => {
        thread.owedSignals.push(...answers.owed(row));
        isGood(answers.status(row), thread);
      });
      ofOthers.push(answers);
    }
  }
  leader.unmapStub();
  const made = { lists: plan.firstCalls, answers: isFirstDone ? ofFirst : [] };
  return new ListsMade(process, plan, made, 0, ofOthers, new Map(others.map(({ tid }, row) => [tid, row])));
}

/** Whether a thread has made its calls; false if it cannot here. */
function isGood(status: number, { tid }: FrozenThread): boolean {
  if (failed(status) && !notHere.has(status)) throw new SysError("calls in a thread", -status, `thread ${tid}`);
  return status === 0;
}
