// SPDX-License-Identifier: Apache-2.0
import type { SysvQueueRow } from "../gen/tables.js";

/** What the rows of all three kinds of System V objects have in common. */
export type SystemVRow = Pick<SysvQueueRow, "id" | "key" | "mode" | "uid" | "gid" | "creatorUid" | "creatorGid">;
