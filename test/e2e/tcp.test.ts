// SPDX-License-Identifier: Apache-2.0
/** TCP connections: both ends in the tree, a peer outside that goes on with the same one, and real CRIU on either side. */
import assert from "node:assert/strict";
import { type ChildProcess, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { criuDump, criuRestore, gone } from "../support/criu-run.js";
import { inOwnWorld } from "../support/own-world.js";
import { crimg, endTree, isAlive, run, spawned, start, temporaryDirectory, until } from "../support/processes.js";
import { criuBin, noCriu } from "../support/project.js";

const isPrivate = inOwnWorld(import.meta.url);
const isRoot = process.getuid?.() === 0;
const skip = !existsSync("/usr/bin/python3") ? "python3 is not installed" : isRoot && isPrivate ? false : "needs root";
const timeout = 180_000;

/** Starts python lines in `directory`; returns when they have written `ready`. */
async function startPython(t: TestContext, directory: string, lines: readonly string[]): Promise<ChildProcess & { readonly pid: number }> {
  const script = join(directory, "program.py");
  const begin = ["import os, socket, struct, sys, time", "def ready(): open('ready', 'w').close()"];
  writeFileSync(script, [...begin, ...lines].join("\n"));
  const child = start(t, "/usr/bin/python3", [script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return child;
}

const resumed = (t: TestContext, image: string, directory: string, ...options: string[]): number => {
  const pidfile = join(directory, "pid");
  const { status, stderr } = run(image, ["--detach", "--pidfile", pidfile, ...options]);
  assert.equal(status, 0, stderr);
  const pid = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(pid));
  return pid;
};

async function dumped(pid: number, image: string, ...options: string[]): Promise<void> {
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--force", ...options);
  assert.equal(status, 0, stderr);
  if (options.includes("--leave-running")) return;
  await gone([pid]);
  // Whoever has that number next is no child of node's.
  spawned.delete(pid);
}

/** Lines of `ss` about sockets on a port, without what changes by itself. */
const sockets = (...what: string[]): string =>
  spawnSync("ss", ["-Htan", ...what], { encoding: "utf8" })
    .stdout.replace(/ +/g, " ")
    .trim()
    .split("\n")
    .sort()
    .join("\n");

const tables = (): string => spawnSync("nft", ["list", "tables"], { encoding: "utf8" }).stdout ?? "";

/** A pair of connected sockets with bytes in both directions, more than the windows take; then it checks all of them. */
const pair = (make: readonly string[]): readonly string[] => [
  ...make,
  "pattern = bytes(range(251)) * 1000",
  "def stuff(s, most):",
  "  s.setblocking(False); n = 0",
  "  try:",
  "    while n < most: n += s.send(pattern[n % 251:][:min(most - n, 65536)])",
  "  except BlockingIOError: pass",
  "  s.setblocking(True); return n",
  "def take(s, n):",
  "  s.settimeout(30); at = 0",
  "  while at < n:",
  "    d = s.recv(1 << 16); assert d == pattern[at % 251:][:len(d)], at; at += len(d)",
  "  return at",
  "c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); s.setsockopt(1, 9, 1)",
  "n, m = stuff(c, 1 << 30), stuff(s, 700)",
  "def options(x): return [x.getsockopt(*o) for o in ((6, 1), (1, 9), (1, 2), (1, 72), (6, 2))]",
  "before = [c.getsockname(), c.getpeername(), s.getsockname(), s.getpeername(), options(c)[:4], options(s)[:4]]",
  "ready()",
  "while not os.path.exists('go'): time.sleep(0.02)",
  "after = [c.getsockname(), c.getpeername(), s.getsockname(), s.getpeername(), options(c)[:4], options(s)[:4]]",
  "got = [take(s, n) == n, take(c, m) == m, before == after]",
  "s.sendall(b'more'); got.append(c.recv(9) == b'more')",
  "c.shutdown(socket.SHUT_WR); got.append(s.recv(9) == b''); s.sendall(b'last'); s.close(); got.append(c.recv(9) == b'last')",
  "open('result.new', 'w').write(repr(got)); os.rename('result.new', 'result')",
  "time.sleep(600)",
];

const allGood = "[True, True, True, True, True, True]";
const plainPair = ["l = socket.create_server(('127.0.0.1', 0))", "c = socket.create_connection(l.getsockname())", "s, _ = l.accept()"];
const pairs: Readonly<Record<string, readonly string[]>> = {
  IPv4: plainPair,
  IPv6: [
    "l = socket.create_server(('::1', 0), family=socket.AF_INET6)",
    "c = socket.create_connection(l.getsockname()[:2])",
    "s, _ = l.accept()",
  ],
  "IPv4 mapped into IPv6": [
    "l = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=True)",
    "c = socket.create_connection(('127.0.0.1', l.getsockname()[1]))",
    "s, _ = l.accept()",
  ],
};

for (const [name, make] of Object.entries(pairs)) {
  test(`both ends in the tree, ${name}: queues, windows and options`, { skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    const others = sockets();
    const { pid } = await startPython(t, directory, pair(make));
    const image = join(directory, "image.elf");
    await dumped(pid, image, "--leave-running");
    assert.ok(isAlive(pid));
    await dumped(pid, image);
    assert.equal(sockets(), others, "the connection has ended in silence");
    const shown = crimg("show", image, "sockets").stdout;
    assert.match(shown, /established +\S+:\d+ +socket:\[\d+\] +\d+ B in, \d+ B out/);
    assert.equal(crimg("validate", image).status, 0);
    const again = resumed(t, image, directory);
    await dumped(again, image);
    resumed(t, image, directory);
    writeFileSync(join(directory, "go"), "");
    await until("the program has looked", () => existsSync(join(directory, "result")));
    assert.equal(readFileSync(join(directory, "result"), "utf8"), allGood);
  });
}

test("a program that is left running has its connections as before", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, pair(plainPair));
  await dumped(pid, join(directory, "image.elf"), "--leave-running");
  // With its connection still there, the image has no place.
  const refused = run(join(directory, "image.elf"), ["--detach", "--pid", "any"]);
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /bind a socket to 127\.0\.0\.1:\d+ for fd|connect 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+ for fd/);
  writeFileSync(join(directory, "go"), "");
  await until("the program has looked", () => existsSync(join(directory, "result")));
  assert.equal(readFileSync(join(directory, "result"), "utf8"), allGood);
});

