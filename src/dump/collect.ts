// SPDX-License-Identifier: Apache-2.0
/**
 * Collects the state of a frozen tree. Nothing of the target changes that is not put back by `close`.
 *
 * Order: what can refuse without touching anything comes first; calls are injected after the mappings are known
 * (they borrow memory); timers before and after pending signals, so that one that fires meanwhile is either a timer or
 * the signal it became; page extents last.
 */
import { logStep } from "../errors/log.js";
import { type Checkpoint as CheckpointModel, Checkpoint } from "../model/checkpoint.js";
import { checkpointRow, vdsoImageRow, type ClockPolicy, type CredRow, emptyTables, type TaskRow } from "../gen/tables.js";
import { clockNs, failed, getRegset, letAnswer, regset, tryReadMemory, uname } from "../native/index.js";
import { SysError } from "../native/sys.js";
import type { SyscallName } from "../linux/syscall-numbers.js";
import type { AskedArgument } from "../state/asking.js";
import { ProcessPageSource } from "../pages/process-source.js";
import { assert64Bit } from "./admission.js";
import { imageBuildId } from "./build-id.js";
import { DumpContext, type DumpedProcess } from "./context.js";
import { isInOtherGroups, OwnGroups } from "./cgroups.js";
import { collectCgroups, type KeepCgroups } from "./cgroups-kept.js";
import { collectExtents } from "./extents.js";
import type { FrozenProcess, FrozenThread, FrozenTree } from "./freeze.js";
import { findGadgets, type Gadgets } from "./gadgets.js";
import { type InjectionSite, Injector, type ThreadCalls } from "./injector.js";
import { beginMemoryPolicies, collectMemoryPolicies, policiesTold } from "./memory-policies.js";
import { collectMm } from "./mm.js";
import { checkNamespaces } from "./namespaces/check.js";
import { collectNamespaces } from "./namespaces/collect.js";
import { takeIdsInside } from "./namespaces/ids.js";
import { collectObjectContents, type MappedProcess } from "./object-contents.js";
import { type EarlyMappings, StaleMappings } from "./early-mappings.js";
import { checkKeyrings } from "./keyrings.js";
import { beginSnapshot, forkSource, type PendingSnapshot } from "./fork-snapshot.js";
import { type Gone, letGo, obstacle, unlessRefused, changingFiles } from "./let-go.js";
import { assertNotPaged } from "./paged.js";
import { unpin } from "./pin.js";
import { dumpPlan } from "./plan.js";
import type { PreparedCalls } from "./prepared-calls.js";
import { type Ignored, refusal } from "./refusal.js";
import { shareWithParents, type Space } from "./shared-pages.js";
import { getReg } from "./registers.js";
import { type ListsMade, runLists, runListsAlone } from "./run-lists.js";
import { collectSeccomp, suspendSeccomp } from "./seccomp.js";
import { assertUnshared, checkDispatch } from "./sharing.js";
import { collectSignalActions, collectSignalsOfMoment } from "./signals.js";
import { findNamed, type Mapping, readMappings } from "./smaps.js";
import { collectSystemV } from "./sysv/collect.js";
import { collectInnerTask, collectRlimits, outerTaskRow, processName } from "./tasks.js";
import { type FactsOfProcess, TreeFacts } from "./tree-facts.js";
import { collectThreadDirectories } from "./thread-directories.js";
import { ThreadFacts } from "./thread-facts.js";
import { collectThread, idleStack, readAlternateStack } from "./threads.js";
import { collectIntervalTimers, collectPosixTimers } from "./timers.js";
import { collectVmas } from "./vmas.js";

