// SPDX-License-Identifier: Apache-2.0
/** crimg convert: read → losses → write → commit. */
import { basename } from "node:path";
import type { FormatAdapter, Loss, ReadOptions, WriteOptions } from "../adapter/format.js";
import { detectFormat, probeFormat, probeInputOf } from "../adapter/detect.js";
import { LossReport } from "../adapter/losses.js";
import type { FormatRegistry } from "../adapter/registry.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { logStep } from "../errors/log.js";
import type { ClockPolicy } from "../gen/tables.js";
import { Checkpoint } from "../model/checkpoint.js";
import { absentBytes } from "../model/absent.js";
import { assertResumable } from "../model/resumable.js";
import { selectTask } from "../model/select-task.js";
import { assertRootGiven, changeRoot, changesRoot, type OwnRootChanges, withRootFiles } from "./changes/own-root.js";
import { expandInput } from "./expand/expand-input.js";
import { InterruptGuard } from "./interrupt.js";
import { assertCompressible, writeWithoutZeros } from "./write-without-zeros.js";
import { openOutput } from "./output.js";
import { type Input, resolveInput } from "./input.js";
import { modelText } from "./report/words.js";

export interface ConvertOptions extends WriteOptions, Omit<OwnRootChanges, "onLoss"> {
  readonly registry: FormatRegistry;
  /** Format id; by content if absent. */
  readonly from?: string;
  /** Format id; by the output's name if absent. */
  readonly to?: string;
  /** Refuse (exit status 3) if anything would be lost. */
  readonly strict?: boolean;
  /** What the clocks do at a resume of the output; absent: what the input says. */
  readonly clock?: ClockPolicy;
  /** Whether at a resume of the output the program runs before its memory is there; absent: what the input says. */
  readonly isLazy?: boolean;
  /** Replace the output if it exists. */
  readonly force?: boolean;
  /** Make the output durable before it gets its name. */
  readonly sync?: boolean;
  /** False: checksums of the input are not looked at. */
  readonly verify?: boolean;
  /** Called with all losses before anything is written. */
  readonly onLosses?: (losses: readonly Loss[]) => void;
}

/** What a conversion did. */
export interface ConvertReport {
  /** Path of the input. */
  readonly input: string;
  /** Path of the output. */
  readonly output: string;
  /** Format id of the input. */
  readonly from: string;
  /** Format id of the output. */
  readonly to: string;
  /** What the output does not hold. */
  readonly losses: readonly Loss[];
}

const byName: readonly (readonly [RegExp, string])[] = [
  [/\.json$/, "json"],
  [/\.(elf|ckpt|image)$/, "ckpt-elf"],
  [/^core(\.|$)|\.core$/, "core"],
  [/criu|\.(tar(\.(gz|zst))?|tgz|tzst)$/, "criu"],
  [/crtools/, "crtools"],
];

/** The format that a name asks for, or undefined. */
export function formatByName(path: string): string | undefined {
  const name = basename(path);
  return byName.find(([pattern]) => pattern.test(name))?.[1];
}

/** The adapter to write with. Throws CrimgError `usage.to` if the name does not say. */
export async function writerFor(path: string, to: string | undefined, registry: FormatRegistry): Promise<FormatAdapter> {
  const id = to ?? formatByName(path);
  if (id === undefined) {
    throw new CrimgError("usage.to", `which format ${path} should be in is not clear from its name`, {
      hint: `add --to FORMAT, one of ${registry.ids.join(", ")}`,
    });
  }
  const format = await registry.load(id);
  if (format.write === undefined) {
    throw new CrimgError("format.read-only", `crimg reads ${format.id} but does not write it`, {
      hint: "crimg formats shows what can be written",
    });
  }
  return format;
}

/** Reads a checkpoint in any format, compressed or not. The caller closes it. */
export async function readCheckpoint(
  given: Input,
  options: {
    readonly registry: FormatRegistry;
    readonly from?: string;
    readonly pid?: number;
    readonly onLoss?: (loss: Loss) => void;
    readonly onContainer?: ReadOptions["onContainer"];
    readonly extra?: WriteOptions["extra"];
    readonly verify?: boolean;
  },
): Promise<{ readonly checkpoint: Checkpoint; readonly format: FormatAdapter }> {
  const input = options.from === undefined ? await expandInput(given, options.registry) : given;
  try {
    return await readExpanded(input, options);
  } finally {
    // The page source has a descriptor of its own.
    if (input !== given) input.close();
  }
}

async function readExpanded(
  input: Input,
  options: Parameters<typeof readCheckpoint>[1],
): Promise<{ readonly checkpoint: Checkpoint; readonly format: FormatAdapter }> {
  const format = options.from === undefined ? await detectFormat(input.path, options.registry) : await options.registry.load(options.from);
  if (format.read === undefined) {
    throw new CrimgError("format.write-only", `crimg writes ${format.id} but does not read it`, {
      source: input.name,
      hint: "crimg formats shows what can be read",
    });
  }
  // Not there or not readable is said in the same words, whether or not detection was skipped.
  if (options.from !== undefined) probeInputOf(input.path);
  const checkpoint = await format.read(input.path, {
    pid: options.pid,
    onLoss: options.onLoss,
    onContainer: options.onContainer,
    extra: options.extra,
    verify: options.verify,
  });
  logStep(() => `read ${input.name} as ${format.id}: ${modelText(checkpoint)}`);
  return { checkpoint, format };
}

