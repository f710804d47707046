// SPDX-License-Identifier: Apache-2.0
/** Images for tests, made from the small model: no process and no fixture is needed. */
import { join } from "node:path";
import { registry } from "../../formats/registry.js";
import { writeCheckpoint } from "../../src/ops/convert.js";
import type { MutableTables } from "../../src/gen/tables.js";
import { checkpointOf, smallTables } from "../unit/validate/small-model.js";

/** Writes the small model, changed, in a format. Returns its path. */
export async function smallImage(directory: string, id = "ckpt-elf", change?: (tables: MutableTables) => void): Promise<string> {
  const tables = smallTables();
  change?.(tables);
  const path = join(directory, `small.${id}`);
  const checkpoint = checkpointOf(tables);
  try {
    await writeCheckpoint(checkpoint, path, await registry.load(id), { registry, force: true });
  } finally {
    checkpoint.close();
  }
  return path;
}
