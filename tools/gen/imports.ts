// SPDX-License-Identifier: Apache-2.0
/** Collects the imports of a generated module. */
export class Imports {
  readonly #own: string;
  readonly #values = new Map<string, Set<string>>();
  readonly #types = new Map<string, Set<string>>();

  /** @param own module being generated; what comes from it needs no import. */
  constructor(own: string) {
    this.#own = own;
  }

  value(module: string, name: string): string {
    return this.#add(this.#values, module, name);
  }

  type(module: string, name: string): string {
    return this.#add(this.#types, module, name);
  }

  #add(into: Map<string, Set<string>>, module: string, name: string): string {
    if (module === this.#own) return name;
    let names = into.get(module);
    if (!names) into.set(module, (names = new Set()));
    names.add(name);
    return name;
  }

  emit(): string {
    const modules = [...new Set([...this.#values.keys(), ...this.#types.keys()])].sort();
    let text = "";
    for (const module of modules) {
      const values = [...(this.#values.get(module) ?? [])].sort();
      const types = [...(this.#types.get(module) ?? [])].filter((name) => !values.includes(name)).sort();
      if (values.length === 0) text += `import type ${braced(types)} from "${module}";\n`;
      else text += `import ${braced([...values, ...types.map((name) => `type ${name}`)])} from "${module}";\n`;
    }
    return text;
  }
}

/** Names in braces, on lines of their own if they are many. */
function braced(names: readonly string[]): string {
  const line = `{ ${names.join(", ")} }`;
  return line.length <= 90 ? line : `{\n${names.map((name) => `  ${name},\n`).join("")}}`;
}
