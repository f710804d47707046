// SPDX-License-Identifier: Apache-2.0
import { type FormatAdapter, facetNames } from "../../adapter/format.js";
import { exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";

const signs = { exact: "●", derived: "◐", lossy: "○", absent: "·" } as const;
const colors = { exact: "32", derived: "36", lossy: "33", absent: "2" } as const;

/** Formats across, facets down. */
export function renderMatrix(formats: readonly FormatAdapter[], color: boolean): string {
  const paint = (code: string, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
  const width = Math.max(...facetNames.map((name) => name.length)) + 2;
  const columns = formats.map((format) => Math.max(format.id.length, 2) + 2);
  const row = (head: string, cells: readonly string[]): string => `${head.padEnd(width)}${cells.join("")}`.trimEnd();
  const lines = [
    row(
      "",
      formats.map((format, index) => format.id.padEnd(columns[index] ?? 0)),
    ),
  ];
  const abilities = formats.map((format, index) => {
    const text = `${format.read === undefined ? "" : "r"}${format.write === undefined ? "" : "w"}`;
    return text.padEnd(columns[index] ?? 0);
  });
  lines.push(row("read, write", abilities));
  for (const facet of facetNames) {
    const cells = formats.map((format, index) => {
      const support = format.facets[facet];
      return paint(colors[support], signs[support]) + " ".repeat((columns[index] ?? 1) - 1);
    });
    lines.push(row(facet, cells));
  }
  const legend = Object.entries(signs).map(([support, sign]) => `${sign} ${support}`);
  lines.push("", legend.join("   "), "", ...formats.map((format) => `${format.id.padEnd(14)}${format.title}`));
  return `${lines.join("\n")}\n`;
}

export const command = defineCommand({
  name: "formats",
  describe: "List the formats and what each can hold",
  positionals: {},
  options: { json: { type: "boolean", describe: "As JSON" } },
  examples: [{ command: "crimg formats --json", text: "the matrix as data" }],
  async run(args, terminal) {
    const { registry } = await import("../../../formats/registry.js");
    const formats = await Promise.all(registry.ids.map((id) => registry.load(id)));
    if (args.json) {
      const rows = formats.map(({ id, title, shape, facets, read, write }) => ({
        id,
        title,
        shape,
        canRead: read !== undefined,
        canWrite: write !== undefined,
        facets,
      }));
      terminal.print(toJsonText(rows));
    } else terminal.print(renderMatrix(formats, terminal.color));
    return exitStatus.ok;
  },
});
