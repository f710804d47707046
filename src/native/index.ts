// SPDX-License-Identifier: Apache-2.0
/** The typed door to the kernel. Conventions: `tryX` returns −errno on failure, `X` throws SysError. */
export * from "./sys.js";
export * from "./stand-in.js";
export * from "../linux/errno.js";
export * from "../linux/syscall-numbers.js";
export * from "./ptrace.js";
export * from "./wait.js";
export * from "./memory.js";
export * from "./files.js";
export * from "./descriptors.js";
export * from "./process.js";
export * from "./sockets.js";
export * from "./batch.js";
export * from "./lists.js";
export * from "./fork-alone.js";
export * from "./looks.js";
export type { RawArgument } from "./addon.js";
export * from "./store.js";
export * from "./mount-copy.js";
export * from "./trainee.js";
export * from "./userfaultfd.js";
export * from "./v8-flags.js";
