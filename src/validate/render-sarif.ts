// SPDX-License-Identifier: Apache-2.0
/** Findings as SARIF 2.1.0 (OASIS), which code-scanning services and editors read. */
import type { Log, ReportingDescriptor, Result } from "sarif";
import { hexOf } from "../errors/json.js";
import type { Finding, RuleInfo, Severity } from "./finding.js";

const levels: Readonly<Record<Severity, "error" | "warning" | "note">> = { error: "error", warning: "warning", note: "note" };

function ruleOf(rule: RuleInfo): ReportingDescriptor {
  return {
    id: rule.code,
    shortDescription: { text: rule.summary },
    defaultConfiguration: { level: levels[rule.severity] },
    properties: { spec: rule.spec, profile: rule.profile },
  };
}

/** RFC 3986: SARIF wants a URI reference. */
function uriOf(source: string): string {
  return source.split("/").map(encodeURIComponent).join("/");
}

function resultOf(finding: Finding, rules: readonly RuleInfo[]): Result {
  const { source, offset, path, length, message, expected, actual, hint } = finding;
  const sides = [expected === undefined ? "" : `expected ${expected}`, actual === undefined ? "" : `found ${actual}`];
  const detail = sides.filter((side) => side !== "").join(", ");
  const text = [message, detail, hint].filter((part) => part !== undefined && part !== "").join("; ");
  const isNarrow = offset !== undefined && offset <= BigInt(Number.MAX_SAFE_INTEGER);
  return {
    ruleId: finding.code,
    ruleIndex: rules.findIndex((rule) => rule.code === finding.code),
    level: levels[finding.severity],
    message: { text },
    locations: [
      {
        physicalLocation: {
          artifactLocation: { uri: uriOf(source ?? "") },
          ...(isNarrow ? { region: { byteOffset: Number(offset), ...(length === undefined ? {} : { byteLength: length }) } } : {}),
        },
        ...(path === undefined ? {} : { logicalLocations: [{ fullyQualifiedName: path }] }),
      },
    ],
    ...(offset === undefined ? {} : { properties: { offset: hexOf(offset) } }),
  };
}

/** One run over any number of images. */
export function toSarif(findings: readonly Finding[], rules: readonly RuleInfo[], version: string): Log {
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: { driver: { name: "crimg", version, rules: rules.map(ruleOf) } },
        results: findings.map((finding) => resultOf(finding, rules)),
      },
    ],
  };
}
