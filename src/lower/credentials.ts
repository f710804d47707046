// SPDX-License-Identifier: Apache-2.0
/**
 * Credentials of a thread: the last of its state, as whatever comes later could not be done any more.
 *
 * Order (capabilities(7)): the bounding set and securebits need CAP_SETPCAP; ids need CAP_SETUID and CAP_SETGID and would
 * drop capabilities, which SECBIT_NO_SETUID_FIXUP prevents; the capability sets themselves; then what needs nothing.
 */
import type { CredRow } from "../gen/tables.js";
import { ERRNO, PR, PR_CAP_AMBIENT } from "./constants.js";
import type { Slot } from "./operands.js";
import { deniesGroups } from "./own-namespaces/enter.js";
import type { OwnNamespacesPlan } from "./own-namespaces/plan.js";
import type { ProgramBuilder } from "./program-builder.js";

const lastCapability = 63;
const noSetuidFixup = 1 << 2;
const keepCaps = 1 << 4;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

export interface CredentialParts {
  /** Holds 1 for root, or in a user namespace of crimg's or the tree's own; else an ordinary user keeps what it is. */
  readonly isPrivileged: Slot;
  /** Holds 1 in namespaces of crimg's. */
  readonly isNamespaced: Slot;
  readonly own: OwnNamespacesPlan | undefined;
}

export function lowerCredentials(
  b: ProgramBuilder,
  creds: CredRow | undefined,
  { isPrivileged, isNamespaced, own }: CredentialParts,
): void {
  if (creds !== undefined) {
    const plain = b.label("without privilege");
    const after = b.label("credentials are set");
    b.jumpIf(isPrivileged, "eq", 0, plain);
    privileged(b, creds, isNamespaced, own?.user);
    b.jump(after);
    b.place(plain);
    setIds(b, creds);
    b.place(after);
    setCapabilities(b, creds);
    // The memory is of the user namespace outside: only what is dumpable can be traced from within. Set for good later.
    if (own?.user !== undefined) b.syscall("prctl", [PR.setDumpable, 1, 0, 0, 0], { message: "be dumpable again" });
  } else {
    keepCallersCapabilities(b, isNamespaced);
  }
}

function privileged(b: ProgramBuilder, creds: CredRow, isNamespaced: Slot, user: OwnNamespacesPlan["user"]): void {
  for (let capability = 0; capability <= lastCapability; capability++) {
    if ((creds.capBounding & (1n << BigInt(capability))) !== 0n) continue;
    // EINVAL: this kernel has no such capability, and none above it.
    if (capability > 40) break;
    b.syscall("prctl", [PR.capbsetDrop, capability, 0, 0, 0], {
      expect: [0, -ERRNO.inval],
      message: `drop capability ${capability} from the bounding set`,
    });
  }
  b.syscall("prctl", [PR.setSecurebits, noSetuidFixup | keepCaps, 0, 0, 0], { message: "keep capabilities while ids change" });
  setGroups(b, user === undefined ? creds.groups : groupsInside(creds.groups, user), isNamespaced, user);
  setIds(b, creds);
  b.syscall("setfsgid", [creds.fsgid], { expect: "any" });
  b.syscall("setfsuid", [creds.fsuid], { expect: "any" });
  b.syscall("prctl", [PR.setSecurebits, creds.securebits, 0, 0, 0], { message: "set securebits" });
}

function setGroups(b: ProgramBuilder, groups: Uint8Array, isNamespaced: Slot, user: OwnNamespacesPlan["user"]): void {
  if (user !== undefined && deniesGroups(user.row)) return;
  const done = b.label("groups are set");
  // A user namespace of an ordinary user must not change groups (setgroups is denied there); they are still its own.
  if (user === undefined) b.jumpIf(isNamespaced, "ne", 0, done);
  b.syscall("setgroups", [groups.length / 4, groups.length > 0 ? b.bytes(groups, 4) : 0], { message: "set supplementary groups" });
  b.place(done);
}

/** Groups that have a number inside; the others cannot be had from in there. */
function groupsInside(groups: Uint8Array, { maps }: NonNullable<OwnNamespacesPlan["user"]>): Uint8Array {
  const view = new DataView(groups.buffer, groups.byteOffset, groups.byteLength);
  const ids = Array.from({ length: groups.length / 4 }, (_, index) => view.getUint32(index * 4, true));
  const isMapped = (id: number): boolean => maps.some(({ kind, inside, count }) => kind === "gid" && inside <= id && id - inside < count);
  return new Uint8Array(Uint32Array.from(ids.filter(isMapped)).buffer);
}

function setIds(b: ProgramBuilder, creds: CredRow): void {
  const hint = `resume as root, or as user ${creds.uid}`;
  b.syscall("setresgid", [creds.gid, creds.egid, creds.sgid], { message: `become group ${creds.egid}`, hint });
  b.syscall("setresuid", [creds.uid, creds.euid, creds.suid], { message: `become user ${creds.euid}`, hint });
}

/** A user namespace comes with capabilities in it; a format without credentials gives a user no more than before. */
function keepCallersCapabilities(b: ProgramBuilder, isNamespaced: Slot): void {
  const kept = b.label("capabilities are the caller's");
  const uid = b.slot("real user");
  b.jumpIf(isNamespaced, "eq", 0, kept);
  b.syscall("getuid", [], { store: uid });
  b.jumpIf(uid, "eq", 0, kept);
  b.syscall("capset", [b.u4s(LINUX_CAPABILITY_VERSION_3, 0), b.u4s(0, 0, 0, 0, 0, 0)], { message: "drop capabilities" });
  b.place(kept);
}

function setCapabilities(b: ProgramBuilder, creds: CredRow): void {
  const low = (set: bigint) => Number(set & 0xffff_ffffn);
  const high = (set: bigint) => Number(set >> 32n);
  const header = b.u4s(LINUX_CAPABILITY_VERSION_3, 0);
  const { capEffective: eff, capPermitted: prm, capInheritable: inh, capAmbient: amb } = creds;
  const data = b.u4s(low(eff), low(prm), low(inh), high(eff), high(prm), high(inh));
  b.syscall("capset", [header, data], {
    message: "set capabilities",
    hint: `the image must be started with at least the capabilities ${prm.toString(16)}`,
  });
  for (let capability = 0; capability <= lastCapability; capability++) {
    if ((amb & (1n << BigInt(capability))) === 0n) continue;
    b.syscall("prctl", [PR.capAmbient, PR_CAP_AMBIENT.raise, capability, 0, 0], { message: `raise ambient capability ${capability}` });
  }
}
