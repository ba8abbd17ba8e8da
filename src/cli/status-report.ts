// Asks every site that can be reached from here, and puts their answers together: the contract of `tercet status --json`.

import type { DaemonStatus, SiteStatus } from '../api/schema.ts';
import { breachText, summarize } from '../api/summary.ts';
import type { Reach } from './reach.ts';

type SiteConfig = import('../daemon/config.ts').SiteConfig;

/** One site of the configuration, and whether it answered. */
export interface SiteAnswer {
  readonly site: string;
  readonly address: string;
  readonly reachable: boolean;
  readonly version: string | null;
  /** Its certificate; null where links are not encrypted, and when it did not answer. */
  readonly tls: DaemonStatus['tls'];
  /** Why it could not be asked; null when it answered. */
  readonly error: string | null;
}

/** One group of the configuration, as far as it can be seen from here. */
export interface GroupReport {
  readonly group: string;
  readonly well: boolean;
  readonly serving: string | null;
  readonly problems: readonly string[];
  readonly state: string;
  /** What each site that answered says, sorted by site. */
  readonly sites: readonly SiteStatus[];
}

/** What `tercet status --json` prints. Fields are only ever added. */
export interface StatusReport {
  readonly well: boolean;
  readonly sites: readonly SiteAnswer[];
  readonly groups: readonly GroupReport[];
}

/** Asks all sites at once, each within a few seconds. `groups` are the names of those to report. */
export async function gatherStatus(reach: Reach, sites: readonly SiteConfig[], groups: readonly string[]): Promise<StatusReport> {
  const answers = await Promise.all(sites.map((site) => askSite(reach, site)));
  return reportOf(answers, groups);
}

async function askSite(reach: Reach, site: SiteConfig): Promise<{ answer: SiteAnswer; status: DaemonStatus | null }> {
  const found = await reach.try(site);
  if (found instanceof Error) {
    const answer = { site: site.name, address: site.control.text, reachable: false, version: null, tls: null, error: found.message };
    return { answer, status: null };
  }
  const { client, status } = found;
  const { version, tls } = status;
  return { answer: { site: site.name, address: client.address, reachable: true, version, tls, error: null }, status };
}

/** Puts answers together; sorted by name, so that two reports can be compared. */
export function reportOf(
  answers: readonly { readonly answer: SiteAnswer; readonly status: DaemonStatus | null }[],
  groups: readonly string[],
): StatusReport {
  const statuses = answers.flatMap(({ status }) => status?.groups ?? []);
  const reports = [...groups].sort().map((group) => {
    const sites = statuses.filter((status) => status.group === group).sort((a, b) => (a.site < b.site ? -1 : 1));
    const { serving, problems: found, state } = summarize(group, sites);
    const breaches = answers.flatMap(({ status }) => (status?.rpoBreaches ?? []).filter((breach) => breach.group === group));
    const problems = [...found, ...breaches.map(breachText)];
    return { group, well: problems.length === 0, serving, problems, state, sites };
  });
  return {
    well: reports.every((report) => report.well) && answers.every(({ answer: { tls } }) => tls === null || tls.daysLeft >= 0),
    sites: answers.map(({ answer }) => answer).sort((a, b) => (a.site < b.site ? -1 : 1)),
    groups: reports,
  };
}

/** Lines for people: one for each group when all is well; otherwise first what is wrong, and at the end who could not be asked. */
export function statusLines(report: StatusReport, style: (kind: 'bad' | 'dim', text: string) => string): readonly string[] {
  const lines: string[] = [];
  for (const { site, tls } of report.sites)
    if (tls !== null && tls.warning !== null) lines.push(`site ${site}: ${style('bad', tls.warning)}`);
  for (const group of report.groups) {
    for (const problem of group.problems) lines.push(`${group.group}: ${style('bad', problem)}`);
    if (group.state !== '') lines.push(`${group.group}: ${group.state}`);
  }
  if (report.well) return lines;
  for (const site of report.sites) if (site.error !== null) lines.push(style('dim', `site ${site.site}: ${site.error}`));
  return lines;
}
