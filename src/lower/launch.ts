// SPDX-License-Identifier: Apache-2.0
/**
 * A program that starts a command instead of resuming a checkpoint: the same first process, namespaces and foreground
 * as those of images, so that a job looks the same to the outside whether it has just begun or has been resumed, and
 * its process ids are free wherever it is resumed later.
 */
import { emptyTables } from "../gen/tables.js";
import { pidModeValues } from "../gen/restore-program.js";
import { Checkpoint } from "../model/checkpoint.js";
import { findRoom } from "./address-space.js";
import { ERRNO, PR, RLIMIT_NOFILE, SIG, SIG_SETMASK, sigsetSize, taskSize } from "./constants.js";
import { lowerForeground, lowerPidfile } from "./foreground.js";
import { type LinkedProgram, linkProgram } from "./link-program.js";
import { Lowering } from "./lowering.js";
import { lowerNamespaces } from "./namespaces.js";
import { holeBase, holeEnd } from "./operands.js";
import type { TreePlan } from "./tree-plan.js";

export interface LaunchOptions {
  /** Bytes of page 0 and the interpreter, a multiple of the page size. */
  readonly codeSize: bigint;
  /** Checksum of the interpreter (checksum.ts). */
  readonly codeChecksum: number;
  /** Absolute path of the program. */
  readonly path: string;
  readonly argv: readonly string[];
  /** `NAME=value`. */
  readonly environment: readonly string[];
  /** Soft and hard RLIMIT_NOFILE of the command; unchanged if absent. */
  readonly openFiles?: { readonly soft: bigint; readonly hard: bigint };
  /**
   * `command` (the default): as a job. `trial`: make the namespaces, start nothing, and end with status 0, which tells whether
   * they can be made. `image`: become the program, an image that makes its own namespaces, and die with the parent.
   */
  readonly as?: "command" | "trial" | "image";
}

/** The command leads a session of its own. */
const tree: TreePlan = { root: 0, tasks: [], isRootInCallersSession: false, isRootInCallersGroup: false };

/** Ends a shell gives a command that is not there, or cannot be executed. */
const notFound = 127;
const notExecutable = 126;

export function lowerLaunch(options: LaunchOptions): LinkedProgram {
  const l = new Lowering(new Checkpoint({ tables: emptyTables(), sources: [] }));
  const b = l.builder;
  const [detach, , pidMode] = b.slots;
  if (detach === undefined || pidMode === undefined) throw new Error("no option slots");
  const entry = b.label("start");
  const inside = b.label("init of the namespace");
  const command = b.label("the command");
  const missing = b.label("the command is not there");
  const direct = b.label("without a namespace");
  const image = b.label("become the image");
  const euid = b.slot("effective user");
  const child = b.slot("pid of the command");
  const known = b.pid("pid of the command");
  const above = b.slot("bytes above the hole");
  const result = b.slot("result of execve");

  b.place(entry);
  b.syscall("rt_sigprocmask", [SIG_SETMASK, b.u8s(0xffff_ffff_ffff_ffffn), 0, sigsetSize], { message: "block signals" });
  // Whoever started this is the job's only connection to its scheduler: when it is killed, the job must not go on unseen.
  b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
  if (options.as === "image") b.jump(image);
  // Nothing but this program is left in what waits, which is how a dump knows it (src/dump/restore-process.ts).
  b.syscall("munmap", [0, holeBase], { message: "unmap what is below the hole" });
  b.compute(above, "sub", taskSize, holeEnd);
  b.syscall("munmap", [holeEnd, above], { message: "unmap what is above the hole" });
  b.syscall("geteuid", [], { store: euid });
  b.jumpIf(pidMode, "ne", pidModeValues.namespace, direct);
  const init = lowerNamespaces(l, euid, inside);
  lowerPidfile(l, init);
  lowerForeground(l, { child: init, isInit: false, tree });

  b.place(inside);
  if (options.as === "trial") b.syscall("exit_group", [0]);
  b.syscall("clone", [SIG.chld, 0, 0, 0, 0], { store: child, message: "make the command's process" });
  b.jumpIf(child, "eq", 0, command);
  b.store4(known, child);
  lowerForeground(l, { child, isInit: true, tree });

  b.place(direct);
  b.syscall("clone", [SIG.chld, 0, 0, 0, 0], { store: child, message: "make the command's process" });
  b.jumpIf(child, "eq", 0, command);
  b.store4(known, child);
  lowerPidfile(l, child);
  lowerForeground(l, { child, isInit: false, tree });

  b.place(command);
  b.about(options.path, () => {
    b.syscall("setsid", [], { message: "lead a session" });
    b.syscall("close_range", [3, 0xffff_ffff, 0], { message: "close descriptors above 2" });
    if (options.openFiles !== undefined) {
      b.syscall("prlimit64", [0, RLIMIT_NOFILE, b.u8s(options.openFiles.soft, options.openFiles.hard), 0], { expect: "any" });
    }
    b.place(image);
    b.syscall("rt_sigprocmask", [SIG_SETMASK, b.u8s(0), 0, sigsetSize], { message: "unblock signals" });
    const argv = b.u8s(...options.argv.map((word) => b.string(word)), 0);
    const environment = b.u8s(...options.environment.map((word) => b.string(word)), 0);
    const args = [b.string(options.path), argv, environment];
    if (options.as === "image") {
      b.syscall("execve", args, {
        message: "execute the image",
        hint: "it must be executable, on a filesystem that is not mounted noexec",
      });
    }
    b.syscall("execve", args, { store: result, expect: "any" });
    b.jumpIf(result, "eq", -ERRNO.noent, missing);
    b.syscall("exit_group", [notExecutable]);
    b.place(missing);
    b.syscall("exit_group", [notFound]);
  });
  return linkProgram(b, entry, {
    codeSize: options.codeSize,
    codeChecksum: options.codeChecksum,
    chooseHole: (size) => findRoom([], size),
    title: options.path,
    usage: "This file starts a command for crimg run.\n",
  });
}
