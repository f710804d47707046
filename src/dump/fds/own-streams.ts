// SPDX-License-Identifier: Apache-2.0
/** Output streams that a program shares with crimg itself, which started it (`crimg run`). */
import { failed, kcmpType, openFlag, tryKcmp } from "../../native/index.js";
import { type Collecting, type Description, stdioNumber } from "./context.js";

const accessMode = 3;
const regular = 0o100000;
const fileType = 0o170000;

/**
 * True for a standard stream that is one of crimg's own: whoever resumes the image gives the stream again, a scheduler its
 * output file, say. A regular file that is only read is none: its position belongs to the program.
 */
export function isOwnStream({ options }: Collecting, description: Description): boolean {
  if (options.inheritStreams !== true || stdioNumber(description) === undefined) return false;
  const isInputFile = (description.stat.mode & fileType) === regular && (description.flags & accessMode) === openFlag.RDONLY;
  if (isInputFile) return false;
  return [0, 1, 2].some((number) => {
    const order = tryKcmp(process.pid, process.pid, kcmpType.FILE, description.fd, number);
    return !failed(order) && order === 0;
  });
}
