// SPDX-License-Identifier: Apache-2.0
/**
 * Namespaces of a tree that are not crimg's: the image keeps them, if the whole tree lives in them. What it cannot keep is
 * named in one message; in the namespaces of whoever resumes it, a program would have another network, other files, and
 * capabilities where it had none.
 */
import { severalKinds } from "../../model/own-namespaces.js";
import type { Answers } from "../../native/index.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { innermost, procPath, readStatus } from "../procfs.js";
import { refusal } from "../refusal.js";
import type { OwnNamespaces } from "./collect.js";
import { type NamespaceKind, namespaceKinds, namespaceRules } from "./kinds.js";
import { NamespaceLinks } from "./links.js";
import { inodeOf } from "./owner.js";
import { haveNoCapabilities, initOfResume, mountsLost, mountsOf, namespaceLink, singleIds } from "./own-resume.js";

/** What the image keeps, and what is to be done about credentials because of what was left out. */
export interface NamespaceVerdict extends OwnNamespaces {
  /** Capabilities hold in a user namespace that is left out. */
  readonly dropsCapabilities: boolean;
}

interface Finding {
  readonly kind: NamespaceKind;
  /** `process 4711 (python3) has its own network namespace`. */
  readonly text: string;
  /** The tree as a whole is in another one; false: its parts are in different ones, which cannot be left out. */
  readonly isWhole: boolean;
  /** Processes in several: kept if that of the root is. */
  readonly isKeptWithRoots?: boolean;
}

/**
 * Looks for trees that are in other namespaces than crimg, or in several. What else there is of a tree in several cannot
 * be judged from here, so the search ends with this.
 * @param told links of all threads, if they have been asked for
 * @throws CrimgError `dump.<kind>-namespace`, `dump.blocked`
 */
export function checkNamespaces(context: DumpContext, processes: readonly DumpedProcess[], told?: Answers): NamespaceVerdict {
  const live = processes.filter((process) => !process.frozen.isZombie);
  const root = live[0];
  if (root === undefined) return { dropsCapabilities: false, kinds: new Set(), outsideUsers: new Set() };
  const links = new NamespaceLinks(
    live.flatMap(({ frozen }) => frozen.threads),
    told,
  );
  if (links.areAll(ownLinks())) return { dropsCapabilities: false, kinds: new Set(), outsideUsers: new Set() };
  const findings = namespaceKinds.flatMap((kind) => [...wholeTree(kind, root, links), ...partsOf(kind, root, live, links)]);
  if (findings.length === 0) return { dropsCapabilities: false, kinds: new Set(), outsideUsers: new Set() };
  let dropsCapabilities = false;
  let isBlocked = false;
  const kinds = new Set<NamespaceKind>();
  const init = initOfResume(root.pid);
  for (const { kind, text, isWhole, isKeptWithRoots } of withoutOwn(context, findings, root, live, init)) {
    const { ignorable, title } = namespaceRules[kind];
    if (isKeptWithRoots === true && kinds.has(kind)) continue;
    if (!isWhole) {
      isBlocked = true;
      context.blockers.add(refusal(`${title}-namespace`, text, { hint }));
    } else if (ignorable !== undefined && context.ignored.classes.has(ignorable)) {
      dropsCapabilities ||= kind === "user";
      context.leaveOut(ignorable, kind === "user" ? `${text}: ${withoutUser}` : text);
    } else {
      kinds.add(kind);
    }
  }
  if (kinds.has("pid") && innermostPid(root.pid) !== 1) {
    isBlocked = true;
    const text = `${name(root)} lives in a pid namespace whose first process is none of its descendants`;
    context.blockers.add(
      refusal("pid-namespace", text, { hint: "Dump that process instead: a pid namespace ends with its first process." }),
    );
  }
  if (isBlocked) context.blockers.assertNone();
  const outsideUsers = new Set(
    ["/proc/self", ...(init === undefined ? [] : [procPath(init)])].map((path) => inodeOf(`${path}/ns/user`) ?? 0n),
  );
  return { dropsCapabilities, kinds, outsideUsers };
}

