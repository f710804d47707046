// SPDX-License-Identifier: Apache-2.0
/** crimg explain: what an image will do when it is executed, one line an op, like strace before the fact. */
import { linkProgramOf } from "../../formats/ckpt-elf/link.js";
import { readProgramBytes } from "../../formats/ckpt-elf/read-program.js";
import { detectFormat } from "../adapter/detect.js";
import { readToResume } from "./read-to-resume.js";
import { RestoreProgram } from "./explain/program.js";
import { renderProgram } from "./explain/render.js";
import { resolveInput } from "./input.js";
import type { ExplainOptions } from "./options.js";

/**
 * The lines for an image; for other formats those of the program that `crimg exec` would link.
 * @throws CrimgError as reading and lowering do
 */
export async function explain(options: ExplainOptions): Promise<Iterable<string>> {
  const input = resolveInput(options.image);
  const id = options.from ?? (await detectFormat(input.path, options.registry)).id;
  if (id === "ckpt-elf") return renderProgram(new RestoreProgram(readProgramBytes(input.path), input.name));
  const checkpoint = await readToResume(input, options);
  try {
    return renderProgram(new RestoreProgram(linkProgramOf(checkpoint).bytes, input.name));
  } finally {
    checkpoint.close();
  }
}
