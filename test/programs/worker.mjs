// SPDX-License-Identifier: Apache-2.0
// Timers on the main thread and a worker that answers: "tick N" when both the interval fired and the worker replied.
// usage: node worker.mjs LOG
import { appendFileSync } from "node:fs";
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { fileURLToPath } from "node:url";

if (isMainThread) {
  const log = process.argv[2];
  const worker = new Worker(fileURLToPath(import.meta.url));
  const kept = new Map();
  let tick = 0;
  let asked = 0;
  worker.on("message", ([number, square]) => {
    if (square !== number * number || (number > 1 && kept.get(number - 1) !== `kept ${number - 1}`)) {
      appendFileSync(log, "broken answer\n");
      process.exit(1);
    }
    kept.set(number, `kept ${number}`);
    tick = number;
    appendFileSync(log, `tick ${tick}\n`);
  });
  setInterval(() => {
    // The worker may be late: each number is asked for once.
    if (asked === tick) worker.postMessage(++asked);
  }, 40);
} else {
  parentPort.on("message", (number) => parentPort.postMessage([number, number * number]));
}
