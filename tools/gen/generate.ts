// SPDX-License-Identifier: Apache-2.0
/** Everything that is generated, as paths (from the root of the checkout) and contents. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { emitArbitraries } from "./emit-arbitraries.js";
import { emitCHeader } from "./emit-c.js";
import { emitDocument } from "./emit-docs.js";
import { emitRecords, emitTableCodecs, modulesOf } from "./emit-records.js";
import { emitSchema } from "./emit-schema.js";
import { emitTableSpecs, emitTables, tablesOf } from "./emit-tables.js";
import type { Spec } from "./ir.js";
import { SpecLoader } from "./load.js";
import { camelCase, kebabCase } from "./names.js";
import { header, sourceOf } from "./source.js";

/** The specs of a checkout. */
export function loadSpecs(root: string): readonly Spec[] {
  const folder = join(root, "spec/ksy");
  const names = readdirSync(folder).filter((name) => name.endsWith(".ksy"));
  return new SpecLoader(new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]))).load();
}

/** Contents of every generated file by path. */
export function generate(root: string): ReadonlyMap<string, string> {
  const specs = loadSpecs(root);
  const modules = modulesOf(specs);
  const files = new Map<string, string>();
  for (const spec of specs) {
    if (spec.records.length > 0) files.set(`test/support/gen/${kebabCase(spec.id)}.ts`, emitArbitraries(spec, modules));
    if (spec.cPrefix !== undefined) files.set(`native/gen/${spec.id}.h`, emitCHeader(spec));
    if (tablesOf(spec).length > 0) {
      files.set("src/gen/tables.ts", emitTables(spec));
      files.set("src/gen/table-specs.ts", emitTableSpecs(spec));
      files.set("spec/schema/checkpoint.schema.json", emitSchema(spec));
      files.set(`src/gen/${kebabCase(spec.id)}.ts`, emitTableCodecs(spec, modules));
    } else {
      files.set(`src/gen/${kebabCase(spec.id)}.ts`, emitRecords(spec, modules));
    }
  }
  files.set("test/support/gen/all.ts", emitAllCases(specs));
  const document = readFileSync(join(root, specDocument), "utf8");
  files.set(specDocument, emitDocument(document, specs));
  return files;
}

/** Hand-written, with generated parts. */
const specDocument = "spec/SPEC.md";

function emitAllCases(specs: readonly Spec[]): string {
  const used = specs.filter(({ records }) => records.length > 0);
  let text = header(used.map(sourceOf));
  text += `import type { CodecCase } from "../codec-laws.js";\n`;
  for (const { id } of used) text += `import { codecCases as ${camelCase(id)} } from "./${kebabCase(id)}.js";\n`;
  text += `\n/** Every record of every spec. */\nexport const allCodecCases: readonly CodecCase[] = [\n`;
  for (const { id } of used) text += `  ...${camelCase(id)},\n`;
  return `${text}];\n`;
}
