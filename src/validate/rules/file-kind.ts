// SPDX-License-Identifier: Apache-2.0
/** What validation asks of each kind of open file. Every kind has one (file-kinds.ts), in `src/kinds/KIND/validate.ts`. */
import type { ObjectKind, OpenFileRow } from "../../gen/tables.js";
import type { ModelRule } from "../model-context.js";

export interface FileValidation {
  /** What a row of `files` of this kind lacks, apart from references that lead nowhere. */
  problem(file: OpenFileRow): FileProblem | undefined;
  /** Kinds that the file's object may have. Absent: any. */
  readonly objectKinds?: readonly ObjectKind[];
  /** Rules on the rows behind such files. */
  readonly rules: readonly ModelRule[];
}

export interface FileProblem {
  readonly field: "detail" | "object";
  /** In one sentence. */
  readonly message: string;
}

/** For kinds whose `detail` names a row in a table of their own. */
export function lacksDetail(file: OpenFileRow): FileProblem | undefined {
  return file.detail === null ? { field: "detail", message: `a file of kind ${file.kind} names its row in another table` } : undefined;
}
