// SPDX-License-Identifier: Apache-2.0
/**
 * Lists of which most elements are never looked at: each is made when somebody looks at it. Of a program with tens of thousands of
 * mappings a dump looks at some twenty, and objects for all of them would be most of what its garbage collections go through.
 */

/**
 * A list of `count` elements, which is an array to whoever uses it, and may be changed.
 * @param make the element of an index, each at most once
 */
export function lazyRows<Row extends object>(count: number, make: (index: number) => Row): Row[] {
  const rows = new Array<Row>(count);
  /** Makes an element if it is one that is not there yet. */
  const need = (key: string | symbol): void => {
    if (typeof key !== "string") return;
    const first = key.charCodeAt(0);
    if (first < 48 || first > 57) return;
    const index = Number(key);
    if (index < count && index < rows.length && rows[index] === undefined) rows[index] = make(index);
  };
  return new Proxy(rows, {
    get: (target, key): unknown => {
      need(key);
      return Reflect.get(target, key);
    },
    has: (target, key) => {
      need(key);
      return Reflect.has(target, key);
    },
    getOwnPropertyDescriptor: (target, key) => {
      need(key);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
    ownKeys: (target) => {
      for (let index = 0; index < count && index < rows.length; index++) rows[index] ??= make(index);
      return Reflect.ownKeys(target);
    },
  });
}
