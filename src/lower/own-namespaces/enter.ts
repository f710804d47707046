// SPDX-License-Identifier: Apache-2.0
/**
 * A tree with namespaces of its own. Three processes make it, apart from the first one, which stays outside:
 *
 *     first process   waits outside, and stays as the parent of the root
 *       maker         enters or makes the namespaces, then makes the two others, and ends
 *       root          the first process of a new pid namespace; makes mounts, opens all files, and becomes the root task
 *       supervisor    a copy of the maker, within the pid namespace; does the last steps, and ends
 *
 * The root must be the first process of its pid namespace, and /proc can be mounted only from within, so everything that
 * is prepared there is prepared by the root itself. It shares memory and descriptors with the maker until that has made
 * the supervisor, which so has all that the root opened. Root and supervisor are children of the first process
 * (CLONE_PARENT).
 */
import type { NamespaceRow } from "../../gen/tables.js";
import { optionSlotValues, pidViewValues } from "../../gen/restore-program.js";
import { AT, CLONE, O, PR, SIG, WAIT } from "../constants.js";
import { continueClocks } from "../clocks.js";
import type { Lowering } from "../lowering.js";
import type { Label, Shared, Slot } from "../operands.js";
import { cloneArgsSize } from "../process.js";
import { reportRehearsal } from "../rehearsal.js";
import { makeMounts } from "./mounts.js";
import { makeNetwork } from "./network.js";
import { setSysctls } from "./sysctls.js";
import { enterNamespace, keepOwn } from "./several.js";
import type { OwnNamespacesPlan } from "./plan.js";

const makerFlags = CLONE.vm | CLONE.fs | CLONE.files | CLONE.parent;
const nsNames = { hostName: "sethostname", domainName: "setdomainname" } as const;

export interface OwnNamespaces {
  /** Pid of the root as the first process sees it. */
  readonly root: Shared;
}

export interface EnterParts {
  readonly plan: OwnNamespacesPlan;
  /** Root task. */
  readonly task: number;
  /** Effective user of the caller. */
  readonly euid: Slot;
  /** Where the supervisor goes on. */
  readonly supervise: Label;
  /** Where the root goes on when all is prepared; its first op is that of the task. */
  readonly rootLabel: Label;
  /** Ops of the root that prepare what all tasks inherit. */
  readonly prepare: () => void;
}

/**
 * Ops of the process that would make the tree. Behind them it goes on when the tree runs; `running` is then counted for
 * those who wait for it.
 */
export function enterOwnNamespaces(l: Lowering, parts: EnterParts): OwnNamespaces {
  const b = l.builder;
  const { plan, task, euid, supervise, rootLabel } = parts;
  const [root, supervisorPid] = [b.counter("pid of the root outside"), b.counter("pid of the supervisor outside")];
  const [made, prepared, alone] = [b.counter("supervisor is made"), b.counter("all is prepared"), b.counter("maker is done")];
  const [userMade, mapped] = [b.counter("user namespace is made"), b.counter("ids are mapped")];
  const maker = b.slot("pid of the maker");
  const view = b.slots[optionSlotValues.pid_view];
  if (view === undefined) throw new Error("no slot for the view of pids");
  const makerLabel = b.label("maker of the namespaces");
  const rootStart = b.label("root of the namespaces");
  const ended = b.label("a process of the namespaces ended");
  const what = `process ${l.taskName(task)}`;

  if (plan.hasPids) b.compute(view, "move", pidViewValues.outside + root.index);
  b.syscall("clone", [SIG.chld, 0, 0, 0, 0], { store: maker, message: "make a process that makes the namespaces" });
  b.jumpIf(maker, "eq", 0, makerLabel);
  mapIds(l, { plan, euid, maker, userMade, mapped });
  b.wait(made, 1, maker, { expect: "not_error", orElse: ended });
  b.wait(l.supervised, 1, supervisorPid.u4, { expect: "not_error", orElse: ended });
  b.syscall("wait4", [maker, 0, WAIT.wall, 0], { expect: "any" });
  b.syscall("wait4", [supervisorPid.u4, 0, WAIT.wall, 0], { expect: "any" });
  const after = b.label("the tree of the namespaces runs");
  b.jump(after);
  b.place(ended);
  // At the end of a rehearsal the supervisor ends by itself.
  reportRehearsal(l, l.rehearsed);
  b.fail("a process that makes the namespaces of the tree was killed before the tree ran", "there may not be enough memory");

  b.place(makerLabel);
  b.about("namespaces of the tree", () => {
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    if (plan.hasPids) b.compute(view, "move", pidViewValues.own);
    unshare(l, plan.outerFlags);
    enterUser(l, { plan, euid, userMade, mapped });
    unshare(l, plan.innerFlags);
    if (plan.set.uts !== undefined) setNames(l, plan.set.uts);
    if (plan.set.network !== undefined) {
      makeNetwork(l, plan.set.network);
      setSysctls(l, plan.set.network);
    }
    if (plan.set.ipc !== undefined) setSysctls(l, plan.set.ipc);
    continueClocks(l);
    enterClocks(l);
    if (plan.hasPids) b.syscall("unshare", [CLONE.newpid], { message: "make a pid namespace" });
    const { pid } = l.task(task);
    const child = b.slot("pid of the root outside");
    const rootArgs = l.processes.argsOf({ pid, flags: makerFlags, exitSignal: 0 }, b.buffer(threadStack, 64));
    b.op("thread", [rootArgs, cloneArgsSize], { store: child, expect: "not_error", message: `make ${what}`, isPatient: true }, rootStart);
    b.store4(root, child);
    b.wait(prepared, 1);
    const second = b.slot("pid of the supervisor outside");
    const args = l.processes.argsOf({ pid: plan.hasPids ? l.spareId() : 0, flags: CLONE.parent, exitSignal: 0 });
    const supervisorLabel = b.label("supervisor");
    b.syscall("clone3", [args, cloneArgsSize], { store: second, message: "make the supervisor", isPatient: true });
    b.jumpIf(second, "eq", 0, supervisorLabel);
    b.store4(supervisorPid, second);
    b.count(made);
    b.count(alone);
    b.syscall("exit_group", [0]);
    b.place(supervisorLabel);
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    b.jump(supervise);

    b.place(rootStart);
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    if (plan.several.has("uts")) makeOtherNames(l, plan);
    if (plan.set.mount !== undefined) makeMounts(l, plan.set.mount);
    parts.prepare();
    b.count(prepared);
    b.wait(alone, 1);
    b.jump(rootLabel);
  });
  b.place(after);
  return { root };
}

