// SPDX-License-Identifier: Apache-2.0
/** Which kind a descriptor is, from what /proc and fstat say, or the words of its refusal. Pure: no system calls. */
import type { FileKind } from "../../gen/tables.js";
import { anonymousName, type DescriptorFacts, inodeType, kernelObject } from "./facts.js";
import { fileDumps } from "./kinds.js";

export type Classified = { readonly kind: FileKind } | { readonly refused: string; readonly code: string };

/** Words for anonymous inodes that are refused; others are named as the link has them. */
const anonymousWords = new Map<string, string>([
  ["[userfaultfd]", "userfaultfd"],
  ["[perf_event]", "perf_event"],
  ["bpf-map", "a bpf map"],
  ["bpf-prog", "a bpf program"],
  ["bpf_link", "a bpf link"],
  ["seccomp notify", "a seccomp listener"],
  ["[landlock-ruleset]", "a landlock ruleset"],
  ["mount", "a detached mount"],
  ["[fscontext]", "a file system context"],
]);

const allKinds = Object.keys(fileDumps) as FileKind[];

const recognises =
  (facts: DescriptorFacts) =>
  (kind: FileKind): boolean => {
    const dump = fileDumps[kind];
    return "recognises" in dump && dump.recognises(facts);
  };

/** The kinds that recognise a descriptor: one, or none for what is refused. */
export function kindsOf(facts: DescriptorFacts): FileKind[] {
  return allKinds.filter(recognises(facts));
}

/** Decides the kind, or the words of a refusal. */
export function classify(facts: DescriptorFacts): Classified {
  const kind = allKinds.find(recognises(facts));
  if (kind !== undefined) return { kind };
  const anonymous = anonymousName(facts);
  if (anonymous !== undefined) return refused(anonymousWords.get(anonymous) ?? anonymous.replace(/^\[(.*)\]$/, "$1"));
  const type = inodeType(facts);
  const own = type === "kernel_object" ? kernelObject(facts) : undefined;
  if (own !== undefined) return { refused: own.words, code: own.code };
  if (type === "block_device") return { refused: `the block device ${facts.link}`, code: "block_device" };
  if (type === "char_device") {
    const isMaster = facts.rdevMajor === 5 && facts.rdevMinor === 2;
    return isMaster
      ? { refused: "the master of a pseudoterminal", code: "pty_master" }
      : { refused: `the device ${facts.link}`, code: "device" };
  }
  return { refused: facts.link, code: "unknown" };
}

function refused(word: string): Classified {
  return { refused: word, code: word.replace(/^an? /, "").replaceAll(/\W+/g, "_") };
}
