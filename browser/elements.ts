// SPDX-License-Identifier: Apache-2.0
/** Making elements. Text is always text, never markup: names come from programs. */

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function svg(name: string, attributes: Readonly<Record<string, string | number>> = {}, text?: string): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

export function section(title: string): HTMLElement {
  return element("section", { "aria-label": title }, element("h2", {}, title));
}

/** More rows than this are counted. */
const maxRows = 2000;

export function table(titles: readonly string[], rows: readonly (readonly string[])[]): HTMLTableElement {
  const made = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
  );
  const body = element("tbody");
  for (const row of rows.slice(0, maxRows)) body.append(element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  if (rows.length > maxRows)
    body.append(element("tr", {}, element("td", { colspan: String(titles.length) }, `… and ${rows.length - maxRows} more`)));
  made.append(body);
  return made;
}

export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}
