// SPDX-License-Identifier: Apache-2.0
/** What CRIU's format asks of each kind of open file. Every kind has one (kinds.ts), in `src/kinds/KIND/criu.ts`. */
import type { FacetName } from "../../../src/adapter/format.js";
import type { Output } from "../../../src/adapter/output.js";
import type { FileKind, OpenFileRow } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import type { ModelBuilder } from "../builder.js";
import type { FileEntry } from "../gen/files_pb.js";
import type { FileOwner } from "../gen/sockets_pb.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";

/** Both directions of the mapping between entries of files.img and rows of one kind. */
export interface FileMapping {
  /** Adds the rows of what is behind an entry. Undefined if it is of another kind, or CRIU alone can hold it. */
  fromWire(builder: ModelBuilder, entry: FileEntry): FileParts | undefined;
  /** What refers to files of any kind; all descriptors are there. `fileOf` is the row of an entry, made if need be. */
  finishReading?(builder: ModelBuilder, fileOf: FileOf): void;
  /** The entry of the file in row `row`. */
  toWire(context: ImageSetIds, row: number, file: OpenFileRow): FileEntry;
  /** Whether a regular file entry of its own gives the path (`context.pathFileId`). Absent: never. */
  hasPathEntry?(context: ImageSetIds, row: number): boolean;
  /** The entry that gives the path, for files without a name (remap-fpath.img). Absent: it has no path. */
  pathEntryId?(context: ImageSetIds, row: number): number;
  /** Images of the kind beside files.img. */
  writeImages?(output: Output, context: ImageSetIds): void;
  /** What a set cannot hold of files of this kind. */
  losses?(checkpoint: Checkpoint): readonly NamedLoss[];
}

/** Row of `files` of an entry of files.img; undefined for what is kept for CRIU only. `image` and `path` say who names it. */
export type FileOf = (id: number, image: string, path: string) => number | undefined;

/** What an entry says of the row in `files`. */
export interface FileParts {
  readonly kind: FileKind;
  readonly detail?: number;
  readonly object?: number;
  readonly flags: number;
  readonly pos?: bigint;
  readonly fown?: FileOwner | undefined;
}

/** One kind of loss with the objects that have it; none if there are no names. */
export interface NamedLoss {
  readonly code: string;
  readonly facet: FacetName;
  readonly names: readonly string[];
  /** In words, without the names. */
  readonly what: string;
}
