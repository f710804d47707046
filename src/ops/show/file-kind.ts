// SPDX-License-Identifier: Apache-2.0
/** What `crimg show` asks of each kind of open file. Every kind has one (file-kinds.ts), in `src/kinds/KIND/show.ts`. */
import type { OpenFileRow } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";

export interface FileShow {
  /** The words are worth more than the path of the object, where there is one. */
  readonly saysMore?: boolean;
  /** A file that names no object (else it goes by that), in a few words, such as `pipe:[4711]`. */
  describe(checkpoint: Checkpoint, file: OpenFileRow): string;
}
