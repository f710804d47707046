// SPDX-License-Identifier: Apache-2.0
/** Whole images of a set: one message, or a list of them. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ImageReader } from "./image-reader.js";
import type { ImageSet } from "./image-set.js";

/** Opens an image whose magic number is not looked at. */
export function openRaw(set: ImageSet, name: string): ImageReader {
  return new ImageReader(set.path(name), set.labelOf(name));
}

/** The one message of an image. */
export function one<Schema extends DescMessage>(set: ImageSet, name: string, typeId: string, schema: Schema): MessageShape<Schema> {
  const reader = set.open(name, typeId);
  try {
    const message = reader.one(schema);
    if (reader.position !== reader.size)
      throw reader.error("criu.trailing", `${reader.size - reader.position} bytes follow the one entry.`, reader.position);
    return message;
  } finally {
    reader.close();
  }
}

/** The one message of an image that need not be there. */
export function optionalOne<Schema extends DescMessage>(
  set: ImageSet,
  name: string,
  typeId: string,
  schema: Schema,
): MessageShape<Schema> | undefined {
  return set.has(name) ? one(set, name, typeId, schema) : undefined;
}

/** The messages of an image that has nothing behind them. */
export function list<Schema extends DescMessage>(set: ImageSet, name: string, typeId: string, schema: Schema): MessageShape<Schema>[] {
  const reader = set.open(name, typeId);
  try {
    const entries: MessageShape<Schema>[] = [];
    for (let entry = reader.next(schema); entry; entry = reader.next(schema)) entries.push(entry);
    return entries;
  } finally {
    reader.close();
  }
}

/** The same of an image that need not be there. */
export function optionalList<Schema extends DescMessage>(
  set: ImageSet,
  name: string,
  typeId: string,
  schema: Schema,
): MessageShape<Schema>[] {
  return set.has(name) ? list(set, name, typeId, schema) : [];
}
