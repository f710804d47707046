// SPDX-License-Identifier: Apache-2.0
/**
 * What `show` has collected, before anything is rendered: the rows concerned, for JSON and other machines, and
 * blocks of text cells, for people. Both come from one pass over the model, which reads no page payload but where the
 * section is about it (command lines, env, mem, strings, grep).
 */
import type { JsonValue } from "../../errors/json.js";
import type { TableName } from "../../gen/tables.js";

export const sectionNames = [
  "overview",
  "tree",
  "threads",
  "regs",
  "maps",
  "pages",
  "files",
  "fds",
  "pipes",
  "sockets",
  "ipc",
  "signals",
  "timers",
  "creds",
  "limits",
  "state",
  "env",
  "auxv",
  "program",
  "namespaces",
  "mem",
  "strings",
  "grep",
] as const;
export type SectionName = (typeof sectionNames)[number];

export type Align = "left" | "right";

export interface Column {
  readonly title: string;
  readonly align?: Align;
}

/** A table of cells under a heading, or lines of text. */
export interface Block {
  readonly heading?: string;
  readonly columns?: readonly Column[];
  readonly rows?: readonly (readonly string[])[];
  readonly lines?: readonly string[];
}

/** Row numbers of one table that belong to what was asked for. */
export type SelectedRows = Partial<Record<TableName, readonly number[]>>;

export interface ShowDocument {
  readonly source: string;
  /** Format id. */
  readonly format: string;
  readonly section: SectionName;
  /** Only this process, if one was asked for. */
  readonly pid?: number;
  readonly blocks: readonly Block[];
  readonly selected: SelectedRows;
  /** What is no row of a table, for JSON. */
  readonly values?: readonly JsonValue[];
  /** Facts about the container, for JSON. */
  readonly container?: JsonValue;
  /** Number of hits, for sections that search. */
  readonly found?: number;
}
