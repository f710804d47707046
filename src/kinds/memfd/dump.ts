// SPDX-License-Identifier: Apache-2.0
/** Memfds: their name, seals and content. */
import { decodeText } from "../../bytes/text.js";
import { type Collecting, type Description, nameOf, positionOf, refuseDescription } from "../../dump/fds/context.js";
import { type DescriptorFacts, inodeType } from "../../dump/fds/facts.js";
import { reopen } from "../../dump/fds/files.js";
import { eachAlone, type FileDump } from "../../dump/fds/kind.js";
import { MFD_HUGE_SHIFT, MFD_HUGETLB } from "../../linux/huge-pages.js";
import type { ObjectRow } from "../../gen/tables.js";
import { failed, fcntlCommand, tryFcntl } from "../../native/index.js";

/** HUGETLBFS_MAGIC: a memfd there was made with MFD_HUGETLB. */
const hugetlbMagic = 0x958458f6n;
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

/** The file system of huge pages has blocks of their size. */
function hugeFlags(blockSize: number): number {
  return (MFD_HUGETLB | ((31 - Math.clz32(blockSize)) << MFD_HUGE_SHIFT)) >>> 0;
}

function internMemfd(collecting: Collecting, description: Description): number {
  const { stat, link, fsMagic, fd } = description;
  const { objects } = collecting.context;
  const seals = tryFcntl(fd, fcntlCommand.GET_SEALS);
  const fields: Partial<ObjectRow> = {
    seals: failed(seals) ? F_SEAL_SEAL : seals,
    memfdFlags: fsMagic === hugetlbMagic ? hugeFlags(stat.blockSize ?? 2 << 20) : 0,
  };
  const object = objects.add({ stat, link, fsMagic, fields, holder: nameOf(description) });
  if (objects.needsContents(object)) {
    const source = reopen(fd);
    if (failed(source)) refuseDescription(description, "memfd", `${decodeText(link)} may not be read`);
    objects.storeContents(object, source, stat.size);
  }
  return object;
}
