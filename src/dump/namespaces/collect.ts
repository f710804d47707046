// SPDX-License-Identifier: Apache-2.0
/** What there is of the namespaces that are the tree's own, once its processes can be asked. */
import { decodeText } from "../../bytes/text.js";
import {
  type IdMapRow,
  type MutableTables,
  type NamespaceKind as ModelKind,
  namespaceRow,
  type NamespaceRow,
  taskNamespaceRow,
} from "../../gen/tables.js";
import { close, failed, SysError, tryReadlink, tryReadSmall } from "../../native/index.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { procPath, readStatus } from "../procfs.js";
import { refusal } from "../refusal.js";
import { decodeAttributes } from "../../kinds/socket/dump-netlink-messages.js";
import { askNetlink } from "../../kinds/socket/dump-sock-diag.js";
import { readIdMaps } from "./ids.js";
import { MountCollector } from "./collect-mounts.js";
import { namespaceLink } from "./own-resume.js";
import { type NamespaceKind, namespaceKinds, namespaceRules } from "./kinds.js";
import { collectSysctls } from "./sysctls.js";
import { collectNetwork } from "./network.js";
import { mayEnterIpc } from "./view.js";
import { inodeOf, ownerOf, ownerUid, parentOf } from "./owner.js";

/** The namespaces that the whole tree lives in and crimg does not. */
export interface OwnNamespaces {
  readonly kinds: ReadonlySet<NamespaceKind>;
  /** Numbers of the user namespaces that are outside: crimg's, and one that a resume of crimg's made. */
  readonly outsideUsers: ReadonlySet<bigint>;
}

const [NETLINK_ROUTE, NETLINK_NETFILTER] = [0, 12];
/** NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE. */
const NFT_MSG_GETTABLE = 0x0a01;
const NFTA_TABLE_NAME = 1;
const utsField = 65;

/** Adds rows for all that is the tree's own, and lets the view look through them. Returns how ids are seen inside. */
export function collectNamespaces(
  context: DumpContext,
  { kinds, outsideUsers }: OwnNamespaces,
  externalMounts: ReadonlyMap<string, string> = new Map(),
): readonly IdMapRow[] {
  if (kinds.size === 0) return [];
  const live = context.processes.filter(({ frozen }) => !frozen.isZombie);
  const [root] = live;
  if (root === undefined) return [];
  const { tables, blockers } = context;
  const user = kinds.has("user") ? addUser(tables, root, outsideUsers) : undefined;
  const mounts = new MountCollector(context, externalMounts);
  for (const kind of namespaceKinds) {
    const { model } = namespaceRules[kind];
    if (!kinds.has(kind) || model === undefined) continue;
    for (const members of byNamespace(live, kind)) {
      const [first] = members;
      if (first === undefined) continue;
      const row = kind === "user" ? (user?.row ?? 0) : addRow(tables, first, { kind, model, user, outsideUsers });
      for (const process of members) tables.taskNamespaces.push(taskNamespaceRow({ task: process.row, namespace: row }));
      if (kind === "mnt") {
        const space = context.view.throughRootOf(viewer(members), row);
        for (const process of members) context.view.setSpace(process, space);
        blockers.attempt(() => mounts.collect(space));
      }
      if (kind === "net") blockers.attempt(() => addNetwork(context, first, row));
      if (kind === "net" || kind === "ipc") blockers.attempt(() => collectSysctls(tables, first.pid, kind, row));
      if (kind === "ipc") {
        if (mayEnterIpc(root.pid)) context.view.throughIpcOf(root);
        else blockers.attempt(() => assertEmptyIpc(root));
      }
    }
  }
  return user?.maps ?? [];
}

/** Processes by the namespace that they live in, those of the root of the tree first. */
function byNamespace(live: readonly DumpedProcess[], kind: NamespaceKind): DumpedProcess[][] {
  const groups = new Map<string | undefined, DumpedProcess[]>();
  for (const process of live) {
    const link = namespaceLink(procPath(process.pid), kind);
    const members = groups.get(link);
    if (members === undefined) groups.set(link, [process]);
    else members.push(process);
  }
  return [...groups.values()];
}

interface RowParts {
  readonly kind: NamespaceKind;
  readonly model: ModelKind;
  readonly user: OwnUser | undefined;
  readonly outsideUsers: ReadonlySet<bigint>;
}

/** The row of a namespace other than a user namespace, in which `process` lives. */
function addRow(tables: MutableTables, process: DumpedProcess, { kind, model, user, outsideUsers }: RowParts): number {
  const row = namespaceRow({
    ...(kind === "uts" ? namesOf(process) : {}),
    kind: model,
    owner: ownerRow(process, kind, user, outsideUsers),
    inode: inodeOf(`${procPath(process.pid)}/ns/${kind}`) ?? 0n,
  });
  return tables.namespaces.push(row) - 1;
}

/** A process whose root directory is that of the mount namespace. */
function viewer(live: readonly DumpedProcess[]): DumpedProcess {
  const found = live.find(({ pid }) => tryReadlink(`/proc/${pid}/root`)?.toString("latin1") === "/");
  if (found !== undefined) return found;
  const [root] = live;
  throw refusal(
    "chroot",
    `process ${root?.pid} (${root?.name}) and its descendants have other root directories than their mount namespace`,
    {
      hint: "crimg cannot see the files of such a mount namespace; dump an ancestor that is in no chroot.",
    },
  );
}

interface OwnUser {
  readonly row: number;
  readonly inode: bigint;
  readonly maps: readonly IdMapRow[];
}

