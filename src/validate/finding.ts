// SPDX-License-Identifier: Apache-2.0
/** What validation says: rules, and findings of rules. Both are data. */
import type { FacetName } from "../adapter/format.js";
import type { Location } from "../errors/crimg-error.js";
import type { TableName } from "../gen/tables.js";

/** `error`: the image is wrong. `warning`: unusual, or wrong only in part. `note`: worth knowing. */
export type Severity = "error" | "warning" | "note";

export type Profile = "format" | "lkml" | "host";

/** What a rule is, apart from how it is checked. Its code never changes meaning and is never used again. */
export interface RuleInfo {
  /** `area.what`, such as `memory.vma-overlap`. */
  readonly code: string;
  readonly severity: Severity;
  /** Part of the model concerned: the rule is skipped for formats that lack it. Absent: always checked. */
  readonly facet?: FacetName;
  /** One line: what must hold. */
  readonly summary: string;
  /** Where that is said, such as `SPEC 5.11`. */
  readonly spec: string;
  readonly profile: Profile;
}

/** A row of a table, or a field of it by its ksy name. */
export interface RowPlace {
  readonly table: TableName;
  readonly row: number;
  readonly field?: string;
}

/** One thing that a rule found, before it is located in the file. */
export interface Problem {
  /** Where: a row, or a place in the file that the rule knows itself. */
  readonly at?: RowPlace;
  readonly place?: Location;
  /** One sentence that names the objects concerned. */
  readonly message: string;
  readonly expected?: string;
  readonly actual?: string;
  readonly hint?: string;
}

export interface Finding extends Location {
  readonly code: string;
  readonly severity: Severity;
  readonly message: string;
  readonly expected?: string;
  readonly actual?: string;
  readonly hint?: string;
  readonly spec: string;
  /** Bytes of the field that is wrong, if known: for the excerpt. */
  readonly length?: number;
}

/** A rule over some context: the model, a container's bytes, a host. */
export interface Rule<Context> extends RuleInfo {
  check(context: Context): Iterable<Problem>;
}
