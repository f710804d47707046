// SPDX-License-Identifier: Apache-2.0
/** Signalfds: what they hold is in fdinfo. */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { hexField } from "../../dump/fds/fdinfo.js";
import { eachAlone, type FileDump, type FileFields } from "../../dump/fds/kind.js";
import { signalfdRow } from "../../gen/tables.js";

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[signalfd]",
  collector: eachAlone(collectSignalfd),
};

/** `sigmask` is the set of signals that it takes. */
function collectSignalfd({ context }: Collecting, { info }: Description): FileFields {
  return { kind: "signalfd", detail: context.tables.signalfds.push(signalfdRow({ mask: hexField(info, "sigmask") })) - 1 };
}
