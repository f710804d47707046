// SPDX-License-Identifier: Apache-2.0
/** Small states of a process. */
import { ARCH, PR } from "../linux/prctl.js";
import { fileNumber, prctlResult, prctlStored } from "./asking.js";
import { anyValue, ofTask } from "./state.js";

/** XTILEDATA, the only component that a program has to ask for. */
const tileDataNumber = 18;
const tileData = 1n << 18n;

/** As /proc/PID/loginuid says it, 2^32 - 1. */
const nobodyLoggedIn = 0xffff_ffff;

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

export const taskStates = {
  umask: ofTask({
    title: "umask",
    fields: ["umask"],
    read: (ask) => ({ umask: Number.parseInt(ask.status("Umask") ?? "0", 8) }),
    phase: "process",
    set: (setting, { umask }) => setting.call("umask", [umask], { message: "set the umask" }),
    show: ({ umask }) => (umask === 0o022 ? undefined : umask.toString(8).padStart(3, "0")),
    check: ({ umask }) => ((umask & ~0o777) === 0 ? undefined : "a mask of the bits 0777"),
    criu: "kept",
  }),
  personality: ofTask({
    title: "personality",
    fields: ["personality"],
    read: (ask) => ({ personality: fileNumber(ask, "personality", 16) }),
    phase: "process",
    set: (setting, { personality }) =>
      setting.call("personality", [personality], { message: `set personality ${personality.toString(16)}` }),
    show: ({ personality }) => (personality === 0 ? undefined : hex(personality)),
    check: anyValue,
    criu: "kept",
  }),
  oomScoreAdj: ofTask({
    title: "oom_score_adj",
    fields: ["oomScoreAdj"],
    read: (ask) => ({ oomScoreAdj: fileNumber(ask, "oom_score_adj") }),
    phase: "proc",
    set: (setting, { oomScoreAdj }) => {
      if (oomScoreAdj !== 0) setting.file("oom_score_adj", String(oomScoreAdj), { hint: "lowering it needs CAP_SYS_RESOURCE" });
    },
    show: ({ oomScoreAdj }) => (oomScoreAdj === 0 ? undefined : String(oomScoreAdj)),
    check: ({ oomScoreAdj }) => (Math.abs(oomScoreAdj) <= 1000 ? undefined : "-1000 to 1000"),
    criu: "kept",
  }),
  loginUid: ofTask({
    title: "login uid",
    fields: ["loginUid"],
    read: (ask) => {
      const text = Buffer.from(ask.file("loginuid") ?? []).toString("latin1");
      return { loginUid: !/^\d+$/.test(text) ? 0 : text === String(nobodyLoggedIn) ? nobodyLoggedIn : Number(text) + 1 };
    },
    phase: "proc",
    set: (setting, { loginUid, parent }) => {
      if (loginUid === 0) return;
      const value = String(loginUid === nobodyLoggedIn ? loginUid : loginUid - 1);
      const isTold = loginUid !== nobodyLoggedIn && parent === null;
      setting.changeFile("loginuid", value, isTold ? `the login uid ${value} becomes that of whoever resumes it` : undefined);
    },
    show: ({ loginUid }) => (loginUid === 0 || loginUid === nobodyLoggedIn ? undefined : String(loginUid - 1)),
    check: anyValue,
    criu: "kept",
  }),
  childSubreaper: ofTask({
    title: "child subreaper",
    fields: ["childSubreaper"],
    read: (ask) => ({ childSubreaper: Number(prctlStored(ask, PR.getChildSubreaper) & 1n) }),
    phase: "process",
    set: (setting, { childSubreaper }) => {
      if (childSubreaper === 1) setting.call("prctl", [PR.setChildSubreaper, 1, 0, 0, 0], { message: "become a child subreaper" });
    },
    show: ({ childSubreaper }) => (childSubreaper === 0 ? undefined : "yes"),
    check: ({ childSubreaper }) => (childSubreaper <= 1 ? undefined : "0 or 1"),
    criu: "kept",
  }),
  autogroup: ofTask({
    title: "autogroup nice",
    fields: ["autogroupNice"],
    read: (ask) => {
      // "/autogroup-25 nice 5"; it is the session's, so its leader keeps it.
      const nice = /nice (-?\d+)/.exec(Buffer.from(ask.file("autogroup") ?? []).toString("latin1"))?.[1];
      return { autogroupNice: Number(nice ?? 0) };
    },
    phase: "proc",
    set: (setting, { autogroupNice, pid, sid }) => {
      if (autogroupNice !== 0 && pid === sid) setting.file("autogroup", String(autogroupNice), { hint: "lowering it needs CAP_SYS_NICE" });
    },
    show: ({ autogroupNice }) => (autogroupNice === 0 ? undefined : String(autogroupNice)),
    check: ({ autogroupNice }) => (autogroupNice >= -20 && autogroupNice <= 19 ? undefined : "-20 to 19"),
    criu: { code: "scheduling.autogroup", facet: "scheduling", text: "the nice value of the session's autogroup is not kept" },
  }),
  keepCaps: ofTask({
    title: "keep_caps",
    fields: ["keepCaps"],
    read: (ask) => ({ keepCaps: prctlResult(ask, PR.getKeepcaps) }),
    phase: "process",
    // It is one of the securebits, which come with the credentials.
    set: () => undefined,
    show: ({ keepCaps }) => (keepCaps === 0 ? undefined : "yes"),
    check: ({ keepCaps }) => (keepCaps <= 1 ? undefined : "0 or 1"),
    criu: { code: "credentials.keep-caps", facet: "credentials", text: "PR_SET_KEEPCAPS is not kept" },
  }),
  xcompPermission: ofTask({
    title: "permitted extended state",
    fields: ["xcompPerm"],
    read: (ask) => {
      const out = Buffer.alloc(8);
      return { xcompPerm: ask.call("arch_prctl", ARCH.getXcompPerm, { out }) === 0 ? out.readBigUInt64LE() : 0n };
    },
    // Before other threads are made: the room for their registers grows with it.
    phase: "process",
    set: (setting, { xcompPerm }) => {
      if ((xcompPerm & tileData) === 0n) return;
      setting.call("arch_prctl", [ARCH.reqXcompPerm, tileDataNumber], {
        message: "ask for permission to use AMX",
        hint: "resume on a processor with AMX, as the program uses it",
      });
    },
    show: ({ xcompPerm }) => ((xcompPerm & tileData) === 0n ? undefined : "AMX"),
    check: anyValue,
    criu: { code: "fpu.permission", facet: "fpu", text: "the permission to use AMX is not kept" },
  }),
  shadowStack: ofTask({
    title: "shadow stack",
    fields: ["shadowStackFeatures"],
    read: (ask) => {
      const out = Buffer.alloc(8);
      return { shadowStackFeatures: ask.call("arch_prctl", ARCH.shstkStatus, { out }) === 0 ? out.readBigUInt64LE() : 0n };
    },
    phase: "process",
    // Its mapping is refused at the dump.
    set: () => undefined,
    show: ({ shadowStackFeatures }) => (shadowStackFeatures === 0n ? undefined : hex(shadowStackFeatures)),
    check: anyValue,
    criu: { code: "memory.shadow-stack", facet: "memory", text: "the shadow stack is not kept" },
  }),
} as const;
