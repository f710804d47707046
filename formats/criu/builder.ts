/** A model under construction from an image set: rows, and for each row the message that it came from. */
import { emptyTables, type MutableTables } from "../../src/gen/tables.js";
import type { Loss } from "../../src/adapter/format.js";
import type { PageSource } from "../../src/model/page-source.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { WireContext } from "./context.js";
import { ForeignWriter } from "./foreign.js";
import type { MemfdInode } from "./gen/memory_pb.js";
import type { RemapFilePath } from "./gen/payload_pb.js";
import type { WireSet } from "./load.js";

/** Keeps what a message says beyond the rows made of it. Runs when all rows are there. */
export type KeepRest = (context: WireContext, foreign: ForeignWriter) => void;

export class ModelBuilder {
  readonly tables: MutableTables = emptyTables();
  readonly sources: PageSource[] = [];
  readonly foreign = new ForeignWriter(this.tables.foreign);
  readonly rests: KeepRest[] = [];
  readonly losses: Loss[] = [];
  /** NT_GNU_BUILD_ID of the dumped kernel's vDSO. */
  vdsoBuildId: Uint8Array | undefined;
  /** Rows by the set's own identifiers. */
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
  /** Entries that the model has no kind for. */
  readonly keptFiles = new Set<number>();

  /** remap-fpath.img by the entry concerned, memfd.img by inode. */
  readonly remaps: ReadonlyMap<number, RemapFilePath>;
  readonly memfds: ReadonlyMap<number, MemfdInode>;

  constructor(readonly wire: WireSet) {
    this.remaps = new Map(wire.remaps.map((entry) => [entry.origId, entry]));
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
