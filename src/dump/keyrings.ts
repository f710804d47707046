// SPDX-License-Identifier: Apache-2.0
/**
 * Keyrings of threads, processes and sessions (keyrings(7)). A resumed program is in the session of whoever resumes it,
 * and keys of some types can be read by nobody; so a keyring that holds something is no part of an image.
 */
import { failed, tryCall } from "../native/index.js";
import type { Asking } from "../state/asking.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import type { PreparedCalls } from "./prepared-calls.js";

const KEYCTL_GET_KEYRING_ID = 0;
const KEYCTL_DESCRIBE = 6;
const KEYCTL_READ = 11;
const THREAD_KEYRING = -1;
const PROCESS_KEYRING = -2;
const SESSION_KEYRING = -3;
/** Description and member ids of a keyring, bytes. */
const room = 1024;

type Calls = Pick<Asking, "call">;

const idOf = (calls: Calls, which: number): number | undefined => {
  const id = calls.call("keyctl", KEYCTL_GET_KEYRING_ID, which, 0);
  return failed(id) ? undefined : id;
};

/** `keyring;0;0;3f130000;_ses` → `_ses`. */
function descriptionOf(calls: Calls, id: number): string {
  const out = Buffer.alloc(room);
  if (failed(calls.call("keyctl", KEYCTL_DESCRIBE, id, { out }, out.length))) return "?";
  return out.toString("utf8", 0, out.indexOf(0)).split(";").slice(4).join(";");
}

/** Keys in a keyring besides the user's keyrings, which are there for every process of the user. */
function keysIn(calls: Calls, id: number): string[] {
  const out = Buffer.alloc(room);
  const length = calls.call("keyctl", KEYCTL_READ, id, { out }, out.length);
  if (failed(length)) return [];
  const ids = Array.from({ length: Math.min(length, room) >> 2 }, (_, index) => out.readInt32LE(index * 4));
  return ids.map((key) => descriptionOf(calls, key)).filter((name) => !name.startsWith("_uid"));
}

/** What is asked of every thread. */
export function askThreadKeyring(calls: Calls): void {
  idOf(calls, THREAD_KEYRING);
}

/** What is asked of every process. */
export function askKeyrings(calls: Calls): void {
  idOf(calls, PROCESS_KEYRING);
  idOf(calls, SESSION_KEYRING);
}

/** Whether a thread that has made its calls has a keyring of its own. */
export function hasOwnKeyring(made: Pick<PreparedCalls, "peek">): boolean {
  return (made.peek("keyctl", [KEYCTL_GET_KEYRING_ID, THREAD_KEYRING, 0]) ?? 0n) >= 0n;
}

/** A keyring that one thread has to itself. */
export function checkThreadKeyring(context: DumpContext, { pid, name }: DumpedProcess, tid: number, calls: Calls): void {
  const id = idOf(calls, THREAD_KEYRING);
  if (id === undefined) return;
  const keys = keysIn(calls, id);
  if (keys.length > 0) context.leaveOut("keyring", `thread ${tid} of ${pid} (${name}): a keyring with ${keys.join(", ")}`);
}

/** The keyrings of a process and of its session. */
export function checkKeyrings(context: DumpContext, process: DumpedProcess): void {
  const { pid, name } = process;
  const injector = process.injector();
  const calls: Calls = { call: injector.call.bind(injector) };
  const own = idOf(calls, PROCESS_KEYRING);
  const ownKeys = own === undefined ? [] : keysIn(calls, own);
  if (ownKeys.length > 0) context.leaveOut("keyring", `process ${pid} (${name}): a keyring with ${ownKeys.join(", ")}`);
  const session = idOf(calls, SESSION_KEYRING);
  if (session === undefined || session === tryCall("keyctl", KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0)) return;
  const keys = keysIn(calls, session);
  if (keys.length > 0) context.leaveOut("keyring", `process ${pid} (${name}): a session keyring with ${keys.join(", ")}`);
}
