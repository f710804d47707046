// SPDX-License-Identifier: Apache-2.0
/** Losses as data: collected, merged, counted, and told one line a kind. */
import type { FacetName, Loss } from "./format.js";

/** Collects losses; those of the same code and words become one, with their counts added. */
export class LossReport {
  readonly #byKey = new Map<string, Loss>();

  add(loss: Loss): void {
    const key = `${loss.code}\u0000${loss.facet}\u0000${loss.text}`;
    const known = this.#byKey.get(key);
    this.#byKey.set(key, known === undefined ? loss : { ...known, count: known.count + loss.count });
  }

  addAll(losses: readonly Loss[]): void {
    for (const loss of losses) this.add(loss);
  }

  /** In the order in which they were met. */
  get losses(): readonly Loss[] {
    return [...this.#byKey.values()];
  }

  get isEmpty(): boolean {
    return this.#byKey.size === 0;
  }
}

/** Most objects that a text names. */
const maxNamed = 3;

/** `fd 3, fd 7, fd 9 and 4 more` */
export function someOf(names: readonly string[], separator = ", "): string {
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : "";
  return `${names.slice(0, maxNamed).join(separator)}${more}`;
}

/** Losses by kind: one for all objects of a kind, with the first of them by name. */
export class LossList {
  readonly losses: Loss[] = [];

  /** Adds a loss unless there is nothing to lose. An object may be named several times; it is told once and counted each time. */
  add(code: string, facet: FacetName, what: string, names: readonly string[]): void {
    if (names.length === 0) return;
    this.losses.push({ code, facet, count: names.length, text: `${what}: ${someOf([...new Set(names)])}` });
  }
}

/** `lost: 3 × event-fds (fd.kind): fd 7 of 4711 (socket)…`, one line a kind. */
export function renderLosses(losses: readonly Loss[]): string {
  return losses
    .map((loss) => {
      const count = loss.count === 1 ? "" : `${loss.count} × `;
      return `lost: ${count}${loss.text} [${loss.facet}, ${loss.code}]\n`;
    })
    .join("");
}
