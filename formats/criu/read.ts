// SPDX-License-Identifier: Apache-2.0
/** Reads an image set: a directory, or an archive of one. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ReadOptions } from "../../src/adapter/format.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { readTmpfs } from "./archive/tmpfs.js";
import { engineFiles, factsOf } from "./archive/container.js";
import { carriedMembers, contentsBeside, engineFolder, engineMarks, isCarriedMember } from "./archive/engine-members.js";
import { type Member, membersOfDirectory } from "./archive/members.js";
import { archiveAt } from "./archive/oci.js";
import { extractSet } from "./archive/extract.js";
import { fromWire } from "./wire/from-wire.js";
import { ImageSet } from "./wire/image-set.js";
import { inventoryName } from "./wire/image-types.js";
import { loadSet } from "./wire/load.js";

/**
 * Reads the set at `path`. Page files are opened, not read; those of an archive are unpacked into a private directory
 * that is gone as soon as they are open. Throws located CrimgErrors.
 */
export async function readCriu(path: string, options: ReadOptions): Promise<Checkpoint> {
  const { set, members } = await openSet(path, options.extra?.["without-memory"] === true ? maxPagesShown : undefined);
  try {
    const wire = loadSet(set);
    const noted = members ?? membersBeside(path);
    const facts = factsOf(noted);
    const { checkpoint, losses } = fromWire(wire, await readTmpfs(set), facts, carriedMembers(noted));
    for (const loss of losses) options.onLoss?.(loss);
    options.onContainer?.(facts);
    return checkpoint;
  } finally {
    set.close();
  }
}

/** What an engine put into an unpacked checkpoint; nothing is looked for where none did. */
function membersBeside(path: string): readonly Member[] {
  if (!engineMarks.some((name) => existsSync(join(path, name)))) return [];
  return membersOfDirectory(path, (name) => engineFiles.has(name) || isCarriedMember(name));
}

/** Without memory (the switch "without-memory"), pages of an archive are unpacked up to this, for the command lines. */
const maxPagesShown = 64 << 20;

/** The set, and the members of the archive that it was in. */
async function openSet(path: string, maxPages: number | undefined): Promise<{ set: ImageSet; members?: readonly Member[] }> {
  const archive = archiveAt(path);
  if (archive === undefined) return { set: setIn(path) };
  const { directory, temporary, members } = await extractSet(path, archive, maxPages);
  return { set: new ImageSet(directory, path, temporary), members };
}

function setIn(path: string): ImageSet {
  const set = new ImageSet(path, path);
  if (set.has("pstree.img") && set.has(inventoryName)) return set;
  if ([...set.names].some((name) => name.startsWith("pagemap-"))) {
    throw new CrimgError("criu.memory-only", "The directory holds memory only, and no process: criu pre-dump or a page server wrote it.", {
      source: path,
      format: "criu",
      hint:
        "Name the directory of the dump that was made on it (its link 'parent' leads here); with a page server, put both " +
        "directories together.",
    });
  }
  // An unpacked checkpoint of a container engine keeps the set one level down.
  if (set.has(engineFolder)) {
    return new ImageSet(set.path(engineFolder), set.path(engineFolder), undefined, 0, contentsBeside(path, set.names));
  }
  throw new CrimgError("criu.open", `The directory has no ${inventoryName}.`, {
    source: path,
    format: "criu",
    hint: "Name the directory that criu dump wrote (-D).",
  });
}
