// SPDX-License-Identifier: Apache-2.0
/** All rules there are. docs/validation-rules.md is generated from this. */
import type { RuleInfo } from "./finding.js";
import type { ModelRule } from "./model-context.js";
import { hostRules } from "./host/host-rules.js";
import { imageRules } from "./host/image-rules.js";
import { lkmlRules } from "./lkml.js";
import { checksumRules } from "./rules/checksums.js";
import { containerRules } from "./rules/container.js";
import { coreRules } from "./rules/core-files.js";
import { descriptorRules } from "./rules/descriptors.js";
import { gpuRules } from "./rules/gpus.js";
import { identityRules } from "./rules/identity.js";
import { ipcRules } from "./rules/ipc.js";
import { extentRules } from "./rules/memory-extents.js";
import { absentRules } from "./rules/memory-absent.js";
import { vmaRules } from "./rules/memory-vmas.js";
import { programRules, programUnreadable } from "./rules/program.js";
import { registerRules } from "./rules/registers.js";
import { namespaceRules } from "./rules/namespaces.js";
import { signalRules } from "./rules/signals.js";
import { structureRules } from "./rules/structure.js";
import { stateRules } from "./rules/states.js";
import { treeRules } from "./rules/tree.js";

/** Rules over the model, in the order in which they are checked. */
export const modelRules: readonly ModelRule[] = [
  ...structureRules,
  ...treeRules,
  ...stateRules,
  ...vmaRules,
  ...extentRules,
  ...absentRules,
  ...descriptorRules,
  ...signalRules,
  ...registerRules,
  ...identityRules,
  ...namespaceRules,
  ...gpuRules,
  ...ipcRules,
];

/** Rules that the operation itself applies: reading, and the file as a whole. */
export const fileRules = {
  unreadable: {
    code: "file.unreadable",
    severity: "error",
    profile: "format",
    spec: "SPEC 3",
    summary: "The image can be read: headers, tables and records are whole and lie where they say.",
  },
  readable: {
    code: "file.readable-by-others",
    severity: "warning",
    profile: "format",
    spec: "SPEC 9",
    summary: "Only its owner may read an image: it holds all secrets of the processes.",
  },
} as const satisfies Readonly<Record<string, RuleInfo>>;

/** Everything, for the documentation. */
export function allRules(): readonly RuleInfo[] {
  return [
    ...Object.values(fileRules),
    ...containerRules,
    ...checksumRules,
    programUnreadable,
    ...programRules,
    ...coreRules,
    ...modelRules,
    ...Object.values(lkmlRules),
    ...hostRules,
    ...imageRules,
  ];
}
