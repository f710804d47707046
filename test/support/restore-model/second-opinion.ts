// SPDX-License-Identifier: Apache-2.0
/** What the second interpreter says of an image that a test has made. */
import { closeSync, openSync, readSync } from "node:fs";
import { readImage } from "../../../formats/ckpt-elf/read.js";
import { ownRootMount } from "../../../src/model/root-files.js";
import { Image } from "./image.js";
import { assertTreeMade } from "./judge.js";
import { Machine } from "./machine.js";

/** So much of the stored bytes has its checksums looked at, bit by bit; all of a small image. */
const verifyBytes = 4 << 20;

/** Whether a file is an ELF executable (ET_EXEC): an image with a restore program. */
function isExecutable(path: string): boolean {
  const head = Buffer.alloc(18);
  try {
    const fd = openSync(path, "r");
    readSync(fd, head, 0, head.length, 0);
    closeSync(fd);
  } catch {
    return false;
  }
  return head.readUInt32BE(0) === 0x7f454c46 && head.readUInt16LE(16) === 2;
}

/** Threads under seccomp are traced before they are ready, and the model knows no tracer: they end in none of its ways. */
function isUnderSeccomp(path: string): boolean {
  const checkpoint = readImage(path, {});
  try {
    return checkpoint.tables.seccompStates.length > 0;
  } finally {
    checkpoint.close();
  }
}

/**
 * Executes the restore program of `path` in the model: it comes to its end, and what it made is what the tables say.
 * Files that are no executable image are passed over. @throws Failed, BadProgram, AssertionError
 */
export function assertSecondOpinion(path: string): void {
  if (!isExecutable(path)) return;
  const image = new Image(path);
  try {
    if (isUnderSeccomp(path)) return;
    const checkpoint = readImage(path, {});
    try {
      // The model has the files of this machine, and no other root directory.
      if (ownRootMount(checkpoint.tables) !== undefined) return;
      const machine = new Machine(image, { verifyBytes });
      machine.run();
      assertTreeMade(machine, checkpoint);
    } finally {
      checkpoint.close();
    }
  } catch (cause) {
    throw new Error(`the second interpreter does not agree on ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  } finally {
    image.close();
  }
}
