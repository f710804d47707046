// SPDX-License-Identifier: Apache-2.0
/** What the dump asks of each kind of open file. Every kind has one (kinds.ts), in `src/kinds/KIND/dump.ts`. */
import type { FileKind, OpenFileRow } from "../../gen/tables.js";
import type { Collecting, Description } from "./context.js";
import type { DescriptorFacts } from "./facts.js";

/** How the open files of one kind are recognised and collected. */
export interface FileDump {
  /** Whether a description is for this kind to collect. Pure; no two kinds recognise the same. */
  recognises(facts: DescriptorFacts): boolean;
  /** A collector for one dump. */
  collector(collecting: Collecting): FileCollector;
}

/** A kind that no descriptor is by itself: the collectors of the kinds named make it of some of theirs. */
export interface DerivedKind {
  readonly madeBy: readonly FileKind[];
}

/** Fields of a row of `files`; flags, position 0 and owner are there already. */
export type FileFields = Partial<OpenFileRow> & Pick<OpenFileRow, "kind">;

/** In this order: `note` for every description, `prepare`, `collect` for every description, `finish`. */
export interface FileCollector {
  /** Kinds whose descriptions belong together (both ends of a pipe) see all before the first is collected. */
  note?(description: Description): void;
  /** Rows that refer to one another, once all descriptions of all kinds are noted. */
  prepare?(): void;
  /** Adds the rows of what is behind a description. Refuses what cannot come back. */
  collect(description: Description): FileFields;
  /**
   * Whether all that tell the same as this one get the same fields, so that one of them is collected for all. Absent: no. Not asked
   * of standard streams.
   */
  speaksForAll?(description: Description): boolean;
  /** Rows that refer to files of any kind: every description has its row now. */
  finish?(): void;
}

/** The collector of kinds whose files have nothing to do with one another. */
export function eachAlone(collect: (collecting: Collecting, description: Description) => FileFields): FileDump["collector"] {
  return (collecting) => ({ collect: (description) => collect(collecting, description) });
}