test("a socket that connects goes on connecting", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, [
    "l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(0)",
    "a = socket.create_connection(l.getsockname())",
    "b = socket.socket(); b.setblocking(False)",
    // There is no room for it: it is not answered.
    "try: b.connect(l.getsockname())",
    "except BlockingIOError: pass",
    "ready()",
    "while not os.path.exists('go'): time.sleep(0.05)",
    "l.settimeout(30); l.accept(); b.settimeout(30)",
    "d, peer = l.accept(); b.sendall(b'later')",
    "open('out.new', 'w').write(d.recv(5).decode() + ' ' + str(peer == b.getsockname())); os.rename('out.new', 'out')",
  ]);
  const image = join(directory, "image.elf");
  const refused = crimg("dump", String(pid), "-o", image);
  assert.equal(refused.status, 4, refused.stderr);
  assert.match(refused.stderr, /a TCP connection \(SYN_SENT, 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+\).*outside/);
  await dumped(pid, image, "--tcp-established");
  resumed(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  await until("it is connected", () => existsSync(join(directory, "out")));
  assert.equal(readFileSync(join(directory, "out"), "utf8"), "later True");
});

test("half-closed, unread, unaccepted and MPTCP sockets come back as they were", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, [
    "def listening(protocol=0):",
    "  l = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol); l.bind(('127.0.0.1', 0)); l.listen(9); return l",
    "l = listening()",
    "def pair(): c = socket.create_connection(l.getsockname()); return c, l.accept()[0]",
    // MPTCP: one that listens, with a client that speaks TCP, and one that is unbound
    "m, m2 = listening(262), socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "pm = socket.create_connection(m.getsockname()); sm = m.accept()[0]",
    // over on both sides, with bytes that nobody has read
    "c, over = pair(); c.sendall(b'D' * 100000); c.shutdown(1); time.sleep(0.1); over.shutdown(1); time.sleep(0.1); c.close()",
    // clients that nobody has accepted
    "l2 = listening(); p, p2 = (socket.create_connection(x.getsockname()) for x in (m, l2))",
    "h1, h2 = pair(); h1.sendall(b'x'); h1.shutdown(1)",
    "r1, r2 = pair(); r1.shutdown(0)",
    "u1, u2 = pair(); u1.shutdown(1); u2.recv(1); u2.sendall(b'left'); u2.shutdown(1)",
    "time.sleep(0.2)",
    "all = (m, m2, over, p, p2, h1, h2, r1, r2, pm, sm, u1, u2)",
    // the port of one that is over may be in TIME_WAIT still
    "def look(): return [(x.getsockopt(6, 11, 8)[0], x.getsockopt(1, 38), x is u1 or x.getsockname()) for x in all]",
    "before = look(); ready()",
    "while not os.path.exists('go'): time.sleep(0.02)",
    "got = [before == look() or (before, look())]",
    "def rest(x):",
    "  x.settimeout(5); bytes = b''",
    "  while d := x.recv(1 << 16): bytes += d",
    "  return bytes",
    "got.append(rest(over) == b'D' * 100000)",
    "m.settimeout(5); x = m.accept()[0]; x.sendall(b'hi'); got.append(p.recv(5) == b'hi')",
    "l2.settimeout(5); y = l2.accept()[0]; p2.sendall(b'yo'); got.append(y.recv(5) == b'yo' and y.getpeername() == p2.getsockname())",
    "got.append(rest(h2) == b'x'); h2.sendall(b'back'); h2.close(); got.append(rest(h1) == b'back')",
    "got.append(rest(r1) == b''); r1.sendall(b'q'); got.append(r2.recv(4) == b'q')",
    "pm.sendall(b'mp'); got.append(sm.recv(9) == b'mp')",
    "c = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); c.connect(m.getsockname())",
    "got.append(m.accept()[0].getsockopt(1, 38) == 262); got.append(rest(u1) == b'left')",
    "open('result.new', 'w').write(repr(got)); os.rename('result.new', 'result')",
    "time.sleep(600)",
  ]);
  const image = join(directory, "image.elf");
  await dumped(pid, image);
  assert.equal(crimg("validate", image).status, 0);
  assert.match(crimg("show", image, "sockets").stdout, /mptcp +listening/);
  const again = resumed(t, image, directory);
  await dumped(again, image);
  resumed(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  await until("the program has looked", () => existsSync(join(directory, "result")));
  assert.equal(readFileSync(join(directory, "result"), "utf8"), `[${Array.from({ length: 11 }, () => "True").join(", ")}]`);
});

