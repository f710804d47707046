// SPDX-License-Identifier: Apache-2.0
/** --cgroup-root: which control group stands for "/" in a hierarchy. */
import { CrimgError } from "../errors/crimg-error.js";

/** The root that `--cgroup-root` names for a hierarchy; undefined for none. A root without a controller is for all others. */
export function rootFor(hierarchy: string, roots: readonly string[]): string | undefined {
  let general: string | undefined;
  for (const text of roots) {
    const [, controller, path] = /^(?:([^/]*):)?(\/.*)$/.exec(text) ?? [];
    if (path === undefined) {
      throw new CrimgError("usage.cgroup-root", `--cgroup-root ${text} is not a path of a control group`, {
        expected: "[CONTROLLER:]/PATH",
      });
    }
    const clean = path.replace(/\/+$/, "");
    if (controller === undefined) general = clean;
    else if (controller === hierarchy || hierarchy.split(",").includes(controller)) return clean;
  }
  return general;
}
