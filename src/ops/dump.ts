// SPDX-License-Identifier: Apache-2.0
/**
 * crimg dump: prepare → freeze → collect → run on or stand still → write → commit → kill or let go.
 *
 * The target is touched last of all things: an image is complete under its final name before anything ends. Whatever
 * fails before, the tree goes on as it was and no file is left.
 */
import type { FormatAdapter, Loss } from "../adapter/format.js";
import { assertDumpable } from "../dump/admission.js";
import { DeviceHold } from "../cuda/hold.js";
import { StaleMappings, StalePreCopy } from "../dump/early-mappings.js";
import { areMany, prepareForDescriptors } from "../dump/fds/room.js";
import { dumpPlan } from "../dump/plan.js";
import { programOf } from "../dump/restore-process.js";
import { type Ignored, parseIgnored } from "../dump/refusal.js";
import { logStep } from "../errors/log.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { bytesOf, extentColumns } from "../model/extent-columns.js";
import type { WithRoot } from "./changes/bundle-root.js";
import { withRootFiles } from "./changes/own-root.js";
import { freeze } from "./dump/freeze.js";
import type { HeldTree } from "./dump/held-tree.js";
import { assertPossible } from "./dump/possible.js";
import { type BeforeFreeze, Preparation } from "./dump/preparation.js";
import { canRehearse, rehearseOutput } from "./dump/rehearsal.js";
import { type Content, runOn } from "./dump/run-on.js";
import { writing } from "./dump/writing.js";
import { InterruptGuard } from "./interrupt.js";
import type { DumpOptions, DumpReport } from "./options.js";
import { openOutput, type PendingOutput } from "./output.js";
import { modelText } from "./report/words.js";
import { writeWithoutZeros } from "./write-without-zeros.js";

/** Lets the event loop turn, so that signals are noticed. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Time that work on a GPU has to come to an end, milliseconds, if nothing else is said. */
const defaultGpuTimeoutMs = 10_000;

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

async function dumpOnce(options: DumpOptions, started: number, before: BeforeFreeze): Promise<DumpReport> {
  const ignored = ignoredBy(options);
  assertDumpable(options.pid);
  const { pid, waiters } = programOf(options.pid);
  const prepared = new Preparation(pid, options, before);
  const order = prepareForDescriptors(pid);
  // Everything that loads code happens while the target still runs.
  const format = await options.registry.load(options.to ?? "ckpt-elf");
  await assertPossible(format, options);
  const open = (shape: FormatAdapter["shape"]): PendingOutput =>
    openOutput(options.output, { shape, isExecutable: format.isExecutable, force: options.force });
  // Whether a core is a file or a directory only the tree tells; all else is refused before anything is frozen.
  let output = format.shapeOf === undefined ? open(format.shapeOfName?.(options.output) ?? format.shape) : undefined;
  const guard = new InterruptGuard(options.ignoresSignals);
  const check = (): void => guard.check("dump");
  let devices: DeviceHold | undefined;
  let held: HeldTree | undefined;
  let content: Content | undefined;
  let bundled: WithRoot | undefined;
  try {
    devices = await takeDevices(pid, options, prepared.maps, check);
    // Where another thread is going to look at many descriptors, it is made meanwhile.
    if (!areMany(order)) dumpPlan();
    await prepared.prepare({ format, output, hasDevices: devices !== undefined, isPractised: !areMany(order), check });
    held = await freeze(pid, prepared, { ...options, order, ignored, check });
    devices?.record(held.context);
    const { checkpoint } = held.collection;
    const isRehearsed = options.rehearse === true && canRehearse(checkpoint, options);
    const losses = lossesOf(format, checkpoint, options);
    logStep(() => `collected: ${modelText(checkpoint)}; ${losses.length} kinds of losses`);
    await turn();
    check();
    output ??= open(format.shapeOf?.(checkpoint, {}) ?? format.shape);
    content = await runOn(held, prepared, {
      output: options.output,
      mayFork: options.fork !== false,
      isHeld: isRehearsed,
      watch: { onProgress: check },
    });
    // Standard output may be a pipe that nobody reads from: from here on a signal ends this process, which lets the tree go.
    if (options.output === "-") guard.close();
    // A container takes along what it uses of its root.
    bundled = options.bundle ? await withRootFiles(content.checkpoint, options, format.isExecutable === true) : undefined;
    await writing(
      options.output,
      writeWithoutZeros(format, bundled?.checkpoint ?? content.checkpoint, output, {
        bundle: options.bundle && bundled === undefined,
        compress: options.compress,
        dedup: options.dedup,
        parent: options.parent,
        onProgress: (done, total) => {
          check();
          options.onProgress?.(done, total);
        },
        onStored: content.onStored,
      }),
    );
    held.early?.confirm();
    await turn();
    check();
    const report = {
      output: options.output,
      format: format.id,
      processes: content.checkpoint.tables.tasks.length,
      threads: content.checkpoint.tables.threads.length,
      pageBytes: storedBytes(content.checkpoint),
      losses,
    };
    logStep(() => `written: ${report.pageBytes} bytes of pages, format ${format.id}`);
    if (isRehearsed) await rehearseOutput(output, format, options.output);
    held.closeCollection();
    output.commit({ sync: options.sync });
    logStep(() => "the image has its name");
    if (options.after === "kill") {
      await held.end(report.pageBytes, waiters);
      await devices?.forget();
    } else if (options.after === "leave-stopped") {
      await held.letStop(devices?.restoreThreads ?? [], async () => devices?.giveBack());
    } else {
      if (held.isHeld) held.letRun();
      await devices?.giveBack();
    }
    logStep(() => `the tree: ${options.after}`);
    const times = { frozenMs: held.frozenMs + prepared.stoodStill, totalMs: performance.now() - started };
    return { ...report, ...times, ...(devices === undefined ? {} : { gpu: devices.report }) };
  } catch (error) {
    const reason = held === undefined ? error : held.abandon(error);
    output?.discard();
    await devices?.release();
    throw reason;
  } finally {
    bundled?.close();
    content?.close();
    await prepared.close();
    await devices?.close();
    guard.close();
  }
}

/** What of the outside is left out rather than refused. @throws CrimgError `usage.*` */
function ignoredBy({ ignore, manageCgroups, forceLoss }: DumpOptions): Ignored {
  return parseIgnored(manageCgroups === "ignore" ? [...ignore, "cgroup"] : ignore, forceLoss === true);
}

function storedBytes(checkpoint: Checkpoint): bigint {
  const columns = extentColumns(checkpoint);
  return columns === undefined ? checkpoint.tables.extents.reduce((sum, { length }) => sum + length, 0n) : BigInt(bytesOf(columns));
}

/** Has the driver take the tree off its GPUs, if it is on any. */
function takeDevices(pid: number, options: DumpOptions, maps: Buffer | undefined, check: () => void): Promise<DeviceHold | undefined> {
  if (options.cuda === false) return Promise.resolve(undefined);
  return DeviceHold.take({ pid, isTree: options.isTree, maps, lockMs: options.gpuTimeoutMs ?? defaultGpuTimeoutMs, check });
}

function lossesOf(format: FormatAdapter, checkpoint: Checkpoint, options: DumpOptions): readonly Loss[] {
  return [
    ...checkpoint.tables.losses.map(({ code, count, text }): Loss => ({ code, facet: "tree", count, text })),
    ...(format.losses?.(checkpoint, { bundle: options.bundle }) ?? []),
  ];
}