function addUser(tables: MutableTables, root: DumpedProcess, outside: ReadonlySet<bigint>): OwnUser {
  const path = procPath(root.pid);
  const link = `${path}/ns/user`;
  const inode = inodeOf(link) ?? 0n;
  if (!outside.has(parentOf(link) ?? 0n)) {
    throw refusal("user-namespace", `process ${root.pid} (${root.name}) lives in a user namespace within another one`, {
      hint: "Dump it from within the outer one.",
    });
  }
  const row =
    tables.namespaces.push(
      namespaceRow({
        kind: "user",
        inode,
        ownerUid: ownerUid(link) ?? 0,
        ownerGid: Number(readStatus(path)?.get("Gid")?.split(/\s+/)[1] ?? 0),
        flags: tryReadSmall(`${path}/setgroups`)?.toString("latin1").trim() === "deny" ? 1 : 0,
      }),
    ) - 1;
  const maps = readIdMaps(path, row);
  if (maps.length === 0) throw refusal("user-namespace", `process ${root.pid} (${root.name}): its user namespace has no map of ids yet`);
  tables.idMaps.push(...maps);
  return { row, inode, maps };
}

/** Whose capabilities hold in a namespace: those of the tree's own user namespace, or of crimg's. */
function ownerRow(
  { pid, name }: DumpedProcess,
  kind: NamespaceKind,
  user: OwnUser | undefined,
  outside: ReadonlySet<bigint>,
): number | null {
  const owner = ownerOf(`${procPath(pid)}/ns/${kind}`);
  if (owner !== undefined && owner === user?.inode) return user.row;
  if (owner !== undefined && outside.has(owner)) return null;
  const { title } = namespaceRules[kind];
  throw refusal(
    `${title}-namespace`,
    `process ${pid} (${name}): its ${title} namespace belongs to a user namespace that is neither its own nor crimg's`,
    {
      hint: "Dump it from within that user namespace.",
    },
  );
}

/** struct new_utsname: sysname, nodename, release, version, machine, domainname. */
function namesOf(root: DumpedProcess): Pick<NamespaceRow, "hostName" | "domainName"> {
  const names = Buffer.alloc(6 * utsField);
  const result = root.injector().call("uname", { out: names });
  if (failed(result)) throw new SysError("uname", -result, `process ${root.pid}`);
  const field = (index: number): string => {
    const bytes = names.subarray(index * utsField, (index + 1) * utsField);
    return decodeText(bytes.subarray(0, bytes.indexOf(0)));
  };
  return { hostName: field(1), domainName: field(5) };
}

function addNetwork(context: DumpContext, root: DumpedProcess, namespace: number): void {
  context.view.throughNetworkOf(root);
  const fd = context.view.netlink(NETLINK_ROUTE);
  if (fd === undefined) return;
  try {
    const other = collectNetwork(context.tables, namespace, fd).filter(({ name }) => name !== "lo");
    const tables = filterTables(context);
    if (tables.length > 0) {
      const text = `the packet filter of its network namespace (nftables: ${tables.join(", ")})`;
      context.leaveOut("network-device", `${root.pid} (${root.name}): ${text}`);
    }
    if (other.length === 0) return;
    const names = other.map(({ name, kind }) => (kind === "" ? name : `${name} (${kind})`)).join(", ");
    context.leaveOut("network-device", `${root.pid} (${root.name}): the network device ${names} of its network namespace`);
    context.tables.networkRoutes.length = 0;
  } finally {
    close(fd);
  }
}

/** Names of the tables of nftables in the network of the tree; none where crimg may not ask, or the kernel has no such thing. */
function filterTables(context: DumpContext): string[] {
  const fd = context.view.netlink(NETLINK_NETFILTER);
  if (fd === undefined) return [];
  const names: string[] = [];
  try {
    // struct nfgenmsg: u1 family, u1 version, be2 res_id
    askNetlink(fd, NFT_MSG_GETTABLE, Buffer.alloc(4), (payload) => {
      const name = decodeAttributes(payload, 4).get(NFTA_TABLE_NAME);
      names.push(name === undefined ? "?" : decodeText(name.subarray(0, name.indexOf(0))));
    });
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
  } finally {
    close(fd);
  }
  return names;
}

/** Whoever may not enter an ipc namespace cannot keep what it holds: there must be nothing. */
function assertEmptyIpc(root: DumpedProcess): void {
  const [SHM_INFO, SEM_INFO, MSG_INFO] = [14, 19, 12];
  const who = `process ${root.pid} (${root.name})`;
  const count = (call: "shmctl" | "msgctl" | "semctl"): number => {
    const out = Buffer.alloc(128);
    const injector = root.injector();
    const result =
      call === "shmctl"
        ? injector.call("shmctl", 0, SHM_INFO, { out })
        : call === "msgctl"
          ? injector.call("msgctl", 0, MSG_INFO, { out })
          : injector.call("semctl", 0, 0, SEM_INFO, { out });
    if (failed(result)) throw new SysError(call, -result, who);
    // struct shm_info: s4 used_ids first; struct seminfo: semusz is the seventh s4; struct msginfo: msgpool is the first.
    return out.readInt32LE(call === "semctl" ? 28 : 0);
  };
  const found = [
    [count("shmctl"), "shared memory segments"],
    [count("semctl"), "semaphore sets"],
    [count("msgctl"), "message queues"],
  ] as const;
  const some = found.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  if (some.length > 0)
    throw refusal("ipc-namespace", `${who}: its ipc namespace holds ${some.join(", ")} (System V)`, {
      hint: "Run crimg as root.",
    });
}
