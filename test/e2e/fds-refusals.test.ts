// SPDX-License-Identifier: Apache-2.0
/** Descriptors that cannot be kept are named, the target runs on; sockets that are taken at the resume are named too. */
import assert from "node:assert/strict";
import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, isAlive, run, start, temporaryDirectory, until } from "../support/processes.js";

const python = existsSync("/usr/bin/python3") ? false : "python3 is not installed";

/** Runs python lines in `directory` up to "ready", then sleeps. */
async function startPython(t: TestContext, directory: string, lines: readonly string[]): Promise<number> {
  const script = join(directory, "program.py");
  writeFileSync(script, ["import os, socket, sys, time", ...lines, "open('ready', 'w').close()", "time.sleep(600)"].join("\n"));
  const child = start(t, "/usr/bin/python3", [script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return child.pid;
}

/** A device that this user may open and that is no stream of bytes like /dev/null; undefined where there is none. */
const device = ["/dev/kmsg", "/dev/autofs", "/dev/fuse", "/dev/net/tun", "/dev/kvm"].find((path) => {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
});

const refusals: readonly { readonly name: string; readonly lines: readonly string[]; readonly says: RegExp }[] = [
  {
    name: "notification about a directory",
    lines: ["import fcntl", "d = os.open('.', os.O_RDONLY)", "fcntl.fcntl(d, fcntl.F_NOTIFY, fcntl.DN_RENAME | fcntl.DN_MULTISHOT)"],
    says: /fd \d+ of \d+ \(\S+\): it asked to be told of changes in \S+ \(F_NOTIFY\)/,
  },
  {
    name: "a landlock ruleset",
    lines: ["import ctypes", "fd = ctypes.CDLL(None).syscall(444, ctypes.byref(ctypes.c_uint64(1)), 8, 0)"],
    says: /fd \d+ of \d+ \(\S+\): a landlock ruleset/,
  },
  {
    name: "a pty master whose slave is outside",
    lines: [
      "a, b = os.openpty()",
      "if os.fork() == 0:",
      "  os.close(b)",
      "  os.setsid(); open('child', 'w').write(str(os.getpid())); open('ready', 'w').close(); time.sleep(600)",
      "time.sleep(600)",
    ],
    says: /fd \d+ of \d+ \(\S+\): the master of \/dev\/pts\/\d+, which process \d+ outside the tree has open/,
  },
  {
    name: "a TCP connection with the other end outside",
    lines: [
      "l = socket.create_server(('127.0.0.1', 0))",
      "a = l.getsockname()",
      "if os.fork() == 0:",
      "  l.close(); c = socket.create_connection(a)",
      "  open('child', 'w').write(str(os.getpid())); open('ready', 'w').close(); time.sleep(600)",
      "s = l.accept(); time.sleep(600)",
    ],
    says: /fd \d+ of \d+ \(\S+\): a TCP connection \(ESTABLISHED, 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+\) whose other end is outside/,
  },
  {
    name: "a TCP connection that waits to be accepted",
    lines: [
      "l = socket.create_server(('127.0.0.1', 0))",
      "import subprocess",
      "a = l.getsockname()",
      "p = os.fork()",
      "if p == 0:",
      "  os.setsid(); l.close(); c = socket.create_connection(a); time.sleep(0.2)",
      "  os._exit(0)",
      "os.waitpid(p, 0)",
    ],
    says: /a listening TCP socket with 1 connections that are not accepted yet/,
  },
  {
    name: "datagrams for a group that wait in a UDP socket",
    lines: [
      "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
      "u.bind(('0.0.0.0', 0))",
      "lo, group = socket.inet_aton('127.0.0.1'), '239.1.2.3'",
      "u.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + lo)",
      "u.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, lo)",
      "u.sendto(b'x', (group, u.getsockname()[1]))",
    ],
    says: /a UDP socket with datagrams waiting that were sent to a group/,
  },
  { name: "a socket of XDP", lines: ["s = socket.socket(44, socket.SOCK_RAW)"], says: /a socket of family AF_XDP/ },
  { name: "a device", lines: [`fd = os.open('${device}', os.O_RDONLY)`], says: new RegExp(`the device ${device}`) },
];

for (const { name, lines, says } of refusals) {
  test(`refused by name: ${name}`, { skip: python, timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    if (name === "a socket of XDP" && process.getuid?.() !== 0) return t.skip("needs root");
    if (name === "a device" && device === undefined) return t.skip("no device here that this user may open and that cannot be dumped");
    const parent = await startPython(t, directory, lines);
    const child = join(directory, "child");
    const pid = existsSync(child) ? Number(readFileSync(child, "utf8")) : parent;
    const image = join(directory, "image.elf");
    const { status, stderr } = crimg("dump", String(pid), "-o", image);
    assert.equal(status, 4, stderr);
    assert.match(stderr, says);
    assert.equal(existsSync(image), false);
    assert.ok(isAlive(pid));
    await until("it sleeps again", () => /^State:\tS/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  });
}

test("a pipe whose other end is outside the tree is refused", { skip: python, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const parent = await startPython(t, directory, [
    "r, w = os.pipe()",
    "p = os.fork()",
    "if p == 0:",
    "  os.close(w); open('child', 'w').write(str(os.getpid())); time.sleep(600)",
    "os.close(r)",
    "while not os.path.exists('child') or not open('child').read(): time.sleep(0.01)",
  ]);
  const child = readFileSync(join(directory, "child"), "utf8");
  const { status, stderr } = crimg("dump", child, "-o", join(directory, "image.elf"));
  assert.equal(status, 4, stderr);
  assert.match(stderr, /fd \d+ of \d+ \(\S+\): a pipe whose other end is outside the tree/);
  assert.ok(isAlive(parent));
});

test("a lock is left out on request", { skip: python, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const pid = await startPython(t, directory, ["import fcntl", "f = open('locked', 'w')", "fcntl.flock(f, fcntl.LOCK_EX)"]);
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--ignore", "locks");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(dumped.stderr, /lost: .*a lock on \S+\/locked \(.*FLOCK.*\)/);
  assert.doesNotMatch(crimg("show", image, "files").stdout, /flock/);
});

/** A server of this test on an address that the image wants. */
async function occupy(t: TestContext, where: { port: number; host: string } | { path: string }): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
  t.after(() => server.close());
  return server;
}

test("a unix socket that another program uses now is not taken from it; a stale one is replaced", {
  skip: python,
  timeout: 180_000,
}, async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "listen.sock");
  const pid = await startPython(t, directory, [`l = socket.socket(socket.AF_UNIX)`, `l.bind(${JSON.stringify(path)})`, "l.listen(3)"]);
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image).status, 0);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  rmSync(path);
  const server = await occupy(t, { path });
  const refused = run(image, ["--detach"]);
  assert.equal(refused.status, 125, refused.stderr);
  assert.match(refused.stderr, /another program is using the unix socket \S+listen\.sock for fd \d+/);
  await new Promise((resolve) => server.close(resolve));
  writeFileSync(path, "");
  const other = run(image, ["--detach"]);
  assert.equal(other.status, 125);
  assert.match(other.stderr, /is now another file, not a socket/);
  rmSync(path);
  const pidfile = join(directory, "pid");
  const resumed = run(image, ["--detach", "--pidfile", pidfile]);
  assert.equal(resumed.status, 0, resumed.stderr);
  const root = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(root));
  assert.ok(isAlive(root));
  assert.ok(existsSync(path));
});

test("a TCP port that another program uses now is named", { skip: python, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const pid = await startPython(t, directory, [
    "l = socket.create_server(('127.0.0.1', 0))",
    "open('port', 'w').write(str(l.getsockname()[1]))",
  ]);
  const port = Number(readFileSync(join(directory, "port"), "utf8"));
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image).status, 0);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  await occupy(t, { port, host: "127.0.0.1" });
  const { status, stderr } = run(image, ["--detach"]);
  assert.equal(status, 125, stderr);
  assert.match(
    stderr,
    new RegExp(`bind a socket to 127\\.0\\.0\\.1:${port} for fd \\d+ of task ${pid} \\(\\S+\\): Address already in use`),
  );
});

test("a file that is shorter than at the dump is named", { skip: python, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const pid = await startPython(t, directory, ["f = open('data', 'w')", "f.write('x' * 5000)", "f.flush()"]);
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image).status, 0);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  writeFileSync(join(directory, "data"), "short");
  const { status, stderr } = run(image, ["--detach"]);
  assert.equal(status, 125, stderr);
  assert.match(stderr, /data for fd \d+ of task \d+ \(\S+\) is shorter than at the dump \(5000 bytes\)/);
});
