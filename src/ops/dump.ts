// SPDX-License-Identifier: Apache-2.0
/**
 * crimg dump: freeze → collect → write → commit → kill or let go.
 *
 * The target is touched last of all things: an image is complete under its final name before anything ends. Whatever
 * fails before, the tree goes on as it was and no file is left.
 */
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import type { CgroupMode } from "../gen/tables.js";
import type { FormatAdapter, Loss } from "../adapter/format.js";
import { assertDumpable } from "../dump/admission.js";
import { DeviceHold } from "../cuda/hold.js";
import { collect, type Collection, type CollectOptions } from "../dump/collect.js";
import type { DumpContext } from "../dump/context.js";
import { collectDescriptors } from "../dump/fds/collect.js";
import type { DescriptorOptions } from "../dump/fds/context.js";
import { prepareForDescriptors } from "../dump/fds/room.js";
import { disownChildren } from "../dump/disown.js";
import { EarlyMappings, StaleMappings, StalePreCopy } from "../dump/early-mappings.js";
import { FrozenTree } from "../dump/freeze.js";
import { hurry } from "../dump/hurry.js";
import { makeHugePages } from "../dump/huge-pages.js";
import type { Gadgets } from "../dump/gadgets.js";
import { seemsToBeLetGo } from "../dump/let-go.js";
import { lookAhead } from "../dump/look-ahead.js";
import { pinToSleeper } from "../dump/pin.js";
import { dumpPlan } from "../dump/plan.js";
import { processExists, procPath, readMaps, readStat } from "../dump/procfs.js";
import { programOf } from "../dump/restore-process.js";
import { isPaged, untilThere } from "../dump/paged.js";
import { type Ignored, parseIgnored } from "../dump/refusal.js";
import { CrimgError } from "../errors/crimg-error.js";
import { logStep, quietly } from "../errors/log.js";
import { errno, errnoMessage, SysError, uncounted } from "../native/index.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { bytesOf, extentColumns } from "../model/extent-columns.js";
import type { WithRoot } from "./changes/bundle-root.js";
import { withRootFiles } from "./changes/own-root.js";
import { rehearsalFailed, rehearse } from "./rehearse.js";
import { rehearsalObstacle } from "./rehearsal-obstacle.js";
import { InterruptGuard } from "./interrupt.js";
import type { DumpOptions, DumpReport } from "./options.js";
import { frozenText, modelText } from "./report/words.js";
import { warmUp } from "./warm-up.js";
import { assertCompressible, writeWithoutZeros } from "./write-without-zeros.js";
import { openOutput, type PendingOutput } from "./output.js";
import { WriteTracking } from "../dump/write-tracking.js";
import { PreCopy } from "./pre-copy.js";
import { detach, detachedAlready, type DetachedCheckpoint } from "./snapshot.js";
import { programVersion } from "./version.js";

/** Lets the event loop turn, so that signals are noticed. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits for a write; what the system says of the output gets its name. */
async function writing<Result>(path: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    const reason = writeFailure(error);
    if (reason === undefined) throw error;
    throw new CrimgError("output.write", `cannot write ${path}: ${errnoMessage(reason)}`, {
      source: path,
      hint: "The process tree continues. Free some space, or choose another place.",
      cause: error,
    });
  }
}

/** The errno of a failed write, made by any of the callers. */
function writeFailure(error: unknown): number | undefined {
  const about: ReadonlySet<number> = new Set([errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS]);
  if (error instanceof SysError) return /write|copy_file_range/.test(error.call) && about.has(error.errno) ? error.errno : undefined;
  const number = error instanceof Error && "errno" in error && typeof error.errno === "number" ? -error.errno : 0;
  return about.has(number) ? number : undefined;
}

/** Time that work on a GPU has to come to an end, milliseconds, if nothing else is said. */
const defaultGpuTimeoutMs = 10_000;

/** Longest wait for others to do what is asked of them, milliseconds. */
const othersMs = 500;

async function waitUntil(isSo: () => boolean): Promise<void> {
  const end = performance.now() + othersMs;
  while (!isSo() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 1));
}

