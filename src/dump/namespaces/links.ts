// SPDX-License-Identifier: Apache-2.0
/** The links of /proc/PID/task/TID/ns of all threads of a tree, read in one go. */
import { type Answers, QuestionList } from "../../native/index.js";
import { namespaceKinds, namespaceRules } from "./kinds.js";

const kinds = [...new Set<string>(namespaceKinds.flatMap((kind) => [kind, namespaceRules[kind].forChildren ?? kind]))];
export const linkQuestions = new QuestionList(kinds.map((name) => ({ link: `/proc/\u0001/task/\u0002/ns/${name}` })));
/** Bytes of a link such as `cgroup:[4026531835]`, and of the longest that readlink needs room for. */
const [roomOfLink, roomOfLast] = [32, 256];

/** Bytes of the links of so many threads. */
export const roomOfLinks = (threads: number): number => threads * kinds.length * roomOfLink + roomOfLast;

export class NamespaceLinks {
  readonly #answers: Answers;
  readonly #rows = new Map<number, number>();
  /** Nearly all are alike: each text is made once. */
  readonly #last = new Map<string, { readonly bytes: Buffer; readonly text: string }>();

  /** `answers`: what they have been asked already. */
  constructor(threads: readonly { readonly pid: number; readonly tid: number }[], answers?: Answers) {
    this.#answers =
      answers ?? linkQuestions.ask(Int32Array.from(threads.flatMap(({ pid, tid }) => [pid, tid])), roomOfLinks(threads.length));
    threads.forEach(({ tid }, row) => this.#rows.set(tid, row));
  }

  /** Whether all threads are in the namespaces of the only one of others, and their children will be. */
  areAll(others: NamespaceLinks): boolean {
    const there = kinds.map((_, index) => others.#answers.bytes(0, index));
    for (const row of this.#rows.values()) {
      this.#answers.awaitRow(row);
      for (let index = 0; index < kinds.length; index++) {
        const [link, other] = [this.#answers.bytes(row, index), there[index]];
        if (link === undefined || other === undefined || !link.equals(other)) return false;
      }
    }
    return true;
  }

  /** What a link of a thread leads to; undefined where there is none. */
  of(tid: number, name: string): string | undefined {
    const row = this.#rows.get(tid);
    if (row !== undefined) this.#answers.awaitRow(row);
    const bytes = row === undefined ? undefined : this.#answers.bytes(row, kinds.indexOf(name));
    if (bytes === undefined) return undefined;
    const last = this.#last.get(name);
    if (last?.bytes.equals(bytes)) return last.text;
    const text = bytes.toString("latin1");
    this.#last.set(name, { bytes, text });
    return text;
  }
}
