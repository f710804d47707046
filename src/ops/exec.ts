// SPDX-License-Identifier: Apache-2.0
/**
 * crimg exec: resumes a checkpoint of any readable format. An executable image is executed as it is; everything else is
 * linked into a nameless file first, so that both behave the same: foreground, terminal, signals, exit status.
 */
import { accessSync, closeSync, constants, openSync, readlinkSync, unlinkSync } from "node:fs";
import { randomDigits } from "../linux/random-name.js";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probeFormat, probeInputOf } from "../adapter/detect.js";
import type { FormatAdapter } from "../adapter/format.js";
import type { Output } from "../adapter/output.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { logStep } from "../errors/log.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { assertResumable } from "../model/resumable.js";
import { withoutTcpConnections } from "../model/tcp-close.js";
import { addressOf, cString, failed, memfdCreate, tryCall, tryFcntl } from "../native/index.js";
import { assertRootGiven, withRootFiles } from "./changes/own-root.js";
import { applyChanges, hasChanges } from "./changes/apply.js";
import { parseInheritedFd } from "./changes/inherit-fd.js";
import { resolveInput } from "./input.js";
import type { ExecOptions } from "./options.js";
import { readToResume } from "./read-to-resume.js";

/** Up to this much is linked in memory; more goes to a nameless file in $TMPDIR. */
const memoryLimit = 256n << 20n;
const imageFormat = "ckpt-elf";
/** F_SETFD. */
const fcntlSetFlags = 2;

/**
 * Replaces this process by the resumed program (or, with `detach`, by a process that ends when the program runs).
 * Returns only by throwing: CrimgError `exec.*`, or what reading and lowering throw.
 */
export async function exec(options: ExecOptions): Promise<number> {
  const input = resolveInput(options.image);
  const isImage = options.from === undefined || options.from === imageFormat;
  const format = isImage ? await probeFormat(probeInputOf(input.path), options.registry) : undefined;
  const isChanged = hasChanges(options);
  if (format?.id === imageFormat && isExecutable(input.path) && !isChanged && options.tcpClose !== true) {
    // A name of ours would be that of a descriptor that execve closes.
    const path = input.path.startsWith("/proc/self/fd/") ? readlinkIfNamed(input.path) : input.path;
    options.onExecute?.(path);
    replaceProcess(path, options);
  }
  const whole = await readToResume(input, options);
  let fd: number;
  let bundled: Awaited<ReturnType<typeof withRootFiles>>;
  try {
    const changed = isChanged ? applyChanges(whole, options) : whole;
    bundled = await withRootFiles(changed, options, true);
    const checkpoint = bundled?.checkpoint ?? changed;
    assertResumable(checkpoint);
    assertRootGiven(checkpoint.tables);
    const wanted = options.tcpClose === true ? withoutTcpConnections(checkpoint) : checkpoint;
    fd = await linkImage(wanted, await options.registry.load(imageFormat), options.onProgress);
  } finally {
    bundled?.close();
    whole.close();
  }
  // Node marks inherited descriptors close-on-exec when it starts.
  for (const text of options.inheritFd ?? []) tryFcntl(parseInheritedFd(text).own, fcntlSetFlags, 0);
  replaceProcess(`/proc/self/fd/${fd}`, options);
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function readlinkIfNamed(path: string): string {
  const target = readlinkSync(path);
  return target.startsWith("/") && !target.endsWith(" (deleted)") ? target : path;
}

/** Writes an executable image into a nameless file; returns a descriptor that can be executed. */
export async function linkImage(checkpoint: Checkpoint, format: FormatAdapter, onProgress?: ExecOptions["onProgress"]): Promise<number> {
  if (format.write === undefined) throw new CrimgError("exec.format", `${format.id} cannot be written`);
  const total = checkpoint.tables.extents.reduce((sum, extent) => sum + extent.length, 0n);
  const fd = total <= memoryLimit ? memfdCreate("crimg-image", 0) : openNameless();
  const output: Output = {
    path: "the linked image",
    file: () => ({ fd, path: "the linked image" }),
    create: () => {
      throw new CrimgError("exec.format", `${format.id} is not one file`);
    },
  };
  await format.write(checkpoint, output, { onProgress });
  if (total <= memoryLimit) return fd;
  // execve refuses a file that somebody has open for writing (ETXTBSY).
  const again = openSync(`/proc/self/fd/${fd}`, "r");
  closeSync(fd);
  return again;
}

function openNameless(): number {
  const path = join(tmpdir(), `.crimg-${process.pid}-${randomDigits(8)}.elf`);
  const fd = openSync(path, "wx+", 0o700);
  unlinkSync(path);
  return fd;
}

/** execve. The options reach the image as its arguments; the environment is passed on but not used. */
function replaceProcess(path: string, options: ExecOptions): never {
  const argv = [path];
  if (options.detach) argv.push("--detach");
  if (options.leaveStopped) argv.push("--leave-stopped");
  if (options.noVerify) argv.push("--no-verify");
  if (options.pidfile !== undefined) argv.push("--pidfile", options.pidfile);
  if (options.pid !== undefined) argv.push("--pid", options.pid);
  if (options.isLazy !== undefined) argv.push(options.isLazy ? "--lazy" : "--eager");
  if (options.clock !== undefined) argv.push("--clock", options.clock);
  for (const policy of options.files ?? []) argv.push("--files", policy);
  if (options.gpuMap !== undefined && options.gpuMap.length > 0) argv.push("--gpu-map", options.gpuMap.join(","));
  // Node marks the standard streams close-on-exec when it starts; they belong to the program now.
  for (const fd of [0, 1, 2]) tryFcntl(fd, fcntlSetFlags, 0);
  logStep(() => `execute ${path}: what follows is the image's own`);
  const environment = Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ""}`);
  const result = tryCall("execve", cString(path), pointers(argv), pointers(environment));
  const errno = failed(result) ? -result : 0;
  throw new CrimgError(
    "exec.failed",
    `cannot execute the image ${path}: ${errno === 13 ? "permission denied, or its filesystem is mounted noexec" : `error ${errno}`}`,
    { source: options.image, hint: "copy the image to a filesystem where programs may run" },
    exitStatus.restoreFailed,
  );
}

/** Keeps the strings of an argument vector alive as long as the vector. */
const kept: Uint8Array[] = [];

/** A NULL-terminated array of pointers to C strings. */
function pointers(texts: readonly string[]): BigUint64Array {
  const strings = texts.map((text) => cString(text));
  kept.push(...strings);
  return BigUint64Array.from([...strings.map((string) => addressOf(string)), 0n]);
}