/**
 * Until its parent reaps a process its pid stays taken, and the image could not be resumed at once. A parent that does
 * not look (it may be stopped, or waiting for us) is not waited for long.
 */
function untilReaped({ processes }: FrozenTree, waiters: readonly number[]): Promise<void> {
  const hasEnded = (pid: number): boolean => /^[ZX]?$/.test(readStat(procPath(pid))?.state ?? "");
  // What waited for the program ends as the program did; whether somebody looks at that end is not our business.
  return waitUntil(() => !processes.some(({ pid }) => processExists(pid)) && waiters.every(hasEnded));
}

/** Until then SIGSTOP is pending: who looks at the tree, or dumps it again, would find it so. */
function untilStopped({ processes }: FrozenTree): Promise<void> {
  const goesOn = (pid: number): boolean => !/^[TZX]?$/.test(readStat(procPath(pid))?.state ?? "");
  return waitUntil(() => !processes.some(({ pid }) => goesOn(pid)));
}

/**
 * Dumps a process tree into one image.
 * @throws CrimgError `dump.*` when refused (the target runs on), `output.*`, `system.*`, `interrupted`
 */
export async function dump(options: DumpOptions): Promise<DumpReport> {
  const started = performance.now();
  for (let before: BeforeFreeze = "memory"; ; ) {
    try {
      return await dumpOnce(options, started, before);
    } catch (error) {
      if (!(error instanceof StaleMappings)) throw error;
      logStep(() => `once more: ${error.message}`);
      before = error instanceof StalePreCopy ? "mappings" : "nothing";
    }
  }
}

/**
 * What may be taken from the program before the freeze, where that is worth it: its memory and its mappings, the latter, or nothing.
 * StaleMappings is thrown if they changed until then.
 */
type BeforeFreeze = "memory" | "mappings" | "nothing";