test("an MPTCP connection is refused by name, and given up on request; TCP connections too, at the resume", {
  skip,
  timeout,
}, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, [
    "l = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); l.setsockopt(1, 2, 1); l.bind(('127.0.0.1', 0)); l.listen(9)",
    "c = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); c.connect(l.getsockname()); s = l.accept()[0]",
    "ready()",
    "while not os.path.exists('go'): time.sleep(0.02)",
    "open('go', 'w').write(repr([x.recv(1) for x in (c, s)])); os.rename('go', 'result1')",
    "time.sleep(600)",
  ]);
  const image = join(directory, "image.elf");
  const refused = crimg("dump", String(pid), "-o", image);
  assert.equal(refused.status, 4);
  assert.match(refused.stderr, /an MPTCP connection \(127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+\), which the kernel cannot make again/);
  await dumped(pid, image, "--tcp-close");
  let again = resumed(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  await until("the program has looked", () => existsSync(join(directory, "result1")));
  assert.equal(readFileSync(join(directory, "result1"), "utf8"), "[b'', b'']");
  // The same at the resume, of an image that has the connections.
  const other = await startPython(t, temporaryDirectory(t), pair(plainPair));
  await dumped(other.pid, image);
  const pidfile = join(directory, "pid");
  const { status, stderr } = crimg("exec", image, "--tcp-close", "--detach", "--pidfile", pidfile);
  assert.equal(status, 0, stderr);
  again = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(again));
  assert.equal(sockets("state", "established"), "");
});

/** Sends without end and counts what comes back, which must be the same. */
class Talker {
  sent = 0;
  received = 0;
  wrong: string | undefined;
  readonly #socket: Socket;
  readonly #pattern = Buffer.from(Array.from({ length: 251 * 400 }, (_, index) => index % 251));
  #isStopped = false;