function innermostPid(pid: number): number | undefined {
  const status = readStatus(procPath(pid));
  return status && innermost(status, "NSpid");
}

const withoutUser = "it becomes the user that it is outside, without the capabilities that it has inside";

const hint = "An image keeps namespaces that the whole tree lives in; dump a part of the tree that lives in the same ones.";

function name({ pid, name }: DumpedProcess): string {
  return `process ${pid} (${name})`;
}

let own: NamespaceLinks | undefined;

/** Links to crimg's own namespaces: it leaves them for moments only. */
function ownLinks(): NamespaceLinks {
  return (own ??= new NamespaceLinks([{ pid: process.pid, tid: process.pid }]));
}

/** The root's namespace against crimg's. */
function wholeTree(kind: NamespaceKind, root: DumpedProcess, links: NamespaceLinks): Finding[] {
  const { title, model } = namespaceRules[kind];
  if (model === undefined || links.of(root.pid, kind) === ownLinks().of(process.pid, kind)) return [];
  return [{ kind, text: `${name(root)} lives in another ${title} namespace than crimg`, isWhole: true }];
}

/** Every other process against the root, every thread against its process, and what the next child would get. */
function partsOf(kind: NamespaceKind, root: DumpedProcess, live: readonly DumpedProcess[], links: NamespaceLinks): Finding[] {
  const { title, forChildren, model } = namespaceRules[kind];
  const mayBeSeveral = model !== undefined && severalKinds.has(model);
  const ofRoot = links.of(root.pid, kind);
  const findings: Finding[] = [];
  const add = (text: string): unknown => findings.push({ kind, text, isWhole: false });
  for (const process of live) {
    const wanted = process === root ? ofRoot : links.of(process.pid, kind);
    if (wanted !== ofRoot) {
      const text = `${name(root)} and ${name(process)} live in different ${title} namespaces`;
      findings.push({ kind, text, isWhole: false, isKeptWithRoots: mayBeSeveral });
      if (!mayBeSeveral) continue;
    }
    for (const { tid } of process.frozen.threads) {
      if (tid !== process.pid && links.of(tid, kind) !== wanted) add(`thread ${tid} of ${name(process)} has its own ${title} namespace`);
      // A pid namespace without a first process has no link yet.
      else if (forChildren !== undefined && links.of(tid, forChildren) !== wanted)
        add(`thread ${tid} of ${name(process)} has another ${title} namespace for its children than for itself`);
    }
  }
  return findings;
}

/** Takes out what a resume of crimg's made and makes again. Reports what changes all the same. */
function withoutOwn(
  context: DumpContext,
  findings: readonly Finding[],
  root: DumpedProcess,
  live: readonly DumpedProcess[],
  init: number | undefined,
): Finding[] {
  if (init === undefined) return [...findings];
  // A namespace that the init is not in is the tree's.
  const isOfInit = (kind: NamespaceKind): boolean => namespaceLink(procPath(init), kind) === namespaceLink(procPath(root.pid), kind);
  const kinds = new Set(findings.filter(({ isWhole, kind }) => isWhole && isOfInit(kind)).map(({ kind }) => kind));
  if (!kinds.has("pid")) return [...findings];
  const own = new Set<NamespaceKind>(["pid"]);
  const ids = kinds.has("user") ? singleIds(root.pid) : undefined;
  if (ids !== undefined && haveNoCapabilities(live.flatMap(({ frozen }) => frozen.threads))) {
    own.add("user");
    if (!ids.isSame)
      context.lose("dump.user-ids", `${name(root)} and its descendants: their user and group become those that they have outside`);
  }
  // Without a capability nothing can be mounted: what is only inside has gone outside since.
  if (isOfInit("mnt") && (own.has("user") || mountsLost(mountsOf(init), mountsOf("self")).length === 0)) own.add("mnt");
  return findings.filter(({ kind, isWhole }) => !(isWhole && own.has(kind)));
}
