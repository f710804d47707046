// SPDX-License-Identifier: Apache-2.0
/** Runs rules and turns what they find into located findings, a bounded number of each. */
import type { Finding, Problem, Rule, RuleInfo } from "./finding.js";
import type { Locator } from "./locate.js";

/** More of one kind say nothing new. */
const findingsPerRule = 20;

export interface RuleRun {
  readonly findings: readonly Finding[];
  /** Codes of rules with more findings than are listed. */
  readonly cutOff: readonly string[];
  /** Number of rules that were applied. */
  readonly applied: number;
}

/** A problem as a finding of its rule. */
export function toFinding(rule: RuleInfo, problem: Problem, source: string, format: string | undefined, locate: Locator): Finding {
  const { message, expected, actual, hint, at, place } = problem;
  const where = at === undefined ? {} : locate(at);
  return {
    code: rule.code,
    severity: rule.severity,
    source,
    ...(format === undefined ? {} : { format }),
    ...where,
    ...place,
    message,
    ...(expected === undefined ? {} : { expected }),
    ...(actual === undefined ? {} : { actual }),
    ...(hint === undefined ? {} : { hint }),
    spec: rule.spec,
  };
}

/** Applies those rules whose facet `has` says is there. */
export function runRules<Context>(
  rules: readonly Rule<Context>[],
  context: Context,
  options: { readonly source: string; readonly format?: string; readonly locate: Locator; readonly has?: (rule: RuleInfo) => boolean },
): RuleRun {
  const findings: Finding[] = [];
  const cutOff: string[] = [];
  let applied = 0;
  for (const rule of rules) {
    if (options.has?.(rule) === false) continue;
    applied += 1;
    let count = 0;
    for (const problem of rule.check(context)) {
      count += 1;
      if (count > findingsPerRule) {
        cutOff.push(rule.code);
        break;
      }
      findings.push(toFinding(rule, problem, options.source, options.format, options.locate));
    }
  }
  return { findings, cutOff, applied };
}
