/** Everything that is generated, as paths (from the root of the checkout) and contents. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { emitCHeader } from "./emit-c.js";
import { emitRecords, emitTableCodecs, modulesOf } from "./emit-records.js";
import { emitSchema } from "./emit-schema.js";
import { emitTableSpecs, emitTables, tablesOf } from "./emit-tables.js";
import type { Spec } from "./ir.js";
import { SpecLoader } from "./load.js";
import { kebabCase } from "./names.js";

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
  return files;
}