/** @param before what a second time finds done is prepared only the first time, with "memory" */
async function dumpOnce(options: DumpOptions, started: number, before: BeforeFreeze): Promise<DumpReport> {
  const isFirst = before === "memory";
  const words = options.manageCgroups === "ignore" ? [...options.ignore, "cgroup"] : options.ignore;
  const ignored = parseIgnored(words, options.forceLoss === true);
  assertDumpable(options.pid);
  const { pid, waiters } = programOf(options.pid);
  // Whoever looks at the mappings before the freeze takes these. Reading more of them takes longest, so it begins first.
  const mayReadEarly = before !== "nothing" && options.after === "leave-running" && options.fork !== false;
  let maps = isFirst || mayReadEarly ? readMaps(pid) : undefined;
  let readEarly = mayReadEarly && options.hugePages !== true ? EarlyMappings.begin(pid, maps, isLongerToFork(pid, maps)) : undefined;
  const order = prepareForDescriptors(pid);
  // Everything that loads code happens while the target still runs.
  const format = await options.registry.load(options.to ?? "ckpt-elf");
  if (format.write === undefined) {
    throw new CrimgError("format.read-only", `crimg reads ${format.id} but does not write it`, {
      hint: "crimg formats shows what can be written",
    });
  }
  assertCompressible(format, options);
  if (options.rehearse === true && options.output === "-") throw cannotRehearse();
  if (options.parent !== undefined) await assertParent(options.parent, format, options);
  const open = (shape: FormatAdapter["shape"]): PendingOutput =>
    openOutput(options.output, { shape, isExecutable: format.isExecutable, force: options.force });
  // Whether a core is a file or a directory only the tree tells; all else is refused before anything is frozen.
  let output = format.shapeOf === undefined ? open(format.shapeOfName?.(options.output) ?? format.shape) : undefined;
  const guard = new InterruptGuard(options.ignoresSignals);
  let devices: DeviceHold | undefined;
  let calm = (): void => undefined;
  let preCopy: PreCopy | undefined;
  const later: (() => void)[] = [];
  try {
    devices = await takeDevices(pid, options, maps, () => guard.check("dump"));
    // The driver has unmapped its own.
    if (devices !== undefined) [maps, readEarly] = [undefined, undefined];
    dumpPlan();
    const place = isFirst && devices === undefined ? await placeOfPages(format, output, options) : undefined;
    const copyTo = place !== undefined && PreCopy.isWorth(pid) ? place : undefined;
    let practised: Checkpoint | undefined;
    let isStoredFrozen = false;
    if (isFirst) {
      if (options.hugePages === true) {
        makeHugePages(pid, { isTree: options.isTree, check: () => guard.check("dump") });
        maps = readMaps(pid);
        if (mayReadEarly && devices === undefined) readEarly = EarlyMappings.begin(pid, maps);
      }
      // How long a program stands still that will not go on hurts nobody; how long the dump takes does.
      if (options.after === "leave-running") {
        const isLetGo = readEarly !== undefined && copyTo === undefined && seemsToBeLetGo(pid, maps);
        isStoredFrozen = isLetGo && place !== undefined && isLongerToFork(pid, maps);
        practised = await warmUp({
          isDetached: !isStoredFrozen,
          mayFork: options.fork !== false,
          isLetGo: isLetGo && !isStoredFrozen,
          later: (work) => later.push(work),
        });
      }
    }
    let stoodStill = 0;
    const onStop = (milliseconds: number): void => {
      stoodStill += milliseconds;
      logStep(() => `it stood still for ${milliseconds.toFixed(1)} ms`);
    };
    if (copyTo !== undefined) {
      const findGadgets = (): Gadgets | undefined => lookAhead(pid, maps);
      const meanwhile = (): Promise<void> => (practised === undefined ? Promise.resolve() : practiseWriting(format, practised));
      const check = (): void => guard.check("dump");
      preCopy = await writing(options.output, PreCopy.begin(pid, { ...copyTo, findGadgets, onStop, meanwhile, check }));
    }
    if (preCopy !== undefined) {
      // It took a while.
      maps = readMaps(pid);
      readEarly = EarlyMappings.begin(pid, maps);
    }
    if (options.after === "leave-running") calm = hurry();
    const isForked = mayReadEarly && devices === undefined && options.rehearse !== true && !options.bundle;
    const { frozenAt, tree, early, ...frozen } = await freeze(
      pid,
      ignored,
      { ...options, maps, readEarly, order, preCopy, mayLetGo: isForked && preCopy === undefined && !isStoredFrozen, isStoredFrozen },
      () => guard.check("dump"),
    );
    let collection: Collection | undefined = frozen.collection;
    let context: DumpContext | undefined;
    let detached: DetachedCheckpoint | undefined;
    let bundled: WithRoot | undefined;
    let frozenMs: number | undefined;
    try {
      context = collection.context;
      devices?.record(context);
      let { checkpoint } = collection;
      const isRehearsed = options.rehearse === true && canRehearse(checkpoint, options);
      const losses = lossesOf(format, checkpoint, options);
      logStep(() => `collected: ${modelText(checkpoint)}; ${losses.length} kinds of losses`);
      await turn();
      guard.check("dump");
      const onProgress = (done: bigint, total: bigint): void => {
        guard.check("dump");
        options.onProgress?.(done, total);
      };
      output ??= open(format.shapeOf?.(checkpoint, {}) ?? format.shape);
      const letRun = (): void => {
        collection?.close();
        context?.giveBack();
        context?.releaseHeld();
        tree.release();
        logStep(() => "the tree runs on");
      };
      isStoredFrozen &&= early !== undefined && devices === undefined;
      const onStored = (): void => {
        early?.confirm();
        letRun();
        collection = undefined;
        frozenMs = performance.now() - frozenAt;
        calm();
      };
      if (options.after === "leave-running" && devices === undefined && !isRehearsed && !options.bundle && !isStoredFrozen) {
        const folder = options.output === "-" ? tmpdir() : dirname(resolve(options.output));
        const watch = { onProgress: () => guard.check("dump") };
        const beforeEnd = (mayWait: boolean): boolean => early?.awaitLook(mayWait) ?? true;
        const mayFork = options.fork !== false;
        detached =
          collection.gone === undefined
            ? await writing(options.output, detach(collection, { folder, mayFork, watch, beforeEnd, preCopy }))
            : detachedAlready(collection, collection.gone, pid);
      }
      const fork = detached?.forkOf(pid);
      const isPreCopied = detached?.isPreCopied === true;
      if (fork === undefined && !isPreCopied && !isStoredFrozen) {
        early?.look(pid);
        early?.confirm();
      }
      if (detached !== undefined) {
        const { gone } = collection;
        if (gone === undefined) letRun();
        collection = undefined;
        frozenMs = (gone?.at ?? performance.now()) - frozenAt;
        calm();
        preCopy?.letGo();
        detached.settle();
        ({ checkpoint } = detached);
        // Whoever was let go before is being looked at.
        if (fork !== undefined && gone === undefined) early?.look(fork);
        else if (isPreCopied) early?.lookAgain();
      }
      // Standard output may be a pipe that nobody reads from: from here on a signal ends this process, which lets the tree go.
      if (options.output === "-") guard.close();
      // A container takes along what it uses of its root.
      bundled = options.bundle ? await withRootFiles(checkpoint, options, format.isExecutable === true) : undefined;
      await writing(
        options.output,
        writeWithoutZeros(format, bundled?.checkpoint ?? checkpoint, output, {
          bundle: options.bundle && bundled === undefined,
          compress: options.compress,
          dedup: options.dedup,
          parent: options.parent,
          onProgress,
          onStored: isStoredFrozen ? onStored : undefined,
        }),
      );
      early?.confirm();
      await turn();
      guard.check("dump");
      const report = {
        output: options.output,
        format: format.id,
        processes: checkpoint.tables.tasks.length,
        threads: checkpoint.tables.threads.length,
        pageBytes: storedBytes(checkpoint),
        losses,
      };
      logStep(() => `written: ${report.pageBytes} bytes of pages, format ${format.id}`);
      if (isRehearsed) await rehearseOutput(output, format, options.output);
      collection?.close();
      collection = undefined;
      output.commit({ sync: options.sync });
      logStep(() => "the image has its name");
      if (options.after === "kill") {
        const isGone = end(tree, context, report.pageBytes);
        context.releaseHeld();
        if (isGone) await untilReaped(tree, waiters);
        await devices?.forget();
      } else if (detached === undefined && !isStoredFrozen) {
        context.giveBack();
        context.releaseHeld();
        // With nothing running but the driver's threads; a program that goes on need not wait for crimg.
        if (options.after === "leave-stopped") {
          tree.releaseThreads(devices?.restoreThreads ?? []);
          await devices?.giveBack();
        }
        tree.release(options.after === "leave-stopped");
        if (options.after === "leave-stopped") await untilStopped(tree);
      }
      logStep(() => `the tree: ${options.after}`);
      const now = performance.now();
      if (options.after === "leave-running") await devices?.giveBack();
      const times = { frozenMs: (frozenMs ?? now - frozenAt) + stoodStill, totalMs: performance.now() - started };
      return { ...report, ...times, ...(devices === undefined ? {} : { gpu: devices.report }) };
    } catch (error) {
      const stale = isStoredFrozen && collection !== undefined ? early?.staleness() : undefined;
      abandon(collection, tree, context);
      logStep(() => "the tree goes on as it was");
      throw stale ?? error;
    } finally {
      bundled?.close();
      detached?.close();
    }
  } catch (error) {
    output?.discard();
    await devices?.release();
    throw error;
  } finally {
    calm();
    for (const work of later) work();
    await preCopy?.close();
    await devices?.close();
    guard.close();
  }
}

