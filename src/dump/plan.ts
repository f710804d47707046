// SPDX-License-Identifier: Apache-2.0
/**
 * The dump program: everything that a dump asks of every thread and of every process, listed before the tree is frozen. The
 * collectors themselves say what they ask (questions.ts); the addon works the lists off while the tree stands still.
 */
import { emptyTables, rlimitResourceNames } from "../gen/tables.js";
import { PR } from "../linux/prctl.js";
import { InjectedList, type Question, QuestionList } from "../native/index.js";
import { statesOfMm, statesOfTask, statesOfThread } from "../state/states.js";
import { askKeyrings, askThreadKeyring } from "./keyrings.js";
import { listsOf, QuestionRecorder } from "./questions.js";
import { collectSignalActions } from "./signals.js";
import { readStates } from "./state-reader.js";
import { ThreadQuestions } from "./thread-facts.js";
import { collectIntervalTimers } from "./timers.js";

export interface DumpPlan {
  /** Asked about every thread. */
  readonly threads: ThreadQuestions;
  /** Files of /proc/PID that are wanted of every process; then its limits, one question for each of `rlimitResourceNames`. */
  readonly processFiles: { readonly list: QuestionList; readonly names: readonly string[] };
  /** Called by every thread but the first of its process. */
  readonly calls: readonly InjectedList[];
  /** Called by the first one. */
  readonly firstCalls: readonly InjectedList[];
  /** The same in one list, for a process that has no other thread. */
  readonly aloneCalls: InjectedList;
}

/** What one thread is asked. */
function askThread(ask: QuestionRecorder): void {
  askThreadKeyring(ask);
  ask.call("prctl", PR.getSecurebits);
  readStates(statesOfThread, ask);
}

/** What a process is asked through its first thread. */
function askProcess(ask: QuestionRecorder): void {
  const context = { tables: emptyTables() };
  const process = { row: 0, injector: () => ask };
  readStates(statesOfTask, ask);
  ask.call("getppid");
  askThread(ask);
  askKeyrings(ask);
  collectSignalActions(context, process);
  readStates(statesOfMm, ask);
  ask.callBig("brk", 0);
  for (const clock of [1, 7]) ask.call("clock_gettime", clock, { out: Buffer.alloc(16) });
  collectIntervalTimers(context, process);
}

let plan: DumpPlan | undefined;

/** The plan; it is the same for all trees. */
export function dumpPlan(): DumpPlan {
  if (plan !== undefined) return plan;
  const [ofThread, ofProcess] = [new QuestionRecorder(), new QuestionRecorder()];
  askThread(ofThread);
  askProcess(ofProcess);
  const names = ["auxv", "timers", ...ofProcess.files];
  const limits = [...rlimitResourceNames.keys()].map(
    (resource): Question => ({ call: "prlimit64", args: [{ id: 0 }, resource, 0, { room: 16 }] }),
  );
  plan = {
    processFiles: { list: new QuestionList([...names.map((name) => ({ file: `/proc/\u0001/${name}` })), ...limits]), names },
    threads: new ThreadQuestions(ofThread),
    calls: listsOf(ofThread.inner),
    firstCalls: listsOf(ofProcess.inner),
    aloneCalls: new InjectedList(ofProcess.inner),
  };
  return plan;
}