export interface CollectOptions {
  /** What the clocks do at a resume; they go on where they were if absent. */
  readonly clock?: ClockPolicy;
  /** At a resume the program runs before its memory is there. */
  readonly isLazy?: boolean;
  readonly ignored?: Ignored;
  /** Names by mount point of mounts that are of outside. */
  readonly externalMounts?: ReadonlyMap<string, string>;
  /** How control groups are kept; if absent, softly where they are not crimg's own. */
  readonly cgroups?: KeepCgroups;
  /** Where the code of the first process has what injected calls need, if that is known; it is checked. */
  readonly gadgets?: Gadgets | undefined;
  /** The mappings of the only process as they were just before; see there. */
  readonly early?: EarlyMappings | undefined;
  /** The tree is to run on from a fork of its only process, as soon as what a fork does not keep is known: see let-go.ts. */
  readonly mayLetGo?: boolean | "practise";
  /** When the process is gone nothing else is wanted: what it left is not looked at. */
  readonly endsWhenGone?: boolean;
  /** Whether `early` is looked at while the process stands still, since it will not be forked. */
  readonly looksWhileFrozen?: boolean | undefined;
  /** "crimg 0.1.0". */
  readonly creator: string;
  /** Fills the descriptor tables; runs after tasks, before mappings. */
  readonly collectDescriptors?: (context: DumpContext) => void;
}

/** A frozen tree with everything known about it. `close` takes calls and page sources back; the tree stays frozen. */
export interface Collection {
  readonly context: DumpContext;
  readonly checkpoint: CheckpointModel;
  /** The tree runs already, and this keeps what has been collected. */
  readonly gone?: Gone | undefined;
  /** @param later takes what is to be waited for, in place of waiting at once */
  close(later?: Later): void;
}

/** Takes work that may be done later. */
export type Later = (work: () => void) => void;

/** Per process: mappings, gadgets, injectors. */
class CollectedProcess implements DumpedProcess {
  readonly name: string;
  readonly mappings: readonly Mapping[];
  readonly #site: InjectionSite | undefined;
  #leader: Injector | undefined;
  facts: ThreadFacts | undefined;
  own: FactsOfProcess | undefined;
  lists: ListsMade | undefined;
  /** Its fork, once it has been begun. */
  #fork: PendingSnapshot | undefined;

  constructor(
    readonly frozen: FrozenProcess,
    readonly row: number,
    hint: Gadgets | undefined,
    told: TreeFacts,
    early: readonly Mapping[] | undefined,
  ) {
    this.own = told.of(frozen);
    this.name = processName(frozen.pid, this.own);
    this.mappings = frozen.isZombie ? [] : (early ?? readMappings(frozen.pid, this.own?.mappings()));
    if (frozen.isZombie) return;
    const { summary } = this.mappings[0]?.table ?? {};
    const code = Array.from(summary?.code ?? [], (index) => this.mappings[index] as Mapping);
    const gadgets = findGadgets(frozen.pid, code, hint);
    if (gadgets === undefined) {
      throw refusal(
        "no-gadget",
        `process ${frozen.pid} (${this.name}): no system call instruction in its memory; crimg cannot question it`,
      );
    }
    const writable = summary?.writable ?? new BigInt64Array(0);
    this.#site = { gadgets, ranges: this.mappings, writable, beforeOpen: () => this.#awaitFork() };
    this.facts = new ThreadFacts(frozen, dumpPlan().threads, told.threads);
  }

  /** Where calls are injected, and what is known of its threads: not of zombies. */
  get place(): { readonly site: InjectionSite; readonly facts: ThreadFacts } | undefined {
    return this.#site === undefined || this.facts === undefined ? undefined : { site: this.#site, facts: this.facts };
  }

