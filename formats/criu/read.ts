/** Reads an image set: a directory, or an archive of one. */
import type { ReadOptions } from "../../src/adapter/format.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { fromWire } from "./from-wire.js";
import { ImageSet } from "./image-set.js";
import { loadSet } from "./load.js";

/** Reads the set at `path`. Page files are opened, not read. Throws located CrimgErrors. */
export async function readCriu(path: string, options: ReadOptions): Promise<Checkpoint> {
  const set = new ImageSet(path, path);
  try {
    const { checkpoint, losses } = fromWire(loadSet(set));
    for (const loss of losses) options.onLoss?.(loss);
    return checkpoint;
  } finally {
    set.close();
  }
}
