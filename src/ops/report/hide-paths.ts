// SPDX-License-Identifier: Apache-2.0
/** Replaces names of files in a report; the same name gets the same stand-in. */

/** Paths that say nothing about a user: the kernel's own, and where systems keep programs and libraries. */
const common = /^\/(?:proc|sys|dev)(?:\/|$)|^\/(?:usr|lib|lib64|bin|sbin|etc)(?:\/|$)/;

/** A path of two parts or more, or one of a single part that follows a space. A name with spaces ends at the first. */
const path = /(?<![\w.:/-])\/[^\s:,;()"'\\]+/g;

/** A function that hides; it remembers what it has seen. */
export function pathHider(): (text: string) => string {
  const seen = new Map<string, string>();
  return (text) =>
    text.replace(path, (found) => {
      if (common.test(found)) return found;
      const known = seen.get(found) ?? `/path-${seen.size + 1}`;
      seen.set(found, known);
      return known;
    });
}