const threadStack = 8192;

function unshare(l: Lowering, flags: number): void {
  if (flags === 0) return;
  l.builder.syscall("unshare", [flags], {
    message: "make the namespaces of the tree",
    hint: "resume as root, or where user namespaces are allowed (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
  });
}

/** A time namespace of the children is entered: whoever shares memory cannot be in two. */
function enterClocks(l: Lowering): void {
  const b = l.builder;
  const fd = b.slot("fd of the time namespace");
  const none = b.label("no time namespace");
  b.syscall("openat", [AT.fdcwd, b.string("/proc/self/ns/time_for_children"), O.rdonly | O.cloexec, 0], { store: fd, orElse: none });
  // Where the clocks are the machine's it is no namespace to enter.
  b.syscall("setns", [fd, CLONE.newtime], { expect: "any" });
  b.syscall("close", [fd]);
  b.place(none);
}

/** Namespaces with other names, which processes other than the root live in. */
function makeOtherNames(l: Lowering, { set }: OwnNamespacesPlan): void {
  if (set.uts === undefined) return;
  keepOwn(l, "uts", set.uts);
  for (const [index, { kind }] of l.checkpoint.tables.namespaces.entries()) {
    if (kind !== "uts" || index === set.uts) continue;
    l.builder.syscall("unshare", [CLONE.newuts], { message: "make another uts namespace of the tree" });
    setNames(l, index);
    keepOwn(l, "uts", index);
    enterNamespace(l, "uts", set.uts);
  }
}

function setNames(l: Lowering, namespace: number): void {
  const row = l.checkpoint.tables.namespaces[namespace];
  if (row === undefined) return;
  for (const [field, call] of Object.entries(nsNames) as [keyof typeof nsNames, (typeof nsNames)["hostName"]][]) {
    const name = l.builder.string(row[field]);
    l.builder.syscall(call, [name, name.size - 1], { message: `set the ${field === "hostName" ? "host" : "domain"} name ${row[field]}` });
  }
}

interface UserParts {
  readonly plan: OwnNamespacesPlan;
  readonly euid: Slot;
  readonly userMade: Shared;
  readonly mapped: Shared;
}

