// SPDX-License-Identifier: Apache-2.0
/**
 * What an engine wrote beside the set of a container: config.dump and spec.dump (JSON of Podman and CRI-O; the OCI runtime
 * specification), network.status (CNI or netavark), stats-dump of CRIU. Nothing of the memory is read.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { ContainerFacts, ContainerMount, Statistics } from "../../../src/adapter/container-facts.js";
import type { Member } from "./members.js";

/** Names of members whose content is told. */
export const engineFiles: ReadonlySet<string> = new Set([
  "config.dump",
  "spec.dump",
  "network.status",
  "stats-dump",
  "checkpoint/stats-dump",
]);

type Json = { readonly [key: string]: unknown };

/** @returns undefined for what no engine has written */
export function factsOf(members: readonly Member[]): ContainerFacts | undefined {
  const content = (name: string): Buffer | undefined => members.find((member) => member.name === name)?.content;
  const config = parsed(content("config.dump"));
  const spec = parsed(content("spec.dump"));
  if (config === undefined && spec === undefined) return undefined;
  const sum = (isOne: (name: string) => boolean): number => members.reduce((total, { name, size }) => total + (isOne(name) ? size : 0), 0);
  const inventory = members.find(({ name }) => name === "checkpoint/inventory.img");
  const annotations = texts(spec?.["annotations"]);
  const process = object(spec?.["process"]) ?? {};
  const statistics = content("stats-dump") ?? content("checkpoint/stats-dump");
  return {
    name: text(config?.["name"]) || annotations["io.kubernetes.cri-o.ContainerName"] || text(object(config)?.["Name"]),
    id: text(config?.["id"]) || annotations["io.kubernetes.cri-o.ContainerID"] || "",
    image: text(config?.["rootfsImageName"]) || text(config?.["RawImageName"]) || annotations["io.kubernetes.cri-o.ImageName"] || "",
    imageId: text(config?.["rootfsImageID"]),
    engine: engineOf(annotations, config),
    runtime: text(config?.["runtime"]) || text(config?.["ociRuntime"]),
    created: text(config?.["createdTime"]) || annotations["io.kubernetes.cri-o.Created"] || "",
    checkpointed: text(config?.["checkpointedTime"]) || (inventory?.mtime === undefined ? "" : new Date(inventory.mtime).toISOString()),
    command: list(process["args"]).map(text),
    hostname: text(spec?.["hostname"]),
    addresses: addressesOf(parsed(content("network.status")), annotations),
    mounts: list(spec?.["mounts"]).map(mountOf),
    volumes: list(config?.["namedVolumes"]).map((one) => ({
      name: text(object(one)?.["volumeName"]),
      destination: text(object(one)?.["dest"]),
    })),
    annotations,
    namespaces: list(object(spec?.["linux"])?.["namespaces"]).map((one) => text(object(one)?.["type"])),
    sizes: {
      set: sum((name) => name.startsWith("checkpoint/")),
      pages: sum((name) => /^checkpoint\/pages-\d+\.img$/.test(name)),
      rootDiff: sum((name) => name === "rootfs-diff.tar"),
      sharedMemory: sum((name) => name === "devshm-checkpoint.tar"),
    },
    statistics: statistics === undefined ? undefined : statisticsOf(statistics),
  };
}

/** Where the runtime binds something into the container, as spec.dump says. */
export function bindPoints(spec: Uint8Array | undefined): ReadonlySet<string> {
  const mounts = list(parsed(spec === undefined ? undefined : Buffer.from(spec))?.["mounts"]).map(mountOf);
  return new Set(mounts.filter(({ type }) => type === "bind").map(({ destination }) => destination));
}

function engineOf(annotations: Readonly<Record<string, string>>, config: Json | undefined): string {
  const manager = annotations["io.container.manager"];
  if (manager === "libpod") return "Podman";
  if (manager === "cri-o") return "CRI-O";
  if (annotations["io.kubernetes.cri.container-name"] !== undefined) return "containerd";
  return config?.["staticDir"] === undefined ? "" : "Podman";
}

function mountOf(value: unknown): ContainerMount {
  const { destination, type, source, options } = object(value) ?? {};
  return { destination: text(destination), type: text(type), source: text(source), options: list(options).map(text) };
}

/** Podman: networks by name, with interfaces; CRI-O: an annotation. */
function addressesOf(status: Json | undefined, annotations: Readonly<Record<string, string>>): ContainerFacts["addresses"] {
  const found: { interface: string; address: string; mac: string }[] = [];
  for (const network of Object.values(status ?? {})) {
    for (const [name, device] of Object.entries(object(object(network)?.["interfaces"]) ?? {})) {
      const { subnets, mac_address: mac } = object(device) ?? {};
      for (const subnet of list(subnets)) found.push({ interface: name, address: text(object(subnet)?.["ipnet"]), mac: text(mac) });
    }
  }
  const address = annotations["io.kubernetes.cri-o.IP.0"];
  if (found.length === 0 && address !== undefined) found.push({ interface: "", address, mac: "" });
  return found;
}

/** stats_entry { dump_stats_entry dump = 1 }; its fields are u4 (images/stats.proto of CRIU, MIT). */
function statisticsOf(bytes: Buffer): Statistics | undefined {
  // Two magic numbers, then a length and the message.
  if (bytes.length < 14) return undefined;
  try {
    const reader = new BinaryReader(bytes.subarray(12));
    const [no, wireType] = reader.tag();
    if (no !== 1 || wireType !== WireType.LengthDelimited) return undefined;
    const end = reader.uint32() + reader.pos;
    const values = new Map<number, number>();
    while (reader.pos < end) {
      const [field, type] = reader.tag();
      if (type === WireType.Varint) values.set(field, Number(reader.uint64()));
      else reader.skip(type);
    }
    const value = (field: number): number => values.get(field) ?? 0;
    return {
      freezingUs: value(1),
      frozenUs: value(2),
      memoryDumpUs: value(3),
      memoryWriteUs: value(4),
      pagesScanned: value(5),
      pagesWritten: value(7),
    };
  } catch {
    return undefined;
  }
}

function parsed(content: Buffer | undefined): Json | undefined {
  if (content === undefined) return undefined;
  try {
    return object(JSON.parse(content.toString("utf8")));
  } catch {
    return undefined;
  }
}

const object = (value: unknown): Json | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");

function texts(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(object(value) ?? {}).map(([key, one]) => [key, text(one)]));
}
