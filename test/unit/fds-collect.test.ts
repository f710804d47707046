// SPDX-License-Identifier: Apache-2.0
/** The pure parts of collecting descriptors: fdinfo, kinds, sharing, sock_diag. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { classify, kindsOf } from "../../src/dump/fds/classify.js";
import { DescriptionIndex } from "../../src/dump/fds/description-index.js";
import type { DescriptorFacts } from "../../src/dump/fds/facts.js";
import { decimalField, hexField, parseFdInfo, timeField } from "../../src/dump/fds/fdinfo.js";
import { decodeAttributes, decodeMessages, encodeMessage } from "../../src/kinds/socket/dump-netlink-messages.js";
import { pathType } from "../../src/kinds/path/dump.js";
import { decodeUnixDiag } from "../../src/kinds/socket/dump-sock-diag.js";
import { isBound, printableAddress } from "../../src/kinds/socket/inet/dump-address.js";

const common = "pos:\t33\nflags:\t02100002\nmnt_id:\t17\nino:\t18\n";

test("fdinfo: the common lines", () => {
  const info = parseFdInfo(common);
  assert.equal(info?.pos, 33n);
  assert.equal(info?.flags, 0o2100002);
  assert.equal(info?.mountId, 17);
  assert.equal(info?.ino, 18n);
});

test("fdinfo: nothing usable when lines are missing or broken", () => {
  assert.equal(parseFdInfo(""), undefined);
  assert.equal(parseFdInfo("pos:\t1\n"), undefined);
  assert.equal(parseFdInfo("pos:\tx\nflags:\t02\n"), undefined);
  assert.equal(parseFdInfo("pos:\t0\nflags:\t09\n"), undefined);
  assert.equal(parseFdInfo(`${common}tfd: nonsense\n`), undefined);
});

test("fdinfo: epoll items, locks, and what other kinds add", () => {
  const info = parseFdInfo(
    `${common}tfd:        3 events:       19 data: ffffffff00000003  pos:0 ino:12 sdev:10\ntfd: 5 events: 40000000 data: ` +
      `5\nlock:\t1: FLOCK  ADVISORY  WRITE 4 fe:00:5 0 EOF\n`,
  );
  assert.deepEqual(info?.epoll, [
    { fd: 3, events: 0x19, data: 0xffffffff00000003n, ino: 0x12n, device: 0x10 },
    { fd: 5, events: 0x40000000, data: 5n, ino: 0n, device: 0 },
  ]);
  assert.deepEqual(info?.locks, ["1: FLOCK  ADVISORY  WRITE 4 fe:00:5 0 EOF"]);
  const timer = parseFdInfo(`${common}clockid: 1\nticks: 7\nsettime flags: 01\nit_value: (3, 5)\nit_interval: (0, 0)\n`);
  assert.ok(timer);
  assert.equal(timeField(timer, "it_value"), 3_000_000_005n);
  assert.equal(decimalField(timer, "ticks"), 7n);
  const event = parseFdInfo(`${common}eventfd-count: ffffffffffffffff\n`);
  assert.ok(event);
  assert.equal(hexField(event, "eventfd-count"), 0xffff_ffff_ffff_ffffn);
  assert.equal(hexField(event, "sigmask"), 0n);
});

const facts = (fields: Partial<DescriptorFacts>): DescriptorFacts => ({
  link: "/x",
  mode: 0o100644,
  rdevMajor: 0,
  rdevMinor: 0,
  fsMagic: 0n,
  isPath: false,
  ...fields,
});
/** The kind; of those with a path also what it names, and of pipes whether they have a name. */
const kindOf = (fields: Partial<DescriptorFacts>): string => {
  const found = classify(facts(fields));
  if (!("kind" in found)) return `refused ${found.code}`;
  const type = pathType(facts(fields));
  if (found.kind === "path") return `path ${type ?? "?"}`;
  assert.equal(type, undefined);
  return found.kind;
};