/** Turns one checkpoint into another format. Throws CrimgError `convert.loss` under `strict`. */
export async function convert(input: string, output: string, options: ConvertOptions): Promise<ConvertReport> {
  const { registry } = options;
  const source = resolveInput(input);
  try {
    const target = await writerFor(output, options.to, registry);
    assertCompressible(target, options);
    const report = new LossReport();
    const { checkpoint: whole, format } = await readCheckpoint(source, {
      registry,
      from: options.from,
      pid: options.pid,
      verify: options.verify !== false,
      onLoss: (loss) => report.add(loss),
    });
    let whenDone = (): void => undefined;
    try {
      const selected = withDefaults(options.pid === undefined ? whole : selectTask(whole, options.pid), options);
      const rooted = withRoot(selected, { ...options, onLoss: (loss) => report.add(loss) });
      const bundled = await withRootFiles(rooted, options, target.isExecutable === true);
      const checkpoint = bundled?.checkpoint ?? rooted;
      whenDone = bundled?.close ?? whenDone;
      // What the tree uses of its root is in the image then, under its own names.
      const writing = bundled === undefined ? options : { ...options, bundle: false };
      if (target.isExecutable === true) {
        assertResumable(checkpoint);
        assertRootGiven(checkpoint.tables);
      }
      report.addAll(target.losses?.(checkpoint, writing) ?? []);
      if (target.keepsAbsentMemory !== true) report.addAll(absentAsZeros(checkpoint));
      options.onLosses?.(report.losses);
      if (options.strict === true && !report.isEmpty) {
        throw new CrimgError(
          "convert.loss",
          `${target.id} cannot hold all of ${source.name}, and --strict was given`,
          { source: source.name, hint: "leave --strict out to convert what can be converted" },
          exitStatus.loss,
        );
      }
      const isSameFormat = format.id === target.id && bundled === undefined && options.dedup !== true;
      await writeCheckpoint(checkpoint, output, target, { ...writing, isSameFormat });
      return { input: source.name, output, from: format.id, to: target.id, losses: report.losses };
    } finally {
      whenDone();
      whole.close();
    }
  } finally {
    source.close();
  }
}

/** Absent memory where the target knows stored memory and zeros only. */
function absentAsZeros(checkpoint: Checkpoint): Loss[] {
  return [...absentBytes(checkpoint)].map(([reason, bytes]) => ({
    code: "memory.absent",
    facet: "memory",
    count: Number(bytes),
    text: `bytes of memory that are not known will read as zeros: ${reason}`,
  }));
}

/** The same checkpoint, with the root directory and mounts that were given. */
function withRoot(checkpoint: Checkpoint, changes: OwnRootChanges): Checkpoint {
  if (!changesRoot(changes)) return checkpoint;
  const { tables, sources, unknownTables } = checkpoint;
  return new Checkpoint({ tables: changeRoot(tables, changes), sources, unknownTables });
}

/** The same checkpoint, for which something else holds at a resume that does not say. */
function withDefaults(checkpoint: Checkpoint, { clock, isLazy }: Pick<ConvertOptions, "clock" | "isLazy">): Checkpoint {
  if (clock === undefined && isLazy === undefined) return checkpoint;
  const { tables, sources, unknownTables } = checkpoint;
  const rows = tables.checkpoint.map((row) => ({
    ...row,
    ...(clock === undefined ? {} : { clock }),
    ...(isLazy === undefined ? {} : { isLazy: Number(isLazy) }),
  }));
  return new Checkpoint({ tables: { ...tables, checkpoint: rows }, sources, unknownTables });
}

/** Writes a checkpoint under its final name, whole or not at all. */
export async function writeCheckpoint(
  checkpoint: Checkpoint,
  output: string,
  target: FormatAdapter,
  options: WriteOptions & {
    readonly registry: FormatRegistry;
    readonly force?: boolean;
    readonly sync?: boolean;
    /** The checkpoint was read from this format: its pages stay as they are. */
    readonly isSameFormat?: boolean;
  },
): Promise<void> {
  // Detection is asynchronous and replacing is decided in one step, so it is asked beforehand.
  const shape = target.shapeOf?.(checkpoint, options) ?? target.shapeOfName?.(output) ?? target.shape;
  const isImageSet = options.force === true && shape === "directory" && (await isImage(output, options.registry));
  const pending = openOutput(output, {
    shape,
    isExecutable: target.isExecutable,
    force: options.force,
    isReplaceable: () => isImageSet,
  });
  const guard = new InterruptGuard();
  try {
    const onProgress = (done: bigint, total: bigint): void => {
      guard.check("convert");
      options.onProgress?.(done, total);
    };
    // A pipe that nobody reads from blocks in write(2), where no handler runs: from here on a signal simply ends this process.
    if (output === "-") guard.close();
    if (options.isSameFormat === true) await target.write?.(checkpoint, pending, { ...options, onProgress });
    else await writeWithoutZeros(target, checkpoint, pending, { ...options, onProgress });
    // Signals are noticed when the event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
    guard.check("convert");
    pending.commit({ sync: options.sync });
    logStep(() => `wrote ${output} as ${target.id}`);
  } finally {
    pending.discard();
    guard.close();
  }
}

async function isImage(path: string, registry: FormatRegistry): Promise<boolean> {
  try {
    return (await probeFormat(probeInputOf(path), registry)) !== undefined;
  } catch {
    return false;
  }
}
