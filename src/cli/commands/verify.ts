// tercet verify: compares all copies of a group while hosts go on, shows how far it is, and says what differs, at which copy, and what was done.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { ControlClient } from '../../api/client.ts';
import type { VerifyRequest, VerifyStatus } from '../../api/verify.ts';
import { EXIT, TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';
import { verifyText } from '../../api/summary.ts';
import { bytesText, countText, secondsText } from '../../api/text.ts';
import { fileLine, filesOfRanges } from './verify-files.ts';

interface Flags extends ConfigFlag {
  readonly site: string | undefined;
  readonly algorithm: VerifyRequest['algorithm'];
  readonly reportOnly: boolean;
  readonly rate: number;
  readonly last: boolean;
  readonly cancel: boolean;
  readonly files: boolean;
  readonly json: boolean;
}

const POLL_MILLIS = 250;
const BAR_CHARS = 30;

/** Exit code 1 when copies differ, or a part could not be compared. */
export const verifyCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Compare all copies of a group, and mend what differs',
    fullDescription:
      'Hosts go on meanwhile: each range is compared as of the same record at every copy, so a difference is always real. Each copy looks at its own sidefile as well. What is proven right is written again where it is not ' +
      'unless --report-only is given. Exit code 1 when anything differed. A verify goes on when this command is interrupted; give the command again to watch it.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: {
        kind: 'parsed',
        parse: String,
        brief: 'The primary; found by itself where it is not given',
        placeholder: 'NAME',
        optional: true,
      },
      algorithm: {
        kind: 'enum',
        values: ['sha256', 'sha1', 'md5', 'crc32'],
        brief: 'Digest; crc32 finds accidents and proves nothing',
        default: 'sha256',
      },
      reportOnly: { kind: 'boolean', brief: 'Do not mend anything', default: false },
      rate: {
        kind: 'parsed',
        parse: rateOf,
        brief: 'MiB in a second at most; 0: as fast as hosts allow',
        default: '0',
        placeholder: 'MIB',
      },
      last: { kind: 'boolean', brief: 'Begin nothing; report the verify that is under way, or the last one', default: false },
      cancel: { kind: 'boolean', brief: 'Give the verify that is under way up', default: false },
      files: { kind: 'boolean', brief: 'Name the files of an ext4 volume that lie in what differed (needs debugfs)', default: false },
      json: { kind: 'boolean', brief: 'The report as JSON', default: false },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    const { client, site } = await primaryOf(config, group, flags.site);
    if (flags.cancel) {
      const outcome = await client.cancelVerify(name);
      if (outcome.kind === 'refused')
        throw new TercetError('TERCET_NOT_IN_STATE', { what: 'nothing was given up', reason: `${outcome.text}; ${outcome.remedy}` });
      return print(this, outcome.text);
    }
    if (!flags.last) {
      const order = { algorithm: flags.algorithm, reportOnly: flags.reportOnly, bytesPerSecond: flags.rate * 1024 * 1024 };
      const outcome = await client.verify(name, order);
      if (outcome.kind === 'refused')
        throw new TercetError('TERCET_NOT_IN_STATE', {
          what: `the verify of ${name} at ${site}`,
          reason: `${outcome.text}; ${outcome.remedy}`,
        });
    }
    const status = flags.last ? await client.verifyStatus(name) : await watch(this, client, name, flags.json);
    const volumes = group.volumes.map((volume) => volume.name);
    const files = flags.files ? filesOfRanges((volume) => config.baseImageOf(site, name, volume), volumes, status.findings) : null;
    if (flags.json) {
      const findings = status.findings.map((finding) => ({ ...finding, volumeName: volumes[finding.volume ?? -1] ?? null }));
      printJson(this, { group: name, primary: site, ...status, findings, ...(files !== null && { files }) });
    } else {
      for (const line of reportLines(status, volumes)) print(this, line);
      for (const range of files ?? []) print(this, fileLine(range));
    }
    if (status.differingBlocks > 0 || status.damagedRecords > 0 || status.unverifiedBytes > 0) this.process.exitCode = EXIT.failed;
  },
});

function rateOf(text: string): number {
  if (/^[0-9]{1,6}$/.test(text)) return Number(text);
  throw new TercetError('TERCET_BAD_REQUEST', { what: '--rate', reason: 'it must be a whole number of MiB in a second, 0 for no bound' });
}

/** The site that is asked: the primary, which alone compares copies. */
async function primaryOf(
  config: LoadedConfig,
  group: GroupConfig,
  wanted: string | undefined,
): Promise<{ client: ControlClient; site: string }> {
  const known = group.sites.map((copy) => copy.name);
  if (wanted !== undefined) {
    if (!known.includes(wanted)) throw new TercetError('TERCET_NO_SUCH_SITE', { site: wanted, known: known.join(', ') });
    return { client: await clientOf(config, wanted), site: wanted };
  }
  let unreachable: unknown = null;
  for (const site of known) {
    try {
      const client = await clientOf(config, site);
      const { groups } = await client.status();
      if (groups.some((status) => status.group === group.name && status.role === 'primary')) return { client, site };
    } catch (error) {
      if (!(error instanceof TercetError)) throw error;
      unreachable = error;
    }
  }
  const reason = 'none of the sites that answer on this machine is its primary: run this command on the machine of the primary';
  throw new TercetError('TERCET_NOT_IN_STATE', { what: `group ${group.name}`, reason }, { cause: unreachable });
}