test("every kind is told apart", () => {
  assert.equal(kindOf({}), "path regular");
  assert.equal(kindOf({ link: "/memfd:a b (deleted)" }), "memfd");
  assert.equal(kindOf({ link: "/memfd:a" }), "path regular");
  assert.equal(kindOf({ mode: 0o040755 }), "path directory");
  assert.equal(kindOf({ mode: 0o120777, isPath: true }), "path symlink");
  assert.equal(kindOf({ mode: 0o010600, link: "pipe:[12]" }), "pipe");
  assert.equal(kindOf({ mode: 0o010600, link: "/tmp/pipe:[12]" }), "pipe");
  assert.equal(kindOf({ mode: 0o010600, link: "/tmp/fifo", isPath: true }), "path fifo");
  assert.equal(kindOf({ mode: 0o140777, link: "socket:[12]" }), "socket");
  assert.equal(kindOf({ mode: 0o140777, link: "/run/x.sock", isPath: true }), "path socket");
  for (const [name, kind] of [
    ["[eventfd]", "eventfd"],
    ["[timerfd]", "timerfd"],
    ["[signalfd]", "signalfd"],
    ["[eventpoll]", "epoll"],
    ["[pidfd]", "pidfd"],
  ]) {
    assert.equal(kindOf({ link: `anon_inode:${name}`, mode: 0o600 }), kind);
  }
  assert.equal(kindOf({ link: "pidfd:[12]", mode: 0o100700 }), "pidfd");
});

test("stateless devices and terminals are kept, others refused by name", () => {
  const device = (rdevMajor: number, rdevMinor: number, link = "/dev/x"): string => kindOf({ mode: 0o020666, rdevMajor, rdevMinor, link });
  for (const minor of [3, 5, 7, 8, 9]) assert.equal(device(1, minor), "path char_device");
  assert.equal(device(1, 11), "refused device");
  assert.equal(device(136, 3), "tty");
  assert.equal(device(5, 0), "tty");
  assert.equal(kindOf({ mode: 0o020620, rdevMajor: 136, isPath: true }), "path char_device");
  assert.equal(device(5, 2), "pty");
  assert.equal(device(10, 229, "/dev/fuse"), "refused device");
  assert.equal(kindOf({ mode: 0o060660, rdevMajor: 8 }), "refused block_device");
});

test("namespaces are kinds of path; other views of the kernel are refused by name", () => {
  assert.equal(kindOf({ link: "net:[4026531840]", fsMagic: 0x6e736673n }), "path namespace");
  assert.equal(kindOf({ link: "/sys/fs/bpf/x", fsMagic: 0xcafe4a11n }), "refused bpf_object");
  assert.equal(kindOf({ link: "/sys/fs/bpf/x", fsMagic: 0xcafe4a11n, isPath: true }), "path regular");
});

test("no descriptor is of two kinds", () => {
  const any = fc.record<DescriptorFacts>({
    link: fc.constantFrom(
      "/x",
      "/memfd:x (deleted)",
      "pipe:[1]",
      "/tmp/pipe:[1]",
      "socket:[1]",
      "/run/socket:[1]",
      "pidfd:[1]",
      "net:[1]",
      ...["[eventfd]", "[timerfd]", "[signalfd]", "[eventpoll]", "[pidfd]", "inotify", "[fanotify]", "[io_uring]"].map(
        (name) => `anon_inode:${name}`,
      ),
    ),
    mode: fc.constantFrom(0, 0o140000, 0o120000, 0o100000, 0o060000, 0o040000, 0o020000, 0o010000),
    rdevMajor: fc.constantFrom(0, 1, 4, 5, 136, 10),
    rdevMinor: fc.nat(12),
    fsMagic: fc.constantFrom(0n, 0x6e736673n, 0xcafe4a11n),
    isPath: fc.boolean(),
  });
  fc.assert(
    fc.property(any, (one) => {
      assert.ok(kindsOf(one).length <= 1, kindsOf(one).join(" and "));
    }),
    { numRuns: 3000 },
  );
});

