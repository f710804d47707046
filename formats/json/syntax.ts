// SPDX-License-Identifier: Apache-2.0
/** Where a text stops being JSON (RFC 8259): JSON.parse does not always say. */

const space = /[ \t\n\r]*/y;
const scalar = /(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)(?![0-9A-Za-z_])/y;
const stringStart = /"/y;
/** A run of ordinary characters, or one escape. */
const stringPart = /[^"\\\u0000-\u001f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** Index of the first character that cannot stand where it stands; the length of the text if it ends too early. */
export function findSyntaxError(text: string): number {
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found !== null;
  };
  const skipString = (): boolean => {
    if (!skip(stringStart)) return false;
    while (skip(stringPart));
    return skip(stringStart);
  };
  const skipKey = (): boolean => {
    skip(space);
    if (!skipString()) return false;
    skip(space);
    if (text[at] !== ":") return false;
    at++;
    return true;
  };
  // What is open, innermost last; nesting is not limited by the call stack.
  const open: string[] = [];
  for (;;) {
    skip(space);
    const start = text[at];
    if (start === "{" || start === "[") {
      at++;
      skip(space);
      const close = start === "{" ? "}" : "]";
      if (text[at] === close) at++;
      else {
        open.push(close);
        if (close === "}" && !skipKey()) return at;
        continue;
      }
    } else if (!skip(scalar) && !skipString()) return at;
    for (;;) {
      skip(space);
      const close = open.at(-1);
      if (close === undefined) return at;
      if (text[at] === close) {
        at++;
        open.pop();
      } else if (text[at] === ",") {
        at++;
        if (close === "}" && !skipKey()) return at;
        break;
      } else return at;
    }
  }
}
