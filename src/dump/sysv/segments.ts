// SPDX-License-Identifier: Apache-2.0
/**
 * System V shared memory. Of a host's segments the tree's are those that it has attached, made, or attached last; what
 * a program only knows the id of cannot be told.
 */
import { sysvSegmentRow } from "../../gen/tables.js";
import { sysvSegmentFlagsBits } from "../../gen/tables.js";
import { SHM } from "../../linux/sysv-ipc.js";
import { close, failed, openFlag, tryCall, tryCallBig, tryFstat, tryOpen } from "../../native/index.js";
import type { DumpContext } from "../context.js";
import type { MappedProcess } from "../object-contents.js";
import { isSegment, unusualVmas } from "../vmas.js";
import { identityOf, listSystemV, type SystemVObject } from "./listing.js";
import { type SystemVUsers, systemVName, tellOutside } from "./users.js";

const page = 4096;

/** Adds the rows of segments. Returns what stores the contents of those that no task of the tree has attached. */
export function collectSegments(context: DumpContext, users: SystemVUsers, mapped: readonly MappedProcess[]): () => void {
  const attached = new Map<number, { count: number; key: number }>();
  for (const { vmas } of mapped) {
    for (const { mapping } of unusualVmas(vmas)) {
      if (!isSegment(mapping)) continue;
      const id = Number(mapping.ino);
      const known = attached.get(id);
      // Removal makes the key IPC_PRIVATE; the name keeps the one that it was made with.
      if (known === undefined) attached.set(id, { count: 1, key: Number.parseInt(mapping.text.slice(5, 13), 16) });
      else known.count++;
    }
  }
  const stores: (() => void)[] = [];
  for (const segment of listSystemV("shm")) {
    const { id, mode } = segment;
    const ours = attached.get(id);
    const isLeftByTree = users.isOurs(segment.column("cpid")) || users.isOurs(segment.column("lpid"));
    if (ours === undefined && !isLeftByTree) continue;
    const size = BigInt(segment.column("size"));
    const object = context.objects.addSegment(id, size);
    const isOutside = segment.column("nattch") > (ours?.count ?? 0);
    const key = ours?.key ?? segment.key;
    const flags =
      ((mode & SHM.dest) !== 0 ? sysvSegmentFlagsBits.removed : 0) |
      ((mode & SHM.locked) !== 0 ? sysvSegmentFlagsBits.locked : 0) |
      (isOutside ? sysvSegmentFlagsBits.outside : 0) |
      (context.objects.row(object).memfdFlags !== 0 ? sysvSegmentFlagsBits.hugetlb : 0);
    context.tables.sysvSegments.push(
      sysvSegmentRow({
        object,
        ...identityOf(segment),
        key,
        flags,
        creator: users.asSeen(segment.column("cpid")),
        size,
      }),
    );
    const name = systemVName("shared memory segment", { id, key });
    if (isOutside) tellOutside(context, name, "attached");
    if (ours === undefined) stores.push(() => storeUnattached(context, object, segment, name));
  }
  return () => {
    for (const store of stores) store();
  };
}

/** Attaches a segment for a moment, to have a descriptor of its memory. */
function storeUnattached(context: DumpContext, object: number, { id }: SystemVObject, name: string): void {
  const { size } = context.objects.row(object);
  const address = tryCallBig("shmat", id, 0, SHM.rdonly);
  if (address >= -4095n && address < 0n) {
    context.lose("dump.sysv-content", `${name}: its content may not be read, and is zero where it has to be made again`);
    return;
  }
  const end = address + ((size + BigInt(page - 1)) & ~BigInt(page - 1));
  try {
    const fd = tryOpen(`/proc/self/map_files/${address.toString(16)}-${end.toString(16)}`, openFlag.RDONLY);
    const stat = failed(fd) ? fd : tryFstat(fd);
    if (typeof stat === "number") {
      if (!failed(fd)) close(fd);
      context.lose("dump.sysv-content", `${name}: its content may only be read by root, and is zero where it has to be made again`);
      return;
    }
    context.objects.storeContents(object, fd, size);
  } finally {
    tryCall("shmdt", address);
  }
}