function storedBytes(checkpoint: Checkpoint): bigint {
  const columns = extentColumns(checkpoint);
  return columns === undefined ? checkpoint.tables.extents.reduce((sum, { length }) => sum + length, 0n) : BigInt(bytesOf(columns));
}

/** What is known of the mappings before the freeze. */
interface Ahead {
  /** What maps said; undefined: it is to be asked again. */
  readonly maps: Buffer | undefined;
  readonly readEarly: (() => EarlyMappings | undefined) | undefined;
  /** See CollectOptions. */
  readonly mayLetGo: boolean;
  /** Its pages will be stored while it stands still. */
  readonly isStoredFrozen: boolean;
  readonly preCopy: PreCopy | undefined;
}

/** Bytes of a line of maps that says of a mapping without a name, and some. */
const lineOfMaps = 64;
/** Mappings from which on it takes long to fork them, and bytes of pages that can be stored meanwhile, at most. */
const manyMappings = 4000;
const mostStored = 64n << 20n;

/**
 * Whether it takes longer to fork a process than to store its pages: the kernel copies 2 µs a mapping, and frees them as long
 * when the fork ends; of a page both take some 3 µs.
 * @param maps what maps says of it
 */
function isLongerToFork(pid: number, maps: Buffer | undefined): boolean {
  const mappings = (maps?.length ?? 0) / lineOfMaps;
  if (mappings < manyMappings) return false;
  const resident = WriteTracking.residentIn(pid);
  return resident <= mostStored && Number(resident / 4096n) <= mappings;
}

