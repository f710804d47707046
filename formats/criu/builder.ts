// SPDX-License-Identifier: Apache-2.0
/** A model under construction from an image set: rows, and for each row the message that it came from. */
import { emptyTables, type MutableTables } from "../../src/gen/tables.js";
import type { Loss } from "../../src/adapter/format.js";
import type { PageSource } from "../../src/model/page-source.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { ImageSetIds } from "./ids/image-set-ids.js";
import { ForeignWriter } from "./foreign/foreign.js";
import type { MemfdInode } from "./gen/memory_pb.js";
import type { RemapFilePath } from "./gen/payload_pb.js";
import type { WireSet } from "./wire/load.js";

/** Keeps what a message says beyond the rows made of it. Runs when all rows are there. */
export type KeepDelta = (context: ImageSetIds, foreign: ForeignWriter) => void;

export class ModelBuilder {
  readonly tables: MutableTables = emptyTables();
  readonly sources: PageSource[] = [];
  readonly foreign = new ForeignWriter(this.tables.foreign);
  readonly deltas: KeepDelta[] = [];
  readonly losses: Loss[] = [];
  /** NT_GNU_BUILD_ID of the dumped kernel's vDSO. */
  vdsoBuildId: Uint8Array | undefined;
  /** Rows by the set's own identifiers. */
  /** The first task with a descriptor table, by the table's number. */
  readonly tableOwners = new Map<number, number>();
  /** Terminals (tty-info.img) whose master and slave are both open in the set. */
  readonly pairedTerminals: ReadonlySet<number>;
  readonly taskRows = new Map<number, number>();
  readonly fileRows = new Map<number, number>();
  readonly objectRows = new Map<string, number>();
  readonly credRows = new Map<string, number>();
  /** Rows of `pipes` and `sockets` by the set's numbers. */
  readonly pipeRows = new Map<number, number>();
  readonly fifoRows = new Map<number, number>();
  readonly socketRows = new Map<number, number>();
  /** Ids of the entries of files.img by which an object is mapped, executed or stood in. */
  readonly objectFileIds = new Map<number, number[]>();
  /** Entries that only give an open FIFO or terminal its path. */
  readonly pathFileIds = new Set<number>();
  /** Entries that name files which lost their own name (linked remaps). */
  readonly linkTargets = new Set<number>();
  /** Devices of the filesystems of `mounts` rows, as the set numbers them. */
  readonly mountDevices = new Map<number, number>();
  /** Entries that the model has no kind for. */
  readonly keptFiles = new Set<number>();

  /** remap-fpath.img by the entry concerned, memfd.img by inode. */
  readonly remaps: ReadonlyMap<number, RemapFilePath>;
  readonly memfds: ReadonlyMap<number, MemfdInode>;

  constructor(readonly wire: WireSet) {
    this.remaps = new Map(wire.remaps.map((entry) => [entry.origId, entry]));
    this.pairedTerminals = mastersAndSlaves(wire);
    this.memfds = new Map(wire.memfds.map((inode) => [Number(BigInt.asUintN(32, inode.inodeId)), inode]));
  }

  /** An error about an image of this set. */
  error(code: string, message: string, image: string, path?: string, hint?: string): CrimgError {
    return new CrimgError(code, message, { source: this.wire.set.labelOf(image), path, format: "criu", hint });
  }

  lose(loss: Loss): void {
    this.losses.push(loss);
  }
}

/** Numbers of pseudo-terminals of which the set has the master (opened through /dev/ptmx), and of their slaves. */
function mastersAndSlaves(wire: WireSet): Set<number> {
  const pathOf = (regfId: number): string => Buffer.from(wire.files.get(regfId)?.reg?.name ?? []).toString("latin1");
  const ttys = [...wire.files.values()].flatMap(({ tty }) => (tty ? [tty] : []));
  const infos = new Map(wire.terminals.map((info) => [info.id, info]));
  const indices = new Set<number>();
  for (const tty of ttys) {
    const index = infos.get(tty.ttyInfoId)?.pty?.index;
    if (pathOf(tty.regfId).endsWith("/ptmx") && index !== undefined) indices.add(index);
  }
  return new Set(wire.terminals.flatMap((info) => (info.pty && indices.has(info.pty.index) ? [info.id] : [])));
}
