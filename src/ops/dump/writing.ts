// SPDX-License-Identifier: Apache-2.0
/** Writes to the output of a dump that fail: they are told by its name, whoever made them. */
import { CrimgError } from "../../errors/crimg-error.js";
import { errno, errnoMessage, SysError } from "../../native/index.js";

/** Waits for a write; what the system says of the output gets its name. @throws CrimgError `output.write` */
export async function writing<Result>(path: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    const reason = writeFailure(error);
    if (reason === undefined) throw error;
    throw new CrimgError("output.write", `cannot write ${path}: ${errnoMessage(reason)}`, {
      source: path,
      hint: "The process tree continues. Free some space, or choose another place.",
      cause: error,
    });
  }
}

/** The errno of a failed write, made by any of the callers. */
function writeFailure(error: unknown): number | undefined {
  const about: ReadonlySet<number> = new Set([errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS]);
  if (error instanceof SysError) return /write|copy_file_range/.test(error.call) && about.has(error.errno) ? error.errno : undefined;
  const number = error instanceof Error && "errno" in error && typeof error.errno === "number" ? -error.errno : 0;
  return about.has(number) ? number : undefined;
}
