// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const files: Family = {
  program: "files",
  title: "Files without a name",
  probes: [
    { name: "noexec", state: "a memfd with MFD_NOEXEC_SEAL", is: "kept" },
    { name: "future", state: "a memfd that was mapped for writing and then sealed against it (F_SEAL_FUTURE_WRITE)", is: "kept" },
    { name: "hidden", state: "seals of a memfd that is mapped and open nowhere (seen by root)", is: "kept" },
    { name: "unlinked", state: "owner, times, extended attributes and inode flags (chattr) of an unlinked file", is: "kept" },
    { name: "owned", state: "owner, times, extended attributes and inode flags of a memfd", is: "kept" },
    { name: "nameless", state: "a file of O_TMPFILE, which can still be given a name", is: "kept" },
    { name: "fast", state: "a periodic timerfd of a microsecond", is: "kept" },
    {
      name: "changed",
      state: "time of the last change and of the birth of an inode that is made again",
      is: { cannot: "the kernel lets nobody set them: they are those of the resume" },
    },
  ],
};
