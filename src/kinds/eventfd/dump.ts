// SPDX-License-Identifier: Apache-2.0
/** Eventfds: what they hold is in fdinfo. */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { decimalField, hexField } from "../../dump/fds/fdinfo.js";
import { eachAlone, type FileDump, type FileFields } from "../../dump/fds/kind.js";
import { eventfdRow } from "../../gen/tables.js";

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[eventfd]",
  collector: eachAlone(collectEventfd),
};

/** A kernel before 6.3 does not say whether it is a semaphore: then it is taken for none. */
function collectEventfd({ context }: Collecting, { info }: Description): FileFields {
  const row = eventfdRow({ count: hexField(info, "eventfd-count"), isSemaphore: Number(decimalField(info, "eventfd-semaphore")) });
  return { kind: "eventfd", detail: context.tables.eventfds.push(row) - 1 };
}
