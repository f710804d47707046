// SPDX-License-Identifier: Apache-2.0
/** What is noted of the members of an archive, or of the files of a directory that was one. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Member {
  /** Without "./" in front. */
  readonly name: string;
  readonly size: number;
  /** Milliseconds since 1970, as the member says. */
  readonly mtime: number | undefined;
  /** Its bytes, if it is one of those asked for. */
  readonly content?: Buffer;
}

/** Contents above this are not kept: the files that engines write have some kilobytes. */
export const maxContent = 16 << 20;

/** @param wanted whose content is kept */
export function membersOfDirectory(path: string, wanted: (name: string) => boolean): Member[] {
  const members: Member[] = [];
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const name = join(entry.parentPath, entry.name).slice(path.replace(/\/+$/, "").length + 1);
    const { size, mtimeMs } = statSync(join(path, name));
    const isKept = wanted(name) && size <= maxContent;
    members.push({ name, size, mtime: mtimeMs, ...(isKept ? { content: readFileSync(join(path, name)) } : {}) });
  }
  return members;
}