/** Ops of the process outside: root writes whatever map it was; an ordinary user leaves that to the maker. */
function mapIds(l: Lowering, { plan, euid, maker, userMade, mapped }: UserParts & { readonly maker: Slot }): void {
  const { user } = plan;
  if (user === undefined) return;
  const b = l.builder;
  const done = b.label("ids are not mapped from outside");
  b.jumpIf(euid, "ne", 0, done);
  b.wait(userMade, 1, maker);
  const path = b.buffer(64);
  const write = (name: string, text: string): void => {
    const fd = b.slot(`fd of ${name}`);
    const data = b.string(text);
    b.format(path, "/proc/", maker, `/${name}`);
    b.syscall("openat", [AT.fdcwd, path, O.wronly | O.cloexec, 0], { store: fd, message: `open ${name} of the user namespace` });
    b.syscall("write", [fd, data, data.size - 1], { message: `write ${name} of the user namespace` });
    b.syscall("close", [fd]);
  };
  if (deniesGroups(user.row)) write("setgroups", "deny");
  for (const kind of ["uid", "gid"] as const) write(`${kind}_map`, mapText(plan, kind));
  b.count(mapped);
  b.place(done);
}

function mapText({ user }: OwnNamespacesPlan, kind: "uid" | "gid"): string {
  const lines = (user?.maps ?? []).filter((row) => row.kind === kind);
  return lines.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join("");
}

/** Whether /proc/PID/setgroups says "deny". */
export function deniesGroups(row: Pick<NamespaceRow, "flags">): boolean {
  return (row.flags & 1) !== 0;
}

/**
 * Ops of the maker. Root becomes the user that made it first, so that nothing in it is root's; capabilities inside come
 * with the user namespace.
 */
function enterUser(l: Lowering, { plan, euid, userMade, mapped }: UserParts): void {
  const { user } = plan;
  if (user === undefined) return;
  const b = l.builder;
  const { row } = user;
  const [asOrdinary, isMapped] = [b.label("as an ordinary user"), b.label("ids are mapped")];
  const unshareUser = (): void =>
    b.syscall("unshare", [CLONE.newuser], {
      message: "make a user namespace",
      hint: "user namespaces may be forbidden here (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
    });
  b.jumpIf(euid, "ne", 0, asOrdinary);
  b.syscall("setgroups", [0, 0], { message: "drop supplementary groups" });
  b.syscall("setresgid", [row.ownerGid, row.ownerGid, row.ownerGid], { message: `become group ${row.ownerGid}` });
  b.syscall("setresuid", [row.ownerUid, row.ownerUid, row.ownerUid], { message: `become user ${row.ownerUid}` });
  // Its files in /proc would be root's now.
  b.syscall("prctl", [PR.setDumpable, 1, 0, 0, 0], { message: "be dumpable again" });
  b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
  unshareUser();
  b.count(userMade);
  b.wait(mapped, 1);
  const first = (kind: "uid" | "gid"): number => user.maps.find((line) => line.kind === kind)?.inside ?? 0;
  b.syscall("setresgid", [first("gid"), first("gid"), first("gid")], { message: `become group ${first("gid")} of the user namespace` });
  b.syscall("setresuid", [first("uid"), first("uid"), first("uid")], { message: `become user ${first("uid")} of the user namespace` });
  b.syscall("prctl", [PR.setDumpable, 1, 0, 0, 0], { message: "be dumpable again" });
  b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
  b.jump(isMapped);

  b.place(asOrdinary);
  if (user.isSingle) {
    const egid = b.slot("effective group");
    const uid = b.slot("effective user here");
    b.syscall("geteuid", [], { store: uid });
    b.syscall("getegid", [], { store: egid });
    unshareUser();
    if (deniesGroups(row)) writeText(l, "/proc/self/setgroups", "deny");
    writeLine(l, "/proc/self/uid_map", first("uid"), uid);
    writeLine(l, "/proc/self/gid_map", first("gid"), egid);
  } else {
    b.fail("the user namespace of the tree maps more than one id", "resume as root: an ordinary user may map only its own");
  }
  b.place(isMapped);
  b.compute(l.isPrivileged, "move", 1);
}

function writeText(l: Lowering, path: string, text: string): void {
  const b = l.builder;
  const fd = b.slot(`fd of ${path}`);
  b.syscall("openat", [AT.fdcwd, b.string(path), O.wronly | O.cloexec, 0], { store: fd, message: `open ${path}` });
  b.syscall("write", [fd, b.string(text), text.length], { message: `write ${path}` });
  b.syscall("close", [fd]);
}

/** `INSIDE OUTSIDE 1`. */
function writeLine(l: Lowering, path: string, inside: number, outside: Slot): void {
  const b = l.builder;
  const fd = b.slot(`fd of ${path}`);
  const line = b.buffer(64);
  const length = b.slot("length of the map");
  b.format(line, `${inside} `, outside, " 1", { store: length });
  b.syscall("openat", [AT.fdcwd, b.string(path), O.wronly | O.cloexec, 0], { store: fd, message: `open ${path}` });
  b.syscall("write", [fd, line, length], { message: `write ${path}` });
  b.syscall("close", [fd]);
}
