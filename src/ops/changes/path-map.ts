// SPDX-License-Identifier: Apache-2.0
/** `--path-map OLD=NEW`: files and directories of a checkpoint that are elsewhere now; OLD is a path, or a folder above some. */
import { encodeText } from "../../bytes/text.js";
import type { Tables } from "../../gen/tables.js";
import { badChange, pairOf, some } from "./pair.js";

const expected = "OLD=NEW, both absolute paths, such as /srv/old=/srv/new";
const AF_UNIX = 1;

/** The tables with the paths of one mapping changed. @throws CrimgError `usage.change` */
export function mapPaths(tables: Tables, text: string): Tables {
  const option = "--path-map";
  const [from, to] = pairOf(option, text, expected).map((path) => (path.length > 1 ? path.replace(/\/+$/, "") : path)) as [string, string];
  if (!from.startsWith("/") || !to.startsWith("/")) throw badChange(option, text, "both must be absolute", expected);
  let count = 0;
  const change = (path: string): string => {
    const isBelow = from === "/" ? path.startsWith("/") : path === from || path.startsWith(`${from}/`);
    if (!isBelow) return path;
    count++;
    const rest = from === "/" ? path.slice(1) : path.slice(from.length + 1);
    return rest === "" ? to : `${to === "/" ? "" : to}/${rest}`;
  };
  const hasPath = (kind: string): boolean => kind !== "memfd" && kind !== "shared_memory" && kind !== "symlink";
  const objects = tables.objects.map((row) =>
    hasPath(row.kind) ? { ...row, path: change(row.path), linkTarget: row.linkTarget === "" ? "" : change(row.linkTarget) } : row,
  );
  // Names of unix sockets are paths too, unless they are abstract (a first byte of 0).
  const address = (bytes: Uint8Array): Uint8Array => {
    if (bytes.length < 4 || bytes[0] !== AF_UNIX || bytes[1] !== 0 || bytes[2] === 0) return bytes;
    const end = bytes.indexOf(0, 2);
    const old = Buffer.from(bytes.subarray(2, end < 0 ? bytes.length : end)).toString("utf8");
    const path = change(old);
    if (path === old) return bytes;
    const name = encodeText(path);
    if (name.length > 107) throw badChange(option, text, `${path} is too long for the name of a unix socket`, "at most 107 bytes");
    return new Uint8Array([AF_UNIX, 0, ...name, 0]);
  };
  const sockets = tables.sockets.map((row) =>
    row.family === AF_UNIX ? { ...row, localAddress: address(row.localAddress), peerAddress: address(row.peerAddress) } : row,
  );
  if (count === 0) {
    const paths = tables.objects.flatMap(({ path, kind }) => (hasPath(kind) && path.startsWith("/") ? [path] : []));
    throw badChange(option, text, `nothing of this checkpoint is ${from} or below it`, undefined, `its paths are ${some(paths)}`);
  }
  return { ...tables, objects, sockets };
}
