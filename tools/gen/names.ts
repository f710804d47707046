// SPDX-License-Identifier: Apache-2.0
/** Names: ksy has lower_snake_case; TypeScript gets camelCase and PascalCase, files kebab-case, C upper case. */

const identifier = /^[a-z][a-z0-9_]*$/;

/** Whether a ksy identifier is one (and thus harmless in generated code). */
export function isKsyIdentifier(id: string): boolean {
  return identifier.test(id);
}

export function camelCase(id: string): string {
  return id.replace(/_+([a-z0-9])/g, (_all, next: string) => next.toUpperCase()).replace(/_+$/, "");
}

export function pascalCase(id: string): string {
  const camel = camelCase(id);
  return camel.charAt(0).toUpperCase() + camel.slice(1);
}

export function kebabCase(id: string): string {
  return id.replaceAll("_", "-");
}

export function upperCase(id: string): string {
  return id.toUpperCase();
}

/** Words that cannot name a variable in generated TypeScript (parameters and locals of the generated functions too). */
const taken = new Set(
  ("break case catch class const continue debugger default delete do else enum export extends false finally for function if " +
    "implements import in " +
    "instanceof interface let new null package private protected public return static super switch this throw true try " +
    "typeof var void while with yield await eval arguments reader writer row heaps fields undefined").split(" "),
);

/** A local variable for a property. */
export function localName(property: string): string {
  return taken.has(property) ? `${property}_` : property;
}
