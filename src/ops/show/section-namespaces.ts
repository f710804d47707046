// SPDX-License-Identifier: Apache-2.0
/** Namespaces of the tree's own, what is mounted in them, and what a resume does about namespaces. */
import { mountFlagsBits } from "../../gen/tables.js";
import { isOptionalMount } from "../../model/own-namespaces.js";
import type { Block } from "./document.js";
import type { Scope } from "./scope.js";
import type { Section } from "./section-tasks.js";

type Tables = Scope["checkpoint"]["tables"];

export function namespaces(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const { checkpoint: heads, tasks } = tables;
  const sessions = [...new Set(scope.tasks.map((task) => tasks[task]?.sid ?? 0))];
  const lines = [
    ...(tables.namespaces.length === 0
      ? [
          "The image holds no namespaces: the tree comes back in those of whoever resumes it,",
          "with --pid namespace (the default of ordinary users) in a pid namespace of its own.",
        ]
      : ["Namespaces without a line are those of whoever resumes it."]),
    `Clocks: ${heads[0]?.clock ?? "host"} ` +
      "(continue: CLOCK_MONOTONIC and CLOCK_BOOTTIME go on as at the dump; host: those of the machine).",
    `Sessions: ${sessions.join(", ")} (process ids as the program sees them).`,
  ];
  return {
    blocks: [...own(tables), ...mounts(tables), ...network(tables), { lines }],
    selected: {
      checkpoint: heads.length === 0 ? [] : [0],
      tasks: scope.tasks,
      namespaces: tables.namespaces.map((_, row) => row),
      mounts: tables.mounts.map((_, row) => row),
      networkDevices: tables.networkDevices.map((_, row) => row),
      networkAddresses: tables.networkAddresses.map((_, row) => row),
    },
  };
}

function own(tables: Tables): Block[] {
  if (tables.namespaces.length === 0) return [];
  const rows = tables.namespaces.map((row, index) => {
    const members = tables.taskNamespaces
      .filter(({ namespace }) => namespace === index)
      .map(({ task }) => String(tables.tasks[task]?.pid ?? "?"));
    return [row.kind, row.owner === null ? "outside" : `user namespace ${row.owner}`, details(tables, index), members.join(", ")];
  });
  return [
    {
      heading: "Namespaces of the tree's own",
      columns: [{ title: "KIND" }, { title: "OWNER" }, { title: "" }, { title: "PROCESSES" }],
      rows,
    },
  ];
}

function details({ namespaces: all, idMaps }: Tables, index: number): string {
  const row = all[index];
  if (row?.kind === "uts") return [row.hostName, row.domainName].filter((name) => name !== "" && name !== "(none)").join(", ");
  if (row?.kind !== "user") return "-";
  const lines = idMaps.filter(({ namespace }) => namespace === index);
  const maps = lines.map(
    ({ kind, inside, outside, count }) => `${kind} ${inside} is ${outside}${count === 1 ? "" : ` (${count} of them)`}`,
  );
  return [...maps, ...((row.flags & 1) === 0 ? [] : ["setgroups is denied"])].join(", ");
}

function mounts({ mounts: all, mountEntries }: Tables): Block[] {
  if (all.length === 0) return [];
  const rows = all.map((row, index) => {
    const flags = Object.entries(mountFlagsBits).flatMap(([name, bit]) => (name !== "relatime" && (row.flags & bit) !== 0 ? [name] : []));
    const files = mountEntries.filter(({ mount }) => mount === index).length;
    return [row.point, row.fsType || "-", origin(row, files), flags.join(",") || "-"];
  });
  return [{ heading: "Mounts", columns: [{ title: "POINT" }, { title: "TYPE" }, { title: "AT A RESUME" }, { title: "FLAGS" }], rows }];
}

function origin(row: Tables["mounts"][number], files: number): string {
  switch (row.origin) {
    case "kept":
      return "as the machine has it";
    case "changed":
      return "as the machine has it, with these flags";
    case "removed":
      return "not there";
    case "made":
      return files > 1 ? `new, with ${files - 1} files` : "new";
    case "bind":
      return files > 0
        ? "a file of this image"
        : row.sameAs === null
          ? `${row.source} of the machine`
          : `a part of another mount: ${row.root}`;
    case "external":
      return row.source || (isOptionalMount(row) ? "left out, unless given (--mount)" : "has to be given (--mount)");
    case "rootfs":
      return row.source || "has to be given (--rootfs)";
  }
}

function network({ networkDevices, networkAddresses }: Tables): Block[] {
  if (networkDevices.length === 0) return [];
  const rows = networkDevices.map((row, index) => {
    const addresses = networkAddresses
      .filter(({ device }) => device === index)
      .map(({ local, prefixLength }) => `${addressText(local)}/${prefixLength}`);
    return [row.name, (row.flags & 1) === 0 ? "down" : "up", addresses.join(" ") || "-"];
  });
  return [{ heading: "Network devices", columns: [{ title: "NAME" }, { title: "STATE" }, { title: "ADDRESSES" }], rows }];
}

function addressText(bytes: Uint8Array): string {
  if (bytes.length !== 16) return [...bytes].join(".");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2).toString(16));
  return words.join(":").replace(/(^|:)0(:0)+(:|$)/, "::");
}
