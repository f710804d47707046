// SPDX-License-Identifier: Apache-2.0
/**
 * Progress of `crimg exec` for big executable images: a process of its own that prints while the image loads. It is no child of
 * the image's first process, which waits for children of its own only.
 */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { FileBytes } from "../bytes/random-bytes.js";
import { segmentsOf } from "../../formats/ckpt-elf/image-header.js";
import { readElfHeader, readProgramHeaders } from "../elf/headers.js";
import { tryCall } from "../native/index.js";
import { isSingleExecutable } from "../resources/resources.js";
import { bytesReadBy, watchResume } from "../ops/watch-resume.js";
import { progressOn } from "./progress.js";
import type { Terminal } from "./terminal.js";

/** The word for an internal command (main.ts). */
const watchWord = "__watch-resume";

/** Images that store less are there before anybody wonders. */
const bigBytes = 512n << 20n;

/** Bytes of pages that an executable image stores. */
function storedBytes(path: string): bigint {
  const file = FileBytes.open(path);
  try {
    return segmentsOf(readProgramHeaders(file, readElfHeader(file))).extents?.pFilesz ?? 0n;
  } finally {
    file.close();
  }
}

/** Starts the process that prints, if the image is big and somebody looks. Call it right before the image is executed. */
export function startExecProgress(path: string, terminal: Terminal): void {
  if (!terminal.errIsTerminal) return;
  const total = storedBytes(path);
  if (total < bigBytes) return;
  const crimg = isSingleExecutable() ? [] : [(process.argv[1] ?? "").replace(/crimg-exec$/, "crimg")];
  const words = [watchWord, process.pid, bytesReadBy(process.pid) ?? 0n, total].map(String);
  // The shell ends at once, so that the child is nobody's of ours.
  spawnSync("/bin/sh", ["-c", '"$@" &', "sh", process.execPath, ...crimg.map((name) => resolve(name)), ...words], {
    stdio: ["ignore", "ignore", 2],
  });
}

/** The process that prints. */
export async function runWatch([pid = "", base = "", total = ""]: readonly string[], terminal: Terminal): Promise<number> {
  // Out of the session: it must not be stopped when the program takes the terminal.
  tryCall("setsid");
  const progress = progressOn(terminal, "loading");
  await watchResume({ pid: Number(pid), baseBytes: BigInt(base), totalBytes: BigInt(total), onProgress: progress.update });
  progress.end();
  return 0;
}