/** Waits for the end, with a bar where somebody looks. */
async function watch(context: CliContext, client: ControlClient, group: string, quiet: boolean): Promise<VerifyStatus> {
  const live = !quiet && context.colour;
  for (;;) {
    const status = await client.verifyStatus(group);
    if (live) context.process.stderr.write(`\r${barLine(status)}\u001b[K`);
    if (!status.running) {
      if (live) context.process.stderr.write('\n');
      return status;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MILLIS);
    });
  }
}

/** [#####.....] 42% 1.2 GiB/s, 3 min left */
function barLine(status: VerifyStatus): string {
  const share = status.running ? status.passedBytes / Math.max(1, status.totalBytes) : 1;
  const full = Math.round(share * BAR_CHARS);
  const left = status.etaSeconds === null ? '' : `, ${secondsText(status.etaSeconds)} left`;
  const differs = status.differingBlocks === 0 ? '' : `, ${countText(status.differingBlocks, 'block')} differ`;
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_CHARS - full)}] ${Math.floor(share * 100)}% ${bytesText(status.bytesPerSecond)}/s${left}${differs}`;
}

const KINDS: Readonly<Record<VerifyStatus['findings'][number]['kind'], string>> = {
  rot: 'rotted: it does not have the digest that was noted when it was written',
  'missed-write': 'missed a write: it is as it was written, and the others hold something else',
  difference: 'differs from the others, and keeps no digest that could tell whether it has rotted or missed a write',
  unreadable: 'cannot be read',
};

const RECORD_KINDS: typeof KINDS = { ...KINDS, rot: 'rotted: it no longer is what was appended' };
const LEFT = 'it is left to you: look at both, then resync the wrong one (`tercet resync`) or switch over to the right one first';
const UNPROVEN: typeof KINDS = {
  ...KINDS,
  'missed-write': `unproven: differs from another copy, each is as it was written, and no third decides; one of them lacks a write; ${LEFT}`,
  difference: `unproven: differs from another copy, and neither digests nor a third copy prove which one is right; ${LEFT}`,
};

/** How far it is, and how old what is known is. */
function progressLines(status: VerifyStatus): string[] {
  const { oldestUnverifiedSeconds: age } = status;
  return [
    ...(status.running ? [verifyText(status)] : []),
    age === null ? 'not every block has been compared yet' : `every block was compared ${secondsText(age)} ago or later`,
  ];
}

/** The report. */
function reportLines(status: VerifyStatus, volumes: readonly string[]): string[] {
  if (status.algorithm === null) return ['no verify has run here since the daemon started', ...progressLines(status)];
  const lines = [
    ...progressLines(status),
    `compared ${bytesText(status.verifiedBytes)} with ${status.comparedSites.length === 0 ? 'no other copy' : status.comparedSites.join(' and ')} by ${status.algorithm}` +
      (status.unverifiedBytes > 0 ? `; ${bytesText(status.unverifiedBytes)} could not be compared` : ''),
  ];
  if (status.differingBlocks === 0) lines.push(status.running ? 'no difference so far' : 'no difference');
  else lines.push(`${countText(status.differingBlocks, 'block')} of 4 KiB differ:`);
  if (status.recordsCheckedSites.length > 0)
    lines.push(
      `looked at ${bytesText(status.recordsCheckedBytes)} of records in the sidefiles of ${status.recordsCheckedSites.join(' and ')}`,
    );
  if (status.damagedRecords > 0) lines.push(`${countText(status.damagedRecords, 'place')} of sidefiles damaged:`);
  for (const { site, kind, volume, file, offset, length, seq, repaired, proven } of status.findings) {
    const done = repaired ? 'mended' : status.reportOnly ? 'not mended (--report-only)' : 'NOT mended';
    if (volume === null) {
      const left =
        repaired || status.reportOnly
          ? ''
          : `: no other copy that follows has it; if it is a mirror, \`tercet resync\` gives it a new sidefile`;
      lines.push(`  ${site}, ${file}, bytes ${offset} to ${offset + length - 1}, record ${seq}: ${RECORD_KINDS[kind]}; ${done}${left}`);
      continue;
    }
    const what = proven ? KINDS[kind] : UNPROVEN[kind];
    lines.push(
      `  ${site}, volume ${volumes[volume] ?? volume}, bytes ${offset} to ${offset + length - 1}, as of record ${seq}: ${what}; ${done}`,
    );
  }
  if (status.algorithm !== 'sha256')
    lines.push(`${status.algorithm} finds accidents; for a proof of equality run it with --algorithm sha256`);
  return lines;
}
