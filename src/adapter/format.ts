// SPDX-License-Identifier: Apache-2.0
/** The contract of a format folder (formats/<id>/index.ts exports one `FormatAdapter` as `format`). */
import type { ContainerFacts } from "./container-facts.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Output } from "./output.js";

/** How a format holds a part of the model. */
export type FacetSupport =
  /** Kept bit for bit. */
  | "exact"
  /** Not stored, but recomputed from what is. */
  | "derived"
  /** Kept in part. */
  | "lossy"
  /** Not there. */
  | "absent";

/** The parts of the model that formats are compared by (`crimg formats`). */
export const facetNames = [
  "tree",
  "threads",
  "registers",
  "fpu",
  "memory",
  "shared-memory",
  "mapped-files",
  "files",
  "pipes",
  "sockets",
  "event-fds",
  "signals",
  "timers",
  "credentials",
  "limits",
  "fs",
  "scheduling",
  "command-line",
] as const;
/** A part of the model that formats are compared by. */
export type FacetName = (typeof facetNames)[number];

/** Something that the target format cannot hold. Counted; shown one line a kind. */
export interface Loss {
  /** Stable: `area.what`, such as `threads.extra`. */
  readonly code: string;
  /** The part of the model that is concerned. */
  readonly facet: FacetName;
  /** How many of it, in the unit that `text` names. */
  readonly count: number;
  /** In words; names the first objects concerned, such as "fd 7 of 4711 (socket)". */
  readonly text: string;
}

/** What detection may look at: never more than the first 64 KiB. */
export interface ProbeInput {
  readonly path: string;
  readonly isDirectory: boolean;
  /** First bytes of a file (up to 64 KiB); empty for a directory. */
  readonly head: Uint8Array;
  /** Names in a directory; empty for a file. */
  readonly entries: readonly string[];
}

export interface ReadOptions {
  /** Only this process, where a format can hold several. */
  readonly pid?: number;
  /** Whether checksums that the image has are looked at: of its tables now, of its pages when they are read. */
  readonly verify?: boolean | undefined;
  /** Where warnings go (losses while reading, such as "a core holds no descriptors"). */
  readonly onLoss?: (loss: Loss) => void;
  /** Called with what an engine wrote beside the checkpoint of a container; undefined if it wrote nothing. */
  readonly onContainer?: ((facts: ContainerFacts | undefined) => void) | undefined;
  /** Format-specific switches, as documented in the adapter's README. */
  readonly extra?: Readonly<Record<string, string | boolean>>;
}

export interface WriteOptions {
  /** Only this process. */
  readonly pid?: number;
  /** Store clean file pages too, so that none of the original files is needed. */
  readonly bundle?: boolean;
  /** Compress stored pages, where the format can (`ckpt-elf`). */
  readonly compress?: "lz4" | undefined;
  /** Store equal pages of processes once, where the format can (`ckpt-elf`). */
  readonly dedup?: boolean | undefined;
  /** An earlier image of the same processes, in the same format: what it has is not stored again. */
  readonly parent?: string | undefined;
  /** Format-specific switches, as documented in the adapter's README. */
  readonly extra?: Readonly<Record<string, string | boolean>>;
  /** Called between pieces of long work; throws to abort. */
  readonly onProgress?: (doneBytes: bigint, totalBytes: bigint) => void;
  /** Called once no page will be read any more, by formats with `pagesBegin`; throws to abort. */
  readonly onStored?: (() => void) | undefined;
}

export interface FormatAdapter {
  /** The folder's name, and what --from and --to take. */
  readonly id: string;
  readonly title: string;
  /** Whether one checkpoint is a file or a directory when written. */
  readonly shape: "file" | "directory";
  /** Where that depends on the checkpoint: a core is a file a process, so a tree is a directory. */
  shapeOf?(checkpoint: Checkpoint, options: WriteOptions): "file" | "directory";
  /** Where it depends on the name of the output: "set.tar" is a file. */
  shapeOfName?(name: string): "file" | "directory";
  /** Whether the file written is executable (mode 0700, else 0600). */
  readonly isExecutable?: boolean;
  /** Where stored pages begin in a file without a helper, if they may be written before anything else is known (AdoptedPages). */
  pagesBegin?(): Promise<number>;
  /** Makes of a checkpoint what `write` makes of one, but for the pages, for nothing: what has been done once takes half the time. */
  practise?(checkpoint: Checkpoint): Promise<void>;
  readonly facets: Readonly<Record<FacetName, FacetSupport>>;
  /** Memory that is not known stays unknown in it; other formats get zeros, which `convert` reports. */
  readonly keepsAbsentMemory?: true;
  /**
   * It deals with pages of zeros itself: leaves them out, or makes holes of them. For other formats dump, and convert from
   * another format, leave such pages out before (pages/storage-plan.ts).
   */
  readonly knowsZeroPages?: true;
  /** Images of it can leave pages to an earlier one (`WriteOptions.parent`). */
  readonly canHaveParent?: true;
  /** True if the content is of this format. Must not throw. */
  probe(input: ProbeInput): boolean;
  /** Reads without loading page payload. Throws located CrimgErrors only. */
  read?(path: string, options: ReadOptions): Promise<Checkpoint>;
  /** Losses that a write would have, without writing. */
  losses?(checkpoint: Checkpoint, options: WriteOptions): readonly Loss[];
  /** Writes into an output that the caller commits or discards. */
  write?(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void>;
}
