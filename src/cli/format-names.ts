// SPDX-License-Identifier: Apache-2.0
/** What --from and --to take, for completion. */
import { registry } from "../../formats/registry.js";
import type { FormatNames } from "./completion.js";

export async function formatNames(): Promise<FormatNames> {
  const adapters = await Promise.all(registry.ids.map((id) => registry.load(id)));
  return { from: registry.ids, to: adapters.filter(({ write }) => write !== undefined).map(({ id }) => id) };
}
