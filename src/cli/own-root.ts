// SPDX-License-Identifier: Apache-2.0
/** Options that say where a tree with a root directory of its own finds its files. */

import { externalMountPairs } from "./external-options.js";

const group = "Trees with namespaces of their own";

export const rootOptions = {
  rootfs: { type: "string", group, value: "DIR", describe: "The directory with the files of a container's root", isFile: true },
  mount: {
    type: "strings",
    group,
    value: "NAME=PATH",
    describe: "What is mounted where the mount NAME, or the one at the path NAME, was; may be repeated",
  },
  external: {
    type: "strings",
    group,
    value: "mnt[NAME]:PATH",
    describe: "The same as --mount NAME=PATH, as CRIU calls it; may be repeated",
  },
  here: {
    type: "boolean",
    group,
    describe: "In the namespaces of whoever resumes it, less confined than it was: with the files, processes and network of the machine",
  },
} as const;

interface RootArguments {
  readonly rootfs?: string | undefined;
  readonly mount?: readonly string[] | undefined;
  readonly external?: readonly string[] | undefined;
  readonly here?: boolean | undefined;
}

/** Options for convert and exec. */
export function parseRoot({ rootfs, mount = [], external, here }: RootArguments): {
  rootfs?: string;
  mount?: readonly string[];
  here?: boolean;
} {
  const mounts = [...mount, ...externalMountPairs(external).map((pair) => pair.join("="))];
  return {
    ...(rootfs === undefined ? {} : { rootfs }),
    ...(mounts.length === 0 ? {} : { mount: mounts }),
    ...(here === true ? { here } : {}),
  };
}