/** Where pages can be written before the tree is frozen; undefined: nowhere, or it is of no use. */
async function placeOfPages(
  format: FormatAdapter,
  output: PendingOutput | undefined,
  { after, hugePages, compress, dedup, parent, bundle, rehearse, output: name }: DumpOptions,
): Promise<{ readonly fd: number; readonly begin: number } | undefined> {
  const isOtherwise = compress !== undefined || dedup === true || parent !== undefined || bundle || rehearse === true || name === "-";
  if (after !== "leave-running" || hugePages === true || isOtherwise || output === undefined || format.pagesBegin === undefined)
    return undefined;
  return { fd: output.file().fd, begin: await format.pagesBegin() };
}

/** Quietly, and uncounted: it is practice. */
function practiseWriting(format: FormatAdapter, checkpoint: Checkpoint): Promise<void> {
  return quietly(() => uncounted(() => format.practise?.(checkpoint) ?? Promise.resolve()));
}

interface Frozen {
  readonly frozenAt: number;
  readonly tree: FrozenTree;
  readonly collection: Collection;
  /** What has to be confirmed. */
  readonly early: EarlyMappings | undefined;
}

/**
 * Freezes the tree and collects it; what was resumed lazily a moment ago is let go once more, until its memory is there.
 * On failure nothing is held.
 */
async function freeze(pid: number, ignored: Ignored, options: DumpOptions & DescriptorOptions & Ahead, check: () => void): Promise<Frozen> {
  const [creator, gadgets] = [programVersion(), lookAhead(pid, options.maps)];
  options.order?.settle();
  for (let { readEarly } = options; ; readEarly &&= () => EarlyMappings.read(pid)) {
    const early = readEarly?.();
    pinToSleeper(pid);
    const frozenAt = performance.now();
    const tree = FrozenTree.freeze(pid, { noTree: !options.isTree });
    options.preCopy?.beginScan();
    logStep(() => frozenText(tree));
    try {
      const collection = collect(tree, {
        ignored,
        creator,
        gadgets,
        early,
        mayLetGo: options.mayLetGo,
        looksWhileFrozen: options.isStoredFrozen,
        ...cgroupsToKeep(options),
        ...(options.clock === undefined ? {} : { clock: options.clock }),
        isLazy: options.isLazy === true,
        ...(options.externalMounts === undefined ? {} : { externalMounts: options.externalMounts }),
        collectDescriptors: (context) => collectDescriptors(context, options),
      });
      return { frozenAt, tree, collection, early };
    } catch (error) {
      const stale = options.isStoredFrozen ? early?.staleness() : undefined;
      tree.release();
      if (stale !== undefined) throw stale;
      if (!isPaged(error)) throw error;
      await untilThere(
        tree.processes.map((process) => process.pid),
        error,
        check,
      );
    }
  }
}

/** Nothing without --manage-cgroups. */
function cgroupsToKeep({ manageCgroups, cgroupRoot }: DumpOptions): Pick<CollectOptions, "cgroups"> {
  if (manageCgroups === undefined || manageCgroups === "ignore") return {};
  return { cgroups: { mode: manageCgroups as CgroupMode, roots: cgroupRoot ?? [] } };
}

