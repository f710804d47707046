// SPDX-License-Identifier: Apache-2.0
/** What /proc/sysvipc lists of an IPC namespace (proc_sysvipc(5)): everybody may read it, whatever the permissions of the objects. */
import type { SystemVRow } from "../../model/system-v.js";
import { tryReadSmall } from "../../native/index.js";

/** What all three kinds have. `key` is unsigned; `mode` has SHM_DEST and SHM_LOCKED of segments as well. */
export interface SystemVObject extends SystemVRow {
  /** A column by its heading, as a number. */
  column(name: string): number;
}

/** The fields that rows of all three kinds have. */
export function identityOf({ id, key, mode, uid, gid, creatorUid, creatorGid }: SystemVObject) {
  return { id, key, mode: mode & 0o777, uid, gid, creatorUid, creatorGid };
}

/** Objects of one kind; none where the kernel has no System V IPC. */
export function listSystemV(kind: "shm" | "sem" | "msg"): SystemVObject[] {
  return parseSystemV(tryReadSmall(`/proc/sysvipc/${kind}`)?.toString("latin1") ?? "");
}

/** The text of such a file: a line of headings, and one of numbers for each object. */
export function parseSystemV(text: string): SystemVObject[] {
  const [head = "", ...lines] = text.split("\n").filter((line) => line.trim() !== "");
  const names = head.trim().split(/\s+/);
  return lines.map((line) => {
    const words = line.trim().split(/\s+/);
    const column = (name: string): number => Number(words[names.indexOf(name)] ?? 0);
    return {
      key: column("key") >>> 0,
      id: column(names.find((name) => name.endsWith("id") && name !== "uid") ?? ""),
      mode: Number.parseInt(words[names.indexOf("perms")] ?? "0", 8),
      uid: column("uid"),
      gid: column("gid"),
      creatorUid: column("cuid"),
      creatorGid: column("cgid"),
      column,
    };
  });
}
