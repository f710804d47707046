// SPDX-License-Identifier: Apache-2.0
/** Combinations of options that cannot be: told before anything stands still. */
import { resolve } from "node:path";
import type { FormatAdapter } from "../../adapter/format.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { DumpOptions } from "../options.js";
import { assertCompressible } from "../write-without-zeros.js";
import { cannotRehearse } from "./rehearsal.js";

/** @throws CrimgError `format.read-only`, `usage.*`, and what reading a parent throws */
export async function assertPossible(format: FormatAdapter, options: DumpOptions): Promise<void> {
  if (format.write === undefined) {
    throw new CrimgError("format.read-only", `crimg reads ${format.id} but does not write it`, {
      hint: "crimg formats shows what can be written",
    });
  }
  assertCompressible(format, options);
  if (options.rehearse === true && options.output === "-") throw cannotRehearse();
  if (options.parent !== undefined) await assertParent(options.parent, format, options);
}

/** A parent that cannot be one. @throws CrimgError `usage.parent`, and what reading it throws */
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