test("anonymous inodes that are not kept are refused under their own name", () => {
  for (const [link, code] of [
    ["[landlock-ruleset]", "landlock_ruleset"],
    ["[userfaultfd]", "userfaultfd"],
    ["bpf-map", "bpf_map"],
    ["[perf_event]", "perf_event"],
    ["[something-new]", "something_new"],
  ]) {
    assert.equal(kindOf({ link: `anon_inode:${link}`, mode: 0o600 }), `refused ${code}`);
  }
});

test("descriptions: equals are found whatever the order of arrival", () => {
  const member = fc.record({ key: fc.constantFrom("a", "b"), id: fc.nat({ max: 30 }) });
  fc.assert(
    fc.property(fc.array(member, { maxLength: 80 }), (members) => {
      const index = new DescriptionIndex<{ key: string; id: number }>((a, b) => (a.id === b.id ? 0 : a.id < b.id ? 1 : 2));
      const seen = new Map<string, { key: string; id: number }>();
      for (const candidate of members) {
        const name = `${candidate.key}:${candidate.id}`;
        const found = index.findOrAdd(candidate.key, candidate);
        assert.equal(found, seen.get(name));
        if (!seen.has(name)) seen.set(name, candidate);
      }
    }),
  );
});

test("descriptions: an order that the kernel cannot tell is an error", () => {
  const index = new DescriptionIndex<number>(() => 3);
  index.findOrAdd("k", 1);
  assert.throws(() => index.findOrAdd("k", 2), /cannot be compared/);
});

test("netlink: messages come apart as they were put together", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (payloads) => {
      const datagram = Buffer.concat(payloads.map((payload, index) => encodeMessage(20 + index, 0x301, index, payload)));
      const messages = decodeMessages(datagram);
      assert.deepEqual(
        messages.map(({ payload }) => [...payload]),
        payloads.map((payload) => [...payload]),
      );
      assert.deepEqual(
        messages.map(({ type }) => type),
        payloads.map((_, index) => 20 + index),
      );
    }),
  );
});

test("netlink: a length beyond the datagram is an error, arbitrary bytes end", () => {
  const message = encodeMessage(20, 0, 0, new Uint8Array(4));
  message.writeUInt32LE(4096, 0);
  assert.throws(() => decodeMessages(message), { code: "dump.netlink" });
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void decodeAttributes(Buffer.from(bytes), 0)));
});

test("unix_diag: fields and attributes", () => {
  const attribute = (type: number, value: Buffer): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(4 + value.length, 0);
    head.writeUInt16LE(type, 2);
    return Buffer.concat([head, value, Buffer.alloc((4 - (value.length & 3)) & 3)]);
  };
  const u4 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
  const message = Buffer.concat([
    Buffer.from([1, 1, 10, 0]),
    u4(77),
    u4(0, 0),
    attribute(0, Buffer.from("/run/x\0")),
    attribute(1, u4(5, 6)),
    attribute(3, u4(8, 9)),
    attribute(4, u4(2, 128)),
    attribute(6, Buffer.from([3])),
  ]);
  assert.deepEqual(decodeUnixDiag(message), {
    type: 1,
    state: 10,
    ino: 77,
    name: Buffer.from("/run/x\0"),
    file: { ino: 5, device: 6 },
    peer: 0,
    pending: [8, 9],
    receiveQueue: 2,
    sendQueue: 128,
    shutdown: 3,
  });
  assert.equal(decodeUnixDiag(Buffer.alloc(8)), undefined);
});

test("addresses are read as people write them", () => {
  assert.equal(printableAddress(Buffer.from([2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])), "127.0.0.1:8080");
  const six = Buffer.alloc(28);
  six.writeUInt16LE(10, 0);
  six.writeUInt16BE(443, 2);
  six[23] = 1;
  assert.equal(printableAddress(six), "[::1]:443");
  assert.equal(isBound(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0])), false);
  assert.equal(isBound(Buffer.from([2, 0, 0, 80, 0, 0, 0, 0])), true);
});
