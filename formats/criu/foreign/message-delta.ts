// SPDX-License-Identifier: Apache-2.0
/**
 * What a message says beyond what the model says again. Reading keeps `deltaOf(original, rebuilt)`; writing applies
 * it to the message built from the model, so that nothing is lost from CRIU to CRIU, and edits of the model count.
 */
import { create, type DescMessage, fromBinary, isFieldSet, type Message, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";

export interface MessageDelta {
  /** A message of the same type with only what differs; empty if nothing does. */
  readonly bytes: Uint8Array;
  /** Fields that the original does not have, as dotted names. */
  readonly absent: readonly string[];
}

/** The difference of `original` to `rebuilt`. Fields named in `keep` (top level) are kept even if equal. */
export function deltaOf<Schema extends DescMessage>(
  schema: Schema,
  original: MessageShape<Schema>,
  rebuilt: MessageShape<Schema>,
  keep: readonly string[] = [],
): MessageDelta {
  const absent: string[] = [];
  const rest = difference(schema, original, rebuilt, new Set(keep), "", absent);
  return { bytes: rest ? toBinary(schema, rest as MessageShape<Schema>) : new Uint8Array(0), absent };
}

function difference(
  schema: DescMessage,
  original: Message,
  rebuilt: Message,
  keep: ReadonlySet<string>,
  prefix: string,
  absent: string[],
): Message | undefined {
  const rest = create(schema);
  const into = reflect(schema, rest);
  const from = reflect(schema, original);
  const other = reflect(schema, rebuilt);
  let differs = false;
  for (const field of schema.fields) {
    if (!from.isSet(field)) {
      if (other.isSet(field)) absent.push(prefix + field.name);
      continue;
    }
    if (field.fieldKind === "message" && other.isSet(field)) {
      const inner = difference(
        field.message,
        from.get(field).message,
        other.get(field).message,
        new Set(),
        `${prefix}${field.name}.`,
        absent,
      );
      if (inner) {
        into.set(field, reflect(field.message, inner));
        differs = true;
      }
      continue;
    }
    if (!keep.has(field.name) && other.isSet(field) && sameField(field.message ?? undefined, from, other, field)) continue;
    copyField(from, into, field);
    differs = true;
  }
  if (original.$unknown !== undefined && original.$unknown.length > 0) {
    rest.$unknown = original.$unknown;
    differs = true;
  }
  return differs ? rest : undefined;
}

type Field = DescMessage["fields"][number];

function sameField(elementType: DescMessage | undefined, left: ReflectMessage, right: ReflectMessage, field: Field): boolean {
  if (field.fieldKind !== "list") return sameValue(elementType, left.get(field), right.get(field));
  const a = left.get(field);
  const b = right.get(field);
  if (a.size !== b.size) return false;
  for (let index = 0; index < a.size; index++) {
    if (!sameValue(elementType, a.get(index), b.get(index))) return false;
  }
  return true;
}

function sameValue(type: DescMessage | undefined, left: unknown, right: unknown): boolean {
  if (left instanceof Uint8Array && right instanceof Uint8Array) return Buffer.compare(left, right) === 0;
  if (type) {
    const a = toBinary(type, (left as ReflectMessage).message as MessageShape<DescMessage>);
    const b = toBinary(type, (right as ReflectMessage).message as MessageShape<DescMessage>);
    return Buffer.compare(a, b) === 0;
  }
  return left === right;
}

/** Puts what `rest` says over `message`, and takes out what the original did not have. */
export function applyDelta<Schema extends DescMessage>(
  schema: Schema,
  message: MessageShape<Schema>,
  rest: Uint8Array,
  absent: readonly string[] = [],
): void {
  if (rest.length > 0) overlay(schema, message, fromBinary(schema, rest));
  for (const path of absent) clearPath(schema, message, path.split("."));
}

function overlay(schema: DescMessage, message: Message, rest: Message): void {
  const into = reflect(schema, message);
  const from = reflect(schema, rest);
  for (const field of schema.fields) {
    if (!from.isSet(field)) continue;
    if (field.fieldKind === "message" && into.isSet(field)) {
      overlay(field.message, into.get(field).message, from.get(field).message);
    } else {
      copyField(from, into, field);
    }
  }
  if (rest.$unknown !== undefined) message.$unknown = [...(message.$unknown ?? []), ...rest.$unknown];
}

function copyField(from: ReflectMessage, into: ReflectMessage, field: Field): void {
  if (field.fieldKind === "list") {
    const list = into.get(field);
    list.clear();
    const source = from.get(field);
    for (let index = 0; index < source.size; index++) list.add(source.get(index));
    return;
  }
  into.set(field, from.get(field));
}

function clearPath(schema: DescMessage, message: Message, path: readonly string[]): void {
  const [name, ...deeper] = path;
  const field = schema.fields.find((candidate) => candidate.name === name);
  if (!field || !isFieldSet(message as MessageShape<DescMessage>, field)) return;
  const view = reflect(schema, message);
  if (deeper.length === 0) view.clear(field);
  else if (field.fieldKind === "message") clearPath(field.message, view.get(field).message, deeper);
}
