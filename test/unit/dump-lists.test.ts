// SPDX-License-Identifier: Apache-2.0
/** Lists of questions and of injected calls. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import test from "node:test";
import { dumpPlan } from "../../src/dump/plan.js";
import { PreparedCalls } from "../../src/dump/prepared-calls.js";
import { parseStatus } from "../../src/dump/procfs.js";
import { bitNumbers, readMappings, vmFlag } from "../../src/dump/smaps.js";
import { listsOf, QuestionRecorder } from "../../src/dump/questions.js";
import { askElsewhere, callCount, errno, type InjectedAnswers, InjectedList, QuestionList, setFault } from "../../src/native/index.js";

const { pid } = process;

test("a list is asked of every row, each with its ids", () => {
  const list = new QuestionList([
    { file: "/proc/\u0001/task/\u0002/comm" },
    { link: "/proc/\u0001/exe" },
    { call: "kill", args: [{ id: 0 }, 0] },
    { call: "openat", args: [-100, { in: Buffer.from("/no such file\0") }, 0] },
    { call: "close", args: [{ resultOf: 3 }] },
    { call: "clock_gettime", args: [1, { room: 16 }] },
  ]);
  const answers = list.ask(Int32Array.from([pid, pid, 0x7fff_fff0, 1]), 8192);
  assert.deepEqual(answers.bytes(0, 0), readFileSync("/proc/self/comm"));
  assert.equal(answers.bytes(0, 1)?.toString(), readlinkSync("/proc/self/exe"));
  assert.equal(answers.result(0, 2), 0);
  assert.equal(answers.result(0, 3), -errno.ENOENT);
  assert.equal(answers.result(0, 4), -errno.ENOENT, "what it is about was not to be had");
  assert.ok(answers.stored(0, 5).readBigInt64LE(0) >= 0n);
  assert.equal(answers.bytes(1, 0), undefined);
  assert.equal(answers.result(1, 2), -errno.ESRCH);
});

test("a file that does not fit is not cut off in silence", () => {
  const answers = new QuestionList([{ file: "/proc/\u0001/status" }, { file: "/proc/\u0001/comm" }]).ask(Int32Array.from([pid, pid]), 100);
  assert.equal(answers.result(0, 0), -7);
  assert.equal(answers.bytes(0, 0), undefined);
  assert.deepEqual(answers.bytes(0, 1), readFileSync("/proc/self/comm"), "a smaller one does");
});

test("tests may let any call of a list fail", () => {
  const list = new QuestionList([{ call: "getppid", args: [] }]);
  setFault(2, errno.EIO);
  try {
    const answers = list.ask(new Int32Array(6));
    assert.deepEqual(
      [0, 1, 2].map((row) => answers.result(row, 0)),
      [process.ppid, -errno.EIO, process.ppid],
    );
  } finally {
    setFault(0, 0);
  }
});

test("what another thread asks is not counted, and is told what it needs", () => {
  const list = new QuestionList([
    { call: "getppid", args: [] },
    { file: "/proc/\u0001/comm" },
    { call: "socket", args: [1, 1, 0] },
    { call: "getsockopt", args: [{ resultOf: 2 }, 1, 3, { room: 8 }, { counter: 8 }] },
    { call: "close", args: [{ resultOf: 2 }] },
  ]);
  const before = callCount();
  const [answers] = askElsewhere(bitNumbers, [{ list, ids: Int32Array.from([pid, pid, pid, pid]), room: 256 }]) ?? [];
  answers?.awaitRow(1);
  assert.equal(callCount() - before, 1, "its memory is taken on this thread");
  for (const row of [0, 1]) {
    assert.equal(answers?.result(row, 0), process.ppid);
    assert.deepEqual(answers?.bytes(row, 1), readFileSync("/proc/self/comm"));
    assert.equal(answers?.result(row, 3), 0);
    assert.equal(answers?.stored(row, 3, 0).readInt32LE(0), 1, "SO_TYPE");
    assert.equal(answers?.stored(row, 3, 1).readInt32LE(0), 4, "the length of an option");
  }
});

test("what was noted is answered once each, in any order; what was not is not", () => {
  const recorder = new QuestionRecorder();
  assert.equal(recorder.call("prctl", 1, { out: Buffer.alloc(8) }), -errno.ENOSYS);
  recorder.call("getppid");
  recorder.call("getppid");
  const lists = listsOf(recorder.inner);
  const answers = {
    result: (_row: number, call: number) => [0n, 11n, 12n][call] ?? 0n,
    stored: () => Buffer.from("12345678"),
  } as unknown as InjectedAnswers;
  const calls = new PreparedCalls({ lists, answers: [answers] }, 0);
  assert.equal(calls.take("getppid", []), 11n);
  const out = Buffer.alloc(8);
  assert.equal(calls.take("prctl", [2, { out }]), undefined);
  assert.equal(calls.take("prctl", [1, { out: Buffer.alloc(4) }]), undefined);
  assert.equal(calls.take("prctl", [1n, { out }]), 0n);
  assert.equal(out.toString(), "12345678");
  assert.equal(calls.take("prctl", [1, { out }]), undefined);
  assert.equal(calls.take("getppid", []), 12n);
  assert.equal(calls.take("getppid", []), undefined);
});

test("the plan has every list short enough to lie below a stack", () => {
  const { calls, firstCalls } = dumpPlan();
  const names = firstCalls.flatMap((list) => list.calls.map(({ name }) => name));
  assert.equal(names.filter((name) => name === "rt_sigaction").length, 62);
  assert.ok(calls.flatMap((list) => list.calls).some(({ name }) => name === "sigaltstack"));
  for (const list of [...calls, ...firstCalls]) {
    assert.ok(list.calls.reduce((sum, call) => sum + InjectedList.bytesOf(call), 0) <= InjectedList.maxBytes);
  }
});

test("mappings are those of smaps, with their flags and names", () => {
  const child = spawnSync("sh", ["-c", "sleep 30 & echo $!"], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 1000,
    killSignal: "SIGKILL",
  });
  const sleeper = Number(child.stdout.toString());
  try {
    const blocks = readFileSync(`/proc/${sleeper}/smaps`, "latin1").split(/^(?=[0-9a-f]+-)/m);
    const mappings = readMappings(sleeper);
    assert.equal(mappings.length, blocks.length);
    mappings.forEach((mapping, index) => {
      const [range = "", how = "", offset, device, inode, ...name] = (blocks[index]?.split("\n")[0] ?? "").split(/ +/);
      const { start, end, prot, isShared, devMajor, devMinor, ino } = mapping;
      assert.equal(`${start.toString(16)}-${end.toString(16)}`, range.replaceAll(/(^|-)0+/g, "$1"));
      assert.equal(`${[1, 2, 4].map((bit, at) => ((prot & bit) === 0 ? "-" : "rwx"[at])).join("")}${isShared ? "s" : "p"}`, how);
      assert.deepEqual([mapping.offset, ino], [BigInt(`0x${offset}`), BigInt(inode ?? 0)]);
      assert.equal(`${devMajor.toString(16).padStart(2, "0")}:${devMinor.toString(16).padStart(2, "0")}`, device);
      assert.equal(mapping.name.toString("latin1"), name.join(" "));
      assert.equal(mapping.anonymous, BigInt(/^Anonymous: +(\d+)/m.exec(blocks[index] ?? "")?.[1] ?? 0) << 10n);
      const words =
        /^VmFlags: (.*)$/m
          .exec(blocks[index] ?? "")?.[1]
          ?.trim()
          .split(" ") ?? [];
      const flags = words.filter((word) => word !== "sd").reduce((bits, word) => bits | vmFlag(word), 0n);
      assert.equal(mapping.vmFlags, flags, blocks[index]);
    });
    assert.ok(mappings.some(({ name }) => name.toString() === "[stack]"));
  } finally {
    process.kill(sleeper, "SIGKILL");
  }
});

test("fields of status are found by their whole name", () => {
  const status = parseStatus(Buffer.from("Name:\ta\nPid:\t12\nNSpid:\t12\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"));
  assert.equal(status?.get("Name"), "a");
  assert.equal(status?.get("Pid"), "12");
  assert.equal(status?.get("NSpid"), "12\t1");
  assert.equal(status?.get("Seccomp"), "2");
  assert.equal(status?.get("pid"), undefined);
  assert.equal(parseStatus(Buffer.alloc(0)), undefined);
});
