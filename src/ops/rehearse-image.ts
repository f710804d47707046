// SPDX-License-Identifier: Apache-2.0
/** Rehearses a checkpoint of any readable format, as `exec` would resume it. */
import { closeSync } from "node:fs";
import type { FormatRegistry } from "../adapter/registry.js";
import { probeFormat, probeInputOf } from "../adapter/detect.js";
import { isExecutable, linkImage } from "./exec.js";
import { resolveInput } from "./input.js";
import { readToResume } from "./read-to-resume.js";
import { rehearse, type RehearsalOutcome } from "./rehearse.js";

const imageFormat = "ckpt-elf";

/** @throws CrimgError `rehearse.start`, and what reading and lowering throw */
export async function rehearseImage(image: string, registry: FormatRegistry): Promise<RehearsalOutcome> {
  const input = resolveInput(image);
  try {
    const format = await probeFormat(probeInputOf(input.path), registry);
    if (format?.id === imageFormat && isExecutable(input.path)) return await rehearse(input.path, image);
    const checkpoint = await readToResume(input, { registry });
    let fd: number;
    try {
      fd = await linkImage(checkpoint, await registry.load(imageFormat));
    } finally {
      checkpoint.close();
    }
    try {
      return await rehearse(`/proc/${process.pid}/fd/${fd}`, image);
    } finally {
      closeSync(fd);
    }
  } finally {
    input.close();
  }
}
