// SPDX-License-Identifier: Apache-2.0
/** Memfds: their name, seals and content. */
import { decodeText } from "../../bytes/text.js";
import { type Collecting, type Description, nameOf, positionOf, refuseDescription } from "../../dump/fds/context.js";
import { type DescriptorFacts, inodeType } from "../../dump/fds/facts.js";
import { reopen } from "../../dump/fds/files.js";
import { eachAlone, type FileDump } from "../../dump/fds/kind.js";
import type { ObjectRow } from "../../gen/tables.js";
import { failed, fcntlCommand, tryFcntl } from "../../native/index.js";

/** HUGETLBFS_MAGIC: a memfd there was made with MFD_HUGETLB. */
const hugetlbMagic = 0x958458f6n;
const MFD_HUGETLB = 4;
/** What a memfd made without MFD_ALLOW_SEALING has. */
const F_SEAL_SEAL = 1;

export const dump: FileDump = {
  recognises: isMemfd,
  collector: eachAlone((collecting, description) => ({
    kind: "memfd",
    object: internMemfd(collecting, description),
    pos: positionOf(description),
  })),
};

/** `/memfd:NAME (deleted)`. */
export function isMemfd(facts: DescriptorFacts): boolean {
  return inodeType(facts) === "regular" && facts.link.startsWith("/memfd:") && facts.link.endsWith(" (deleted)");
}

function internMemfd(collecting: Collecting, description: Description): number {
  const { stat, link, fsMagic, fd } = description;
  const { objects } = collecting.context;
  const seals = tryFcntl(fd, fcntlCommand.GET_SEALS);
  const fields: Partial<ObjectRow> = {
    seals: failed(seals) ? F_SEAL_SEAL : seals,
    memfdFlags: fsMagic === hugetlbMagic ? MFD_HUGETLB : 0,
  };
  const object = objects.add({ stat, link, fsMagic, fields, holder: nameOf(description) });
  if (objects.needsContents(object)) {
    const source = reopen(fd);
    if (failed(source)) refuseDescription(description, "memfd", `${decodeText(link)} may not be read`);
    objects.storeContents(object, source, stat.size);
  }
  return object;
}
