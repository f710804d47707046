// SPDX-License-Identifier: Apache-2.0
/** Asking the servers of tests. */
import assert from "node:assert/strict";

/** Test files run beside each other, with process ids near to each other. */
const portsOfFile = 40;
let nextPort = 21_000 + ((process.pid * portsOfFile) % 11_000);

/** A port that no other test uses, most likely. */
export const choosePort = (): number => nextPort++;

/** What a server answers, or undefined while it does not. */
export async function ask(port: number, path = "/"): Promise<string | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      headers: { connection: "close" },
      signal: AbortSignal.timeout(2000),
    });
    return await response.text();
  } catch {
    return undefined;
  }
}

/** What a server answers as soon as it does, and, if that matters, what is wanted. */
export async function answer(port: number, path = "/", isWanted: (text: string) => boolean = () => true): Promise<string> {
  let text: string | undefined;
  const end = Date.now() + 20_000;
  while (Date.now() < end) {
    text = await ask(port, path);
    if (text !== undefined && isWanted(text)) return text;
    await new Promise((done) => setTimeout(done, 50));
  }
  return assert.fail(text === undefined ? "the server does not answer" : `the server answers ${text.slice(0, 200)}`);
}
