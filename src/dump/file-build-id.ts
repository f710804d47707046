// SPDX-License-Identifier: Apache-2.0
/** The build-id of a mapped file, which tells a resume whether it is still the same program or library. */
import type { ObjectRow } from "../gen/tables.js";
import { close, failed, type FileStat, openFlag, tryOpen, tryPread } from "../native/index.js";
import { findBuildId } from "./build-id.js";

/** Fields of an object's row; none if the file has no build-id. */
export type BuildIdFields = Partial<Pick<ObjectRow, "buildId" | "buildIdOffset">>;

/** By what a file is and when it was changed last: it may have been looked at before the tree was frozen. */
const known = new Map<string, BuildIdFields>();

/** The build-id of the file at a path, whose state is `stat`. Empty for what is no regular file, cannot be read, or is no ELF file. */
export function fileBuildId(path: string, { mode, devMajor, devMinor, ino, size, mtimeNs }: FileStat): BuildIdFields {
  if ((mode & 0o170000) !== 0o100000) return {};
  const key = [devMajor, devMinor, ino, size, mtimeNs].join(" ");
  let fields = known.get(key);
  if (fields === undefined) known.set(key, (fields = readBuildId(path)));
  return fields;
}

function readBuildId(path: string): BuildIdFields {
  const fd = tryOpen(path, openFlag.RDONLY);
  if (failed(fd)) return {};
  try {
    const found = findBuildId((offset, length) => {
      const bytes = Buffer.alloc(length);
      return tryPread(fd, bytes, offset) === length ? bytes : undefined;
    }, path);
    return found === undefined ? {} : { buildId: found.id, buildIdOffset: found.offset };
  } finally {
    close(fd);
  }
}