  constructor(port: number) {
    this.#socket = createConnection({ port, host: "127.0.0.1" });
    this.#socket.on("data", (data) => {
      const from = this.received % 251;
      if (!data.equals(this.#pattern.subarray(from, from + data.length))) this.wrong ??= `another byte after ${this.received}`;
      this.received += data.length;
    });
    this.#socket.on("error", (error) => (this.wrong ??= String(error)));
    this.#socket.on("end", () => (this.wrong ??= "the connection ended"));
    const say = (): void => {
      if (this.#isStopped) return;
      const length = 1 + ((this.sent * 7) % 9000);
      this.#socket.write(this.#pattern.subarray(this.sent % 251, (this.sent % 251) + length));
      this.sent += length;
      setTimeout(say, 1);
    };
    say();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await until("all came back", () => this.wrong !== undefined || this.received === this.sent);
    this.#socket.destroy();
  }
}

/** Rounds of CI; the full figure is for a run by hand. */
const rounds = { running: Number(process.env["CRIMG_TCP_ROUNDS"] ?? 3), resumed: Number(process.env["CRIMG_TCP_RESUMES"] ?? 2) };

test("an outside client that talks all the time loses no byte over dumps and resumes", { skip, timeout: 600_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const server = await startPython(t, directory, [
    "l = socket.create_server(('127.0.0.1', 0))",
    "open('port', 'w').write(str(l.getsockname()[1])); ready()",
    "s, _ = l.accept()",
    "while True:",
    "  d = s.recv(1 << 16)",
    "  if not d: break",
    "  s.sendall(d)",
  ]);
  let { pid } = server;
  const client = new Talker(Number(readFileSync(join(directory, "port"), "utf8")));
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));
  await until("bytes came back", () => client.received > 10_000);
  const image = join(directory, "image.elf");
  const refused = crimg("dump", String(pid), "-o", image);
  assert.equal(refused.status, 4);
  assert.match(
    refused.stderr,
    /a TCP connection \(ESTABLISHED, 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+\) whose other end is outside the tree/,
  );
  assert.match(refused.stderr, /--tcp-established/);
  for (let round = 0; round < rounds.running; round++) {
    await dumped(pid, image, "--leave-running", "--tcp-established");
    await turn();
    assert.equal(client.wrong, undefined);
  }
  for (let round = 0; round < rounds.resumed; round++) {
    await dumped(pid, image, "--tcp-established");
    await turn();
    assert.match(tables(), /CRIU-crimg/);
    if (round === 0) {
      assert.match(crimg("show", image, "sockets").stdout, /packets held back by: nft table inet CRIU-crimg/);
      // A resume that fails leaves the connection as it was, for the next.
      const failed = run("prlimit", ["--nofile=68:68", image, "--detach"]);
      assert.equal(failed.status, 125);
      assert.match(failed.stderr, /open files/);
    }
    pid = resumed(t, image, directory);
    await turn();
    assert.equal(client.wrong, undefined);
  }
  await client.stop();
  assert.equal(client.wrong, undefined);
  assert.equal(client.received, client.sent);
  assert.equal(tables(), "", "no table of nftables is left");
});

const redis = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].find((path) => existsSync(path));
const nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].find((path) => existsSync(path));

