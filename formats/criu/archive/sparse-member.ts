// SPDX-License-Identifier: Apache-2.0
/**
 * Members of a tar with holes, as GNU tar writes them in the format of POSIX (PAX 0.1 and 1.0; its manual, "Storing Sparse
 * Files"). CRIU packs tmpfs so.
 */
export interface SparsePart {
  readonly offset: bigint;
  readonly length: bigint;
}

export interface SparseMember {
  readonly name: string;
  /** Bytes of the file, with its holes. */
  readonly size: bigint;
  /** Where its bytes belong; undefined if the content begins with that. */
  readonly parts: readonly SparsePart[] | undefined;
}

const block = 512;
const mostParts = 1_000_000;
const mostMapBytes = 64 << 20;

/** What the keys of a member (a record of texts) say; undefined for one without holes, "unknown" for a form that is not read here. */
export function sparseMemberOf(name: string, given: unknown): SparseMember | "unknown" | undefined {
  const all = Object.entries(typeof given === "object" && given !== null ? given : {});
  const pax: Readonly<Record<string, string>> = Object.fromEntries(all.map(([key, value]) => [key, String(value)]));
  const keys = Object.keys(pax).filter((key) => key.startsWith("GNU.sparse."));
  if (keys.length === 0) return undefined;
  const size = numberOf(pax["GNU.sparse.realsize"] ?? pax["GNU.sparse.size"]);
  if (size === undefined) return "unknown";
  const own = pax["GNU.sparse.name"] ?? name;
  const map = pax["GNU.sparse.map"];
  if (map !== undefined) {
    const parts = partsOf(map.split(","), size);
    return parts === undefined ? "unknown" : { name: own, size, parts };
  }
  return pax["GNU.sparse.major"] === "1" && pax["GNU.sparse.minor"] === "0" ? { name: own, size, parts: undefined } : "unknown";
}

/**
 * The map that begins the content of a member of version 1.0: numbers, a line each, filled up to a block. Undefined if there
 * is more to come.
 * @throws RangeError for what is no such map
 */
export function readSparseMap(content: Buffer, size: bigint): { readonly parts: readonly SparsePart[]; readonly end: number } | undefined {
  const numbers: string[] = [];
  let at = 0;
  for (let wanted = 1; numbers.length < wanted; ) {
    const end = content.indexOf(10, at);
    if (end < 0) {
      if (content.length - at > 32 || content.length > mostMapBytes) throw new RangeError("no map");
      return undefined;
    }
    numbers.push(content.toString("latin1", at, end));
    at = end + 1;
    if (numbers.length > 1) continue;
    const count = numberOf(numbers[0]);
    if (count === undefined || count > mostParts) throw new RangeError("no map");
    wanted = 1 + 2 * Number(count);
  }
  const end = Math.ceil(at / block) * block;
  if (content.length < end) return undefined;
  const parts = partsOf(numbers.slice(1), size);
  if (parts === undefined) throw new RangeError("no map");
  return { parts, end };
}

/** Pairs of offset and length, ascending, within the file. */
function partsOf(numbers: readonly string[], size: bigint): readonly SparsePart[] | undefined {
  if (numbers.length % 2 !== 0 || numbers.length > 2 * mostParts) return undefined;
  const parts: SparsePart[] = [];
  let last = 0n;
  for (let index = 0; index < numbers.length; index += 2) {
    const [offset, length] = [numberOf(numbers[index]), numberOf(numbers[index + 1])];
    if (offset === undefined || length === undefined || offset < last || offset + length > size) return undefined;
    last = offset + length;
    if (length > 0n) parts.push({ offset, length });
  }
  return parts;
}

const numberOf = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^\d{1,18}$/.test(text) ? BigInt(text) : undefined;
