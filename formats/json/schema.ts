// SPDX-License-Identifier: Apache-2.0
/** Judges a parsed document by spec/schema. */
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { readResource } from "../../src/resources/resources.js";

let compiled: ValidateFunction | undefined;

function load(name: string): object {
  return JSON.parse(Buffer.from(readResource(`spec/schema/${name}`)).toString("utf8")) as object;
}

function validator(): ValidateFunction {
  if (compiled) return compiled;
  const ajv = new Ajv2020({ allErrors: false, verbose: true, strict: false });
  ajv.addSchema(load("checkpoint.schema.json"));
  compiled = ajv.compile(load("json-document.schema.json"));
  return compiled;
}

/** Throws CrimgError `json.schema`, which names the place in the document. */
export function assertDocument(document: unknown, source: string): void {
  const validate = validator();
  if (validate(document)) return;
  const error = deepest(validate.errors ?? []);
  const path = pathOf(error);
  throw new CrimgError("json.schema", `${path === "" ? "the document" : path} ${describe(error)}`, {
    source,
    format: "json",
    path,
    actual: shown(error?.data),
    hint: "spec/schema describes the document",
  });
}

/** Alternatives (anyOf) give an error each and one for all: the one that got farthest into the document tells most. */
function deepest(errors: readonly ErrorObject[]): ErrorObject | undefined {
  return [...errors].sort((a, b) => b.instancePath.split("/").length - a.instancePath.split("/").length)[0];
}

/** `/tables/threads/3/regs/ip` → `tables.threads[3].regs.ip`. */
function pathOf(error: ErrorObject | undefined): string {
  return (error?.instancePath ?? "")
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((path, part) => (/^[0-9]+$/.test(part) ? `${path}[${part}]` : path === "" ? part : `${path}.${part}`), "");
}

function describe(error: ErrorObject | undefined): string {
  const params = error?.params as Readonly<Record<string, unknown>> | undefined;
  switch (error?.keyword) {
    case "additionalProperties":
      return `has a property that the schema does not know: ${shown(params?.["additionalProperty"])}`;
    case "enum":
      return (
        `must be one of ${((params?.["allowedValues"] ?? []) as readonly unknown[]).map(String).join(", ")}, found ` +
        `${shown(error.data)}`
      );
    case "const":
      return `must be ${JSON.stringify(params?.["allowedValue"])}, found ${shown(error.data)}`;
    case "pattern":
      return `must match ${String(params?.["pattern"])}, found ${shown(error.data)}`;
    default:
      return `${error?.message ?? "is not what the schema asks for"}, found ${shown(error?.data)}`;
  }
}

/** No number, flag or enum name is longer; what is may be bytes of the program, which no message tells. */
const longestWord = 24;

/** A short value; of anything else only what it is. */
function shown(value: unknown): string {
  if (typeof value === "string") return value.length > longestWord ? `a string of ${value.length} characters` : JSON.stringify(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return String(value ?? "nothing");
}