test("redis with clients in its tree and one outside, all busy", {
  skip: skip || (redis === undefined && "redis is not installed"),
  timeout,
}, async (t) => {
  const directory = temporaryDirectory(t);
  const port = 7777;
  const { pid } = await startPython(t, directory, [
    "import subprocess",
    `subprocess.Popen([${JSON.stringify(redis)}, '--port', '${port}', '--bind', '127.0.0.1', '--save', '', '--dir', '.'],`,
    "  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)",
    "def connect():",
    "  for _ in range(200):",
    `    try: return socket.create_connection(('127.0.0.1', ${port}))`,
    "    except OSError: time.sleep(0.05)",
    "for k in range(3):",
    "  if os.fork() == 0:",
    "    c = connect(); f = c.makefile('rb'); n = 0",
    "    while True:",
    "      c.sendall(b'INCR k%d\\r\\n' % k); n += 1",
    "      if f.readline() != b':%d\\r\\n' % n: open('wrong', 'w').write(f'{k} {n}')",
    "      time.sleep(0.002)",
    "connect(); ready()",
    "while True: time.sleep(1)",
  ]);
  const client = createConnection({ port, host: "127.0.0.1" });
  let answers = "";
  client.on("error", (error) => (answers += String(error)));
  client.on("data", (data) => (answers += String(data)));
  const ask = async (words: string, answer: RegExp): Promise<string> => {
    answers = "";
    client.write(`${words}\r\n`);
    return until(`an answer to ${words}`, () => answer.exec(answers)?.[1]);
  };
  t.after(() => client.destroy());
  await ask("SET mine 1", /\+(OK)\r\n/);
  const count = async (): Promise<number> => Number(await ask("GETRANGE k2 0 20", /\$\d+\r\n(\d*)\r\n/));
  const before = await count();
  const image = join(directory, "image.elf");
  await dumped(pid, image, "--tcp-established");
  resumed(t, image, directory);
  assert.equal(await ask("INCR mine", /:(\d+)\r\n/), "2");
  const after = await count();
  assert.ok(after >= before);
  let now = after;
  for (let turn = 0; turn < 200 && now < after + 20; turn++) now = await count();
  assert.ok(now >= after + 20, `the clients inside go on: ${after}, then ${now}`);
  assert.equal(existsSync(join(directory, "wrong")), false);
});

test("nginx goes on with a keep-alive connection of an outside client", {
  skip: skip || (nginx === undefined && "nginx is not installed"),
  timeout,
}, async (t) => {
  const directory = temporaryDirectory(t);
  const port = 8099;
  const config = join(directory, "nginx.conf");
  writeFileSync(
    config,
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 2; user root;
     events { worker_connections 64; }
     http { access_log off; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
       fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
       server { listen 127.0.0.1:${port}; location / { return 200 "served"; } } }`,
  );
  const { pid } = start(t, nginx as string, ["-c", config], { cwd: directory });
  await until("nginx is up", () => existsSync(join(directory, "pid")) && readFileSync(join(directory, "pid"), "utf8").trim() !== "");
  const client = createConnection({ port, host: "127.0.0.1" });
  let answers = "";
  client.on("error", (error) => (answers += String(error)));
  client.on("close", () => (answers += "closed"));
  client.on("data", (data) => (answers += String(data)));
  t.after(() => client.destroy());
  const get = async (): Promise<void> => {
    answers = "";
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await until("an answer", () => answers.endsWith("served") || /rror|closed/.test(answers));
    assert.match(answers, /^HTTP\/1\.1 200 [\s\S]*keep-alive[\s\S]*served$/);
  };
  await get();
  const image = join(directory, "image.elf");
  await dumped(pid, image, "--tcp-established");
  // What is asked meanwhile is answered after the resume.
  answers = "";
  client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(answers, "");
  resumed(t, image, directory);
  await until("the answer", () => answers.endsWith("served"));
  await get();
});

test("without privilege a connection is refused with a way on", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, pair(plainPair));
  const image = join(directory, "image.elf");
  const command = ["--inh-caps=-net_admin", "--bounding-set=-net_admin", process.execPath, "bin/crimg", "dump", String(pid), "-o", image];
  const { status, stderr } = run("setpriv", command);
  assert.equal(status, 4, stderr);
  assert.match(stderr, /a TCP connection, which only a holder of CAP_NET_ADMIN can keep/);
  assert.match(stderr, /--tcp-close/);
  assert.ok(isAlive(pid));
});

test("real CRIU restores our image set of connections, and we resume its own", {
  skip: skip || (criuBin === undefined && noCriu),
  timeout,
}, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = await startPython(t, directory, pair(plainPair));
  const [ours, theirs] = [join(directory, "ours"), join(directory, "theirs")];
  await dumped(pid, ours, "--to", "criu");
  criuRestore(t, pid, ours);
  assert.equal(tables(), "");
  await criuDump(pid, theirs, "--network-lock", "nftables");
  const image = join(directory, "image.elf");
  assert.equal(crimg("convert", theirs, image).status, 0);
  resumed(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  await until("the program has looked", () => existsSync(join(directory, "result")));
  assert.equal(readFileSync(join(directory, "result"), "utf8"), allGood);
});