/** A parent that cannot be one is told before anything stands still. @throws CrimgError `usage.parent`, and what reading it throws */
async function assertParent(parent: string, format: FormatAdapter, { output, compress, dedup }: DumpOptions): Promise<void> {
  if (dedup === true) {
    throw new CrimgError("usage.parent", "pages of a parent are not compared with each other", { hint: "leave --dedup or --parent out" });
  }
  if (compress !== undefined) {
    throw new CrimgError("usage.parent", "pages of a parent are not compressed", { hint: "leave --compress or --parent out" });
  }
  if (format.canHaveParent !== true) {
    throw new CrimgError("usage.parent", `${format.id} cannot leave pages to a parent`, { hint: "leave --parent or --to out" });
  }
  if (resolve(parent) === resolve(output)) {
    throw new CrimgError("usage.parent", "an image cannot replace its own parent", { hint: "name another file with -o" });
  }
  (await format.read?.(parent, { verify: true }))?.close();
}

/** Has the driver take the tree off its GPUs, if it is on any. */
function takeDevices(pid: number, options: DumpOptions, maps: Buffer | undefined, check: () => void): Promise<DeviceHold | undefined> {
  if (options.cuda === false) return Promise.resolve(undefined);
  return DeviceHold.take({ pid, isTree: options.isTree, maps, lockMs: options.gpuTimeoutMs ?? defaultGpuTimeoutMs, check });
}

/** Whether the tree can be rehearsed. @throws CrimgError `dump.rehearse-*` if not, and nobody wants to be told instead */
function canRehearse(checkpoint: Checkpoint, { onUnrehearsed }: DumpOptions): boolean {
  const obstacle = rehearsalObstacle(checkpoint);
  if (obstacle === undefined) return true;
  if (onUnrehearsed === undefined) throw obstacle;
  onUnrehearsed(obstacle.message);
  return false;
}

function cannotRehearse(): CrimgError {
  return new CrimgError("usage.rehearse", "--rehearse is for executable images in a file of their own", {
    hint: "name a file with -o, and leave --to out",
  });
}

/** @throws CrimgError `rehearse.*` */
async function rehearseOutput(output: PendingOutput, format: FormatAdapter, name: string): Promise<void> {
  if (format.isExecutable !== true || output.seal === undefined) {
    throw cannotRehearse();
  }
  const outcome = await rehearse(output.seal(), name);
  if (!outcome.isGood) throw rehearsalFailed("the image", outcome, "The program continues unchanged, and no file is left.");
}

function lossesOf(format: FormatAdapter, checkpoint: Checkpoint, options: DumpOptions): readonly Loss[] {
  return [
    ...checkpoint.tables.losses.map(({ code, count, text }): Loss => ({ code, facet: "tree", count, text })),
    ...(format.losses?.(checkpoint, { bundle: options.bundle }) ?? []),
  ];
}

/** Wait for the end of the root, milliseconds, and the bytes of pages from which it would be in vain. */
const rootEndMs = 20;
const longToFree = 128n << 20n;

/** Kills the tree, children first, so that no zombie of it keeps a pid. Returns whether all have ended. */
function end(tree: FrozenTree, context: DumpContext, pageBytes: bigint): boolean {
  // From here on the image is whole: should crimg die now, the tree dies with it rather than go on half disowned.
  tree.endWithTracer();
  context.beforeKill();
  try {
    disownChildren(context.processes);
  } catch {
    // Zombies may stay until the first process of the system waits for them: no reason not to end the tree.
  }
  return tree.kill(pageBytes < longToFree ? rootEndMs : 0);
}

/** Puts the target back; what fails on the way matters less than the error that brought us here. */
function abandon(collection: Collection | undefined, tree: FrozenTree, context: DumpContext | undefined): void {
  context?.releaseHeld();
  try {
    context?.giveBack();
  } catch {
    // Events of a watched directory are less than a program that stands still.
  }
  try {
    collection?.close();
  } catch {
    // The thread returns to its old state by itself once it is let go.
  }
  tree.release();
}
