// SPDX-License-Identifier: Apache-2.0
/** What the engine of a container said about it, for the overview of its checkpoint. */
import type { ContainerFacts } from "../../adapter/container-facts.js";
import type { JsonValue } from "../../errors/json.js";
import type { Block } from "./document.js";
import { formatBytes } from "../units.js";

/** Annotations that engines keep for themselves; all are in --json. */
const maxAnnotations = 12;
const idLength = 12;

export function containerBlocks(facts: ContainerFacts): Block[] {
  const { name, id, image, imageId, engine, runtime, created, checkpointed, sizes, statistics, hostname } = facts;
  const short = (digest: string): string => (digest === "" ? "" : ` (${digest.slice(0, idLength)})`);
  const lines = [
    `${name || "a container"}${short(id)}${image === "" ? "" : ` of image ${image}${short(imageId)}`}`,
    [
      [engine, runtime && `runtime ${runtime}`].filter(Boolean).join(", "),
      created && `created ${created}`,
      checkpointed && `checkpointed ${checkpointed}`,
    ]
      .filter(Boolean)
      .join("; "),
  ];
  if (facts.command.length > 0) lines.push(`command ${facts.command.join(" ")}`);
  const seen = facts.addresses.map((one) => `${one.interface && `${one.interface} `}${one.address}${one.mac && ` (${one.mac})`}`);
  lines.push(
    `host name ${hostname || "-"}, ${seen.length === 0 ? "no address" : seen.join(", ")}; own namespaces: ${facts.namespaces.join(" ")}`,
  );
  const parts = [`set ${formatBytes(BigInt(sizes.set))}, of it pages ${formatBytes(BigInt(sizes.pages))}`];
  if (sizes.rootDiff > 0) parts.push(`changes of the root file system ${formatBytes(BigInt(sizes.rootDiff))}`);
  if (sizes.sharedMemory > 0) parts.push(`/dev/shm ${formatBytes(BigInt(sizes.sharedMemory))}`);
  lines.push(parts.join("; "));
  if (statistics !== undefined) {
    const ms = (us: number): string => `${(us / 1000).toFixed(1)} ms`;
    lines.push(
      `CRIU: frozen ${ms(statistics.frozenUs)} (freezing took ${ms(statistics.freezingUs)}), memory read ${ms(statistics.memoryDumpUs)}, ` +
        `written ${ms(statistics.memoryWriteUs)}; ${statistics.pagesWritten} of ${statistics.pagesScanned} pages stored`,
    );
  }
  const blocks: Block[] = [{ heading: "Container", lines }];
  if (facts.mounts.length > 0) {
    blocks.push({
      heading: "Mounts of the specification",
      columns: [{ title: "DESTINATION" }, { title: "TYPE" }, { title: "SOURCE" }, { title: "OPTIONS" }],
      rows: facts.mounts.map(({ destination, type, source, options }) => [destination, type, source, options.join(",")]),
    });
  }
  const annotations = Object.entries(facts.annotations);
  if (annotations.length > 0) {
    const more = annotations.length > maxAnnotations ? [`… and ${annotations.length - maxAnnotations} more (--json)`] : [];
    blocks.push({
      heading: "Annotations",
      lines: [...annotations.slice(0, maxAnnotations).map(([key, value]) => `${key}=${value}`), ...more],
    });
  }
  return blocks;
}

/** The facts as they are. */
export function containerJson(facts: ContainerFacts): JsonValue {
  return JSON.parse(JSON.stringify(facts)) as JsonValue;
}