  /** Has all threads make the calls of the plan; `alone`: what its only thread has made already. */
  runLists(alone: ListsMade | undefined): void {
    const [leader] = this.frozen.threads;
    if (this.#site === undefined || this.facts === undefined || leader === undefined) return;
    // A failure leaves a thread on its frame: `close` takes it back.
    this.#leader = new Injector(leader, this.#site);
    this.lists = alone ?? runLists(this.frozen, dumpPlan(), this.#leader, this.#site, this.facts);
    const prepared = this.lists?.of(leader);
    if (prepared !== undefined) {
      this.#leader.prepared = prepared;
      return;
    }
    this.#leader.close();
    this.#leader = undefined;
  }

  /** What was asked in advance has been collected: for thousands of threads it is much. */
  forget(): void {
    this.facts = undefined;
    this.own = undefined;
    this.lists = undefined;
    if (this.#leader !== undefined) this.#leader.prepared = undefined;
  }

  get pid(): number {
    return this.frozen.pid;
  }

  get gadgets(): Gadgets | undefined {
    return this.#site?.gadgets;
  }

  /** Begins to fork it; undefined if that cannot be. */
  beginFork(): PendingSnapshot | undefined {
    return (this.#fork = unlessRefused(() => beginSnapshot(this)));
  }

  /** No call is injected while it is being forked: the fork would have what is borrowed for that. */
  #awaitFork(): void {
    const fork = this.#fork;
    if (fork !== undefined) unlessRefused(() => fork.finish());
  }

  injector(): Injector {
    const leader = this.frozen.threads[0];
    if (leader === undefined) throw new Error(`no injector for zombie ${this.pid}`);
    return (this.#leader ??= this.injectorFor(leader));
  }

  /** Prefers the idle alternate stack, which the first injected call tells. */
  injectorFor(thread: FrozenThread): Injector {
    const site = this.#site as InjectionSite;
    const first = new Injector(thread, site);
    try {
      const altstack = idleStack(readAlternateStack(first));
      if (altstack === undefined || !first.prefersAltstack(altstack)) return first;
      first.close();
      return new Injector(thread, { ...site, altstack });
    } catch (error) {
      first.close();
      throw error;
    }
  }

  /** See Injector.borrowed. */
  get borrowed(): Injector["borrowed"] {
    return this.#leader?.borrowed;
  }

  close(): void {
    this.#leader?.close();
  }
}

/** Collects a frozen tree. On failure everything is put back and the error thrown; the tree stays frozen. */
export function collect(tree: FrozenTree, options: CollectOptions): Collection {
  const context = new DumpContext(emptyTables(), tree, options.ignored);
  const processes: CollectedProcess[] = [];
  let gone: Gone | undefined;
  const close = (later?: Later): void => {
    const failures: unknown[] = [];
    // Page sources first: one may have a descriptor in its process that an injected call closes.
    for (const closable of [...context.sources, ...processes]) {
      try {
        closable.close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (later === undefined) gone?.snapshot.end();
    else {
      gone?.snapshot.kill();
      later(() => gone?.snapshot.end());
    }
    unpin();
    if (failures.length > 0) throw failures[0];
  };
  try {
    gone = collectAll(context, processes, options);
  } catch (error) {
    context.releaseHeld();
    try {
      context.giveBack();
      close();
    } catch {
      // The first error says what happened; the thread goes back on its own when it is let go.
    }
    throw error;
  }
  return { context, checkpoint: new Checkpoint({ tables: context.tables, sources: context.sources }), gone, close };
}

function collectAll(context: DumpContext, processes: CollectedProcess[], options: CollectOptions): Gone | undefined {
  const { tables, tree } = context;
  const rowOf = new Map<number, number>();
  const [root] = tree.processes;
  const mayBeEarly = tree.processes.length === 1 && options.early !== undefined;
  const facts = TreeFacts.begin(tree.processes, dumpPlan(), !mayBeEarly);
  const early = mayBeEarly && root !== undefined ? options.early?.take(facts.of(root)?.status, options.looksWhileFrozen) : undefined;
  for (const frozen of tree.processes) {
    for (const thread of frozen.threads) assert64Bit(frozen.pid, getReg(thread.regs, "cs"));
    const parent = rowOf.get(frozen.parent) ?? null;
    const row =
      tables.tasks.push(outerTaskRow(frozen, parent, parent === null ? 0 : (tables.tasks[parent] as TaskRow).pid, facts.of(frozen))) - 1;
    rowOf.set(frozen.pid, row);
    const gadgets = parent === null ? options.gadgets : processes[parent]?.gadgets;
    const process = new CollectedProcess(frozen, row, gadgets, facts, early);
    processes.push(process);
    context.processes.push(process);
  }
  assertNotPaged(processes);
  const { blockers } = context;
  logStep(() => `read the mappings of ${processes.length} processes`);
  blockers.attempt(() => assertUnshared(processes));
  const { dropsCapabilities, ...own } = checkNamespaces(context, processes, facts.links);
  const ours = new OwnGroups();
  let hasOtherGroups = false;
  for (const process of processes) {
    suspendSeccomp(context, process);
    checkDispatch(process);
    if (isInOtherGroups(context, process, ours)) hasOtherGroups = true;
  }
  const idMaps = blockers.attempt(() => collectNamespaces(context, own, options.externalMounts)) ?? [];

  const live = processes.filter((process) => !process.frozen.isZombie);
  runAllLists(live);
  const cgroups = options.cgroups ?? (hasOtherGroups && !context.ignored.classes.has("cgroup") ? { mode: "soft", roots: [] } : undefined);
  const collectGroups = (rowsOf: (process: CollectedProcess) => readonly number[]): void => {
    if (cgroups === undefined) return;
    collectCgroups(
      context,
      live.map((process) => [process, rowsOf(process)]),
      cgroups,
    );
  };
  const collectOpenFiles = (): void => {
    options.collectDescriptors?.(context);
    logStep(() => `collected ${tables.descriptors.length} descriptors of ${tables.files.length} open files`);
  };
  const [only] = live;
  const changing = tree.processes.length === 1 && only !== undefined ? changingIn(only, early && options.early) : undefined;
  const isEarly = only !== undefined && mayLetGo(context, only, changing, options);
  let gone: Gone | undefined;
  if (isEarly && only !== undefined) {
    // While the kernel copies the page tables, on another processor if there is one.
    const fork = only.beginFork();
    try {
      collectGroups(({ frozen }) => [...frozen.threads.keys()]);
      for (const process of live) checkKeyrings(context, process);
      collectOpenFiles();
      gone = fork && letGo(context, only, fork, changing ?? []);
    } catch (error) {
      fork?.abandon();
      throw error;
    }
  }
  if (gone !== undefined && options.endsWhenGone === true) {
    letAnswer(undefined);
    return gone;
  }
  // By other threads, which this one leaves idle while it collects.
  if (gone !== undefined) options.early?.look(gone.snapshot.pid);
  else if (options.looksWhileFrozen === true && only !== undefined) options.early?.look(only.pid);
  try {
    collectRest();
  } catch (error) {
    if (gone === undefined) throw error;
    gone.snapshot.end();
    // What was in the way may have been only that it ran on. In the ordinary order it is found again, and told.
    throw new StaleMappings(`while it ran on: ${messageOf(error)}`);
  } finally {
    if (gone !== undefined) letAnswer(undefined);
  }
  return gone;

  function collectRest(): void {
    // Not before: while another thread reads of the mappings of a process, that cannot map the page that its calls are made from.
    const haveNoPolicy = early !== undefined && options.early?.haveNoPolicy === true;
    const policies = gone !== undefined && !haveNoPolicy ? policiesTold(live) : beginMemoryPolicies(live, haveNoPolicy);
    const threadRows = new Map<CollectedProcess, number[]>();
    for (const process of live) {
      collectInnerTask(context, process);
      const rows = process.frozen.threads.map((thread, index) => collectOneThread(context, process, thread, index));
      threadRows.set(process, rows);
      if (gone === undefined) collectThreadDirectories(context, process, rows);
      collectSeccomp(context, process, rows);
      if (!isEarly) checkKeyrings(context, process);
      collectRlimits(context, process);
      collectSignalActions(context, process);
    }
    if (dropsCapabilities) tables.creds.forEach((row, index) => (tables.creds[index] = withoutCapabilities(row)));
    logStep(() => `asked ${tables.threads.length} threads, limits, signals, credentials`);
    if (!isEarly) {
      collectGroups((process) => threadRows.get(process) ?? []);
      collectOpenFiles();
    }

    const mapped: MappedProcess[] = [];
    const mms: number[] = [];
    for (const process of live) {
      const mm = collectMm(context, process, process.mappings);
      tables.tasks[process.row] = { ...(tables.tasks[process.row] as TaskRow), mm };
      const vmas = collectVmas(context, process, mm, process.mappings);
      collectMemoryPolicies(context, process, mm, process.mappings, policies.get(process));
      const source = context.objects.addSource(
        gone === undefined ? liveSource(process) : forkSource(gone.snapshot, (mayWait) => options.early?.awaitLook(mayWait) ?? true),
      );
      mapped.push({ process, vmas, source });
      mms.push(mm);
    }
    const systemV = gone === undefined ? context.view.inIpc(() => collectSystemV(context, mapped)) : undefined;
    logStep(() => `collected ${tables.vmas.length} mappings of ${tables.objects.length} files and objects`);
    const clocks = readClocks(live[0] as CollectedProcess);
    for (const process of live) {
      collectIntervalTimers(context, process);
      collectPosixTimers(context, process);
      if (gone === undefined) collectSignalsOfMoment(context, process, threadRows.get(process) ?? []);
    }
    blockers.assertNone();
    mapped.forEach(({ process, vmas, source }, index) => collectExtents(context, process, mms[index] as number, vmas, source));
    shareWithParents(tables, spacesOf(tables.tasks, mapped, mms));
    collectObjectContents(context, mapped);
    if (systemV !== undefined) context.view.inIpc(() => systemV.storeContents());
    logStep(() => `found the pages: ${tables.extents.length} extents`);
    context.takeAll();
    if (idMaps.length > 0) takeIdsInside(tables, idMaps);
    addCheckpointRow(context, live[0] as CollectedProcess, clocks, options);
    for (const process of live) process.forget();
    // What follows are few and large calls: better on whichever processor is free.
    unpin();
  }
}

/** Mapped files that may be others a moment later, if a fork keeps all mappings; undefined if not, or they have policies. */
function changingIn(only: CollectedProcess, early: EarlyMappings | undefined): readonly Mapping[] | undefined {
  if (early === undefined) return changingFiles(only.mappings);
  return early.haveNoPolicy ? early.changing : undefined;
}

/** Whether a process may be let go as soon as its descriptors are known. `changing`: see `changingIn`. */
function mayLetGo(
  context: DumpContext,
  only: CollectedProcess,
  changing: readonly Mapping[] | undefined,
  { mayLetGo }: CollectOptions,
): boolean {
  if (mayLetGo === false || mayLetGo === undefined || (mayLetGo !== "practise" && changing === undefined)) return false;
  const reason = obstacle(context, only);
  if (reason !== undefined) logStep(() => `it stands still until all is known: ${reason}`);
  return reason === undefined;
}

function liveSource(process: CollectedProcess): ProcessPageSource {
  return new ProcessPageSource(process.pid, () => process.borrowed, sharesLittle(process.mappings));
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Has all threads make the calls of the plan. */
function runAllLists(live: readonly CollectedProcess[]): void {
  const places = live.flatMap((process) => {
    const { place } = process;
    return place === undefined ? [] : [{ process, frozen: process.frozen, ...place }];
  });
  const alone = runListsAlone(dumpPlan(), places);
  places.forEach(({ process }, index) => process.runLists(alone[index]));
}

/** Capabilities in a user namespace that is left out: anywhere else they would be others, and more. */
function withoutCapabilities(row: CredRow): CredRow {
  return { ...row, capEffective: 0n, capPermitted: 0n, capInheritable: 0n, capAmbient: 0n };
}

function collectOneThread(context: DumpContext, process: CollectedProcess, thread: FrozenThread, index: number): number {
  if (index === 0) return collectThread(context, process, thread, process.injector());
  const calls = new CallsOfThread(process, thread);
  try {
    return collectThread(context, process, thread, calls);
  } finally {
    calls.close();
  }
}

/** Calls in a thread that has made most of them: it is prepared for others only where one is asked for. */
class CallsOfThread implements ThreadCalls {
  readonly #made: PreparedCalls | undefined;
  #injector: Injector | undefined;

  constructor(
    private readonly process: CollectedProcess,
    private readonly thread: FrozenThread,
  ) {
    this.#made = process.lists?.of(thread);
  }

  call(name: SyscallName, ...args: readonly AskedArgument[]): number {
    return Number(this.callBig(name, ...args));
  }

  callBig(name: SyscallName, ...args: readonly AskedArgument[]): bigint {
    const made = this.#made?.take(name, args);
    if (made !== undefined) return made;
    this.#injector ??= this.process.injectorFor(this.thread);
    return this.#injector.callBig(name, ...args);
  }

  close(): void {
    this.#injector?.close();
  }
}

/** The clocks as the tree sees them: it may be in a time namespace. */
function readClocks(root: CollectedProcess): { readonly monotonicNs: bigint; readonly boottimeNs: bigint } {
  const read = (clock: number): bigint => {
    const out = Buffer.alloc(16);
    const result = root.injector().call("clock_gettime", clock, { out });
    if (failed(result)) throw new SysError("clock_gettime", -result, `process ${root.pid}`);
    return out.readBigInt64LE(0) * 1_000_000_000n + out.readBigInt64LE(8);
  };
  return { monotonicNs: read(1), boottimeNs: read(7) };
}

function addCheckpointRow(
  context: DumpContext,
  root: CollectedProcess,
  clocks: ReturnType<typeof readClocks>,
  { creator, clock, isLazy }: CollectOptions,
): void {
  const system = uname();
  const leader = root.frozen.threads[0] as FrozenThread;
  const xstate = getRegset(leader.tid, regset.X86_XSTATE);
  const vdso = findNamed(root.mappings, "[vdso]");
  const readMemoryAt = (address: bigint, length: number): Uint8Array | undefined => {
    const bytes = Buffer.alloc(length);
    return tryReadMemory(root.pid, address, bytes) === length ? bytes : undefined;
  };
  context.tables.checkpoint.push(
    checkpointRow({
      createdNs: clockNs(0),
      ...clocks,
      xfeatures: xstate.length >= 576 ? xstate.readBigUInt64LE(464) : 3n,
      rootTask: 0,
      pageSize: 4096,
      creator,
      clock: clock ?? "continue",
      isLazy: isLazy === true ? 1 : 0,
      sourceFormat: "live",
      machine: system.machine,
      kernelRelease: system.release,
      hostName: system.node,
      vdsoBuildId: vdso ? imageBuildId(readMemoryAt, vdso.start) : new Uint8Array(0),
    }),
  );
  const image = vdso && readMemoryAt(vdso.start, Number(vdso.end - vdso.start));
  if (image) context.tables.vdsoImages.push(vdsoImageRow({ image }));
}

/** Bytes that a process may have in common with others and still be read in the fast way, which gives it copies of its own. */
const mostShared = 1n << 20n;

function sharesLittle(mappings: readonly Mapping[]): boolean {
  return (mappings[0]?.table.summary.shared ?? 0n) <= mostShared;
}

/** The address spaces of processes, parents first. */
function spacesOf(tasks: readonly TaskRow[], mapped: readonly MappedProcess[], mms: readonly number[]): Space[] {
  const byRow = new Map<number, Space>();
  return mapped.map(({ process: { row, pid } }, index) => {
    const parent = byRow.get(tasks[row]?.parent ?? -1);
    const space = { mm: mms[index] as number, pid, ...(parent === undefined ? {} : { parent }) };
    byRow.set(row, space);
    return space;
  });
}
