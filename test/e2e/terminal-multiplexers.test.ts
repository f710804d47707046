// SPDX-License-Identifier: Apache-2.0
/** tmux with vim inside, and screen with a shell: their terminals, what is on the screens, and what is typed afterwards. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Outcome, run, start, temporaryDirectory, until } from "../support/processes.js";
import { missing, twoLives } from "../support/two-lives.js";
import { users } from "../support/users.js";

const timeout = 90_000;
const vim = missing("vim") === false ? "vim" : "vim.tiny";

for (const user of users) {
  test(`tmux with vim inside, ${user.name}`, { skip: missing("tmux", vim) || user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const [command, ...words] = user.words;
    const socket = join(directory, "socket");
    const file = join(directory, "file");
    writeFileSync(file, "line one\nline two\n", { mode: 0o666 });
    run("chmod", ["666", file]);
    const tmux = (...args: string[]): Outcome => run(command, [...words, "tmux", "-S", socket, "-f", "/dev/null", ...args]);
    const screen = (): string => tmux("capture-pane", "-p").stdout;
    const { pid } = start(t, command, [...words, "tmux", "-S", socket, "-f", "/dev/null", "-D"], {
      cwd: directory,
      env: { ...process.env, HOME: directory, SHELL: "/bin/sh" },
    });
    await until("the server listens", () => existsSync(socket) && tmux("show-options", "-g").status === 0);
    const made = tmux("new-session", "-d", "-x", "80", "-y", "24", `${vim} -u NONE -n ${file}`);
    assert.equal(made.status, 0, made.stderr);
    await until("vim has drawn", () => screen().includes("line two"));
    tmux("send-keys", "Gohello", "Escape", "yyp");
    await until("vim has drawn", () => screen().includes("hello\nhello"));
    await twoLives(t, {
      pid,
      directory,
      user,
      async check(round) {
        tmux("send-keys", `olife ${round}`, "Escape");
        await until("vim shows what is typed", () => screen().startsWith(`line one\nline two\nhello\nhello\nlife 1\n`));
      },
    });
    // undone once: the history of vim is there, too
    tmux("send-keys", "u:wq", "Enter");
    await until("vim has written", () => readFileSync(file, "utf8").endsWith("life 1\n"));
    assert.equal(readFileSync(file, "utf8"), "line one\nline two\nhello\nhello\nlife 1\n");
  });

  test(`screen with a job in its shell, ${user.name}`, { skip: missing("screen", "bash") || user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const [command, ...words] = user.words;
    const env = { ...process.env, HOME: directory, SCREENDIR: join(directory, "sockets") };
    mkdirSync(env.SCREENDIR, { mode: 0o700 });
    user.own(env.SCREENDIR);
    run("chmod", ["700", env.SCREENDIR]);
    const screen = (...args: string[]): Outcome => run(command, [...words, "screen", "-S", "crimg", ...args], { env });
    const copy = join(directory, "copy");
    const shows = (what: string, text: string) =>
      until(what, () => {
        screen("-p", "0", "-X", "hardcopy", copy);
        return existsSync(copy) && readFileSync(copy, "latin1").includes(text);
      });
    const { pid } = start(t, command, [...words, "screen", "-D", "-m", "-S", "crimg", "bash", "--norc"], { cwd: directory, env });
    await until("screen answers", () => screen("-p", "0", "-X", "stuff", "value=41; echo be''gun\n").status === 0);
    await shows("the shell answers", "begun");
    screen("-p", "0", "-X", "stuff", "sleep 1000 & cat | tr a b\n");
    await twoLives(t, {
      pid,
      directory,
      user,
      async check(round) {
        screen("-p", "0", "-X", "stuff", `aaa ${round}\n`);
        await shows("the job answers", `bbb ${round}`);
      },
    });
    screen("-p", "0", "-X", "stuff", "\u0003");
    await shows("^C ends the job", "^C\n");
    screen("-p", "0", "-X", "stuff", "echo =$((value+1)); jobs\n");
    await shows("the shell goes on, with its other job", "\n=42\n[1]");
  });
}
