// tercet check: what this machine and the paths from it are like, before anything is trusted to them. Run it on each machine, while the others run
// `tercet check --answer`.

import { once } from 'node:events';

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { EXIT, TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { configFlag, print, printJson, readConfig, styled } from '../context.ts';
import { countText } from '../../api/text.ts';

type Finding = import('../../preflight/findings.ts').Finding;
type PathOutcome = import('../../preflight/ask.ts').PathOutcome;
type Certificates = typeof import('../../preflight/certificates.ts');
type TlsMaterial = import('../../host/tls-material.ts').TlsMaterial;

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly answer: boolean;
  readonly seconds: number;
  readonly write: number;
  readonly json: boolean;
}

const MIB = 1024 * 1024;
const USUAL_RECORD_BYTES = 4096;

/** A number of a flag, within bounds. */
function within(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isFinite(value) && value >= min && value <= max) return value;
    throw new TercetError('TERCET_BAD_REQUEST', {
      what: '`tercet check`',
      reason: `--${name} must be from ${min} to ${max}, not "${text}"`,
    });
  };
}

export const checkCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Check this machine and the paths to the others before a group is created',
    fullDescription:
      'Measures the disk (space, time to stable storage), the path to each other site (time there and back, rate, clock, and the way back) and to the witness, shows ' +
      'certificates to each of them where links are encrypted, and says what to expect of an async mirror at a rate of writes. The other machines run `tercet check --answer` meanwhile, with the daemons stopped: it listens where the daemon will. ' +
      'Exit code 3 when something does not work as it is.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site that this machine is', placeholder: 'NAME' },
      answer: { kind: 'boolean', brief: 'Answer the checks of other sites until Ctrl-C', default: false },
      seconds: {
        kind: 'parsed',
        parse: within('seconds', 0.1, 60),
        brief: 'How long each measure lasts; default: 2',
        placeholder: 'S',
        default: '2',
      },
      write: {
        kind: 'parsed',
        parse: within('write', 0, 100_000),
        brief: 'MiB that hosts write in a second, for what to expect; default: 10',
        placeholder: 'MIB',
        default: '10',
      },
      json: { kind: 'boolean', brief: 'Print JSON for programs', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const self = config.siteOf(flags.site);
    const { answerChecks } = await import('../../preflight/answer.ts');
    const own = await certificatePart(config, self.name);
    const means = { sites: new Map(config.sites.map((site) => [site.name, site.link])), tls: own.material };
    if (flags.answer) {
      tell(
        this,
        own.findings.filter(({ level }) => level !== 'good'),
      );
      const server = await answerChecks(self.link, means).catch((cause: unknown) => cannotListen(self.link.text, cause));
      print(this, `answering checks for site ${self.name} on ${self.link.text}, until Ctrl-C`);
      await once(server, 'close');
      return;
    }
    // The other sides try the way back to here; where a daemon listens already, that serves as well.
    const server = await answerChecks(self.link, means).catch(() => null);
    const findings: Finding[] = [...own.findings];
    try {
      findings.push(...(await diskPart(config, self.name, flags.seconds)));
      findings.push(...(await pathPart(config, self.name, flags, own.material)));
      findings.push(...(await witnessPart(config, own.material)));
    } finally {
      server?.close();
    }
    report(this, flags, findings);
  },
});

function cannotListen(address: string, cause: unknown): never {
  const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  throw new TercetError(
    'TERCET_NOT_IN_STATE',
    { what: `cannot listen on ${address}`, reason: `${reason}; the daemon must not be running meanwhile` },
    { cause },
  );
}

function groupsOf(config: LoadedConfig, site: string): readonly GroupConfig[] {
  return config.groups.filter((group) => group.sites.some((copy) => copy.name === site));
}

/** The own certificate, and what is to be said of it; no material where links are not encrypted, or the files are not sound. */
async function certificatePart(
  config: LoadedConfig,
  self: string,
): Promise<{ readonly material: TlsMaterial | null; readonly findings: readonly Finding[] }> {
  const { tlsFilesOf } = await import('../../daemon/config.ts');
  const files = tlsFilesOf(config, self);
  if (files === null) {
    const text = 'the configuration says insecure = true: whoever reaches the ports of the links reads and changes what is on them';
    return { material: null, findings: config.insecure ? [{ level: 'doubtful', subject: 'certificate', text }] : [] };
  }
  const { ownCertificate } = await import('../../preflight/certificates.ts');
  const groups = groupsOf(config, self).map(({ name }) => name);
  return ownCertificate(files, { kind: 'site', name: self }, groups, Date.now());
}

async function diskPart(config: LoadedConfig, site: string, seconds: number): Promise<readonly Finding[]> {
  const { measureDisk } = await import('../../preflight/disk.ts');
  const { diskFindings } = await import('../../preflight/findings.ts');
  const folder = config.siteOf(site).data;
  let needed = 0;
  for (const group of groupsOf(config, site)) {
    needed += group.capacityBytes;
    // Images elsewhere, such as block devices, are not in the folder.
    for (const volume of group.volumes) if (!volume.base.has(site)) needed += volume.sizeBytes;
  }
  try {
    return diskFindings(folder, measureDisk(folder, seconds), needed);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [{ level: 'bad', subject: 'disk', text: `${folder} cannot be used: ${reason}` }];
  }
}

async function pathPart(config: LoadedConfig, self: string, flags: Flags, material: TlsMaterial | null): Promise<readonly Finding[]> {
  const { measurePath } = await import('../../preflight/ask.ts');
  const { expect } = await import('../../preflight/expectation.ts');
  const { expectationFinding, pathFindings } = await import('../../preflight/findings.ts');
  const found: Finding[] = [];
  const groups = groupsOf(config, self);
  for (const site of config.sites) {
    const shared = groups.filter((group) => group.sites.some((copy) => copy.name === site.name));
    if (site.name === self || shared.length === 0) continue;
    const outcome = await measurePath(site.link, self, flags.seconds);
    const sync = shared.some((group) => group.sites.some((copy) => copy.name === site.name && copy.mode === 'sync'));
    const lease = Math.min(...shared.map((group) => group.timings.leaseMillis));
    found.push(...pathFindings(site.name, sync ? 'sync' : 'async', lease, outcome));
    if (material !== null) found.push(...(await shakePart(site, outcome, material)));
    if (outcome.kind !== 'measured') continue;
    for (const group of shared) {
      const copy = group.sites.find(({ name }) => name === site.name);
      if (copy?.mode !== 'async') continue;
      const demand = {
        writtenBytesPerSecond: flags.write * MIB,
        // What the configuration bounds the link to, it does not carry more than.
        linkBytesPerSecond: Math.min(outcome.measures.bytesPerSecond, copy.linkBytesPerSecond ?? Infinity),
        roundTripMillis: outcome.measures.roundTripMillis.median,
        collectMillis: Math.max(group.timings.asyncDelayMillis, copy.foldMillis ?? 0),
        // With a count, no more is kept than so many records: of the blocks that file systems and databases mostly write.
        sidefileBytes: Math.min(group.capacityBytes, group.recordsMax === 0 ? Infinity : group.recordsMax * USUAL_RECORD_BYTES),
      };
      found.push(expectationFinding(group.name, site.name, demand.writtenBytesPerSecond, expect(demand)));
    }
  }
  return found;
}

/** Shows certificates with another site, whatever answers there. */
async function shakePart(site: LoadedConfig['sites'][number], outcome: PathOutcome, material: TlsMaterial): Promise<readonly Finding[]> {
  if (outcome.kind === 'unreachable') return [];
  const { shakeWithAnswer, shakeWithDaemon, shakenFinding }: Certificates = await import('../../preflight/certificates.ts');
  const shake = outcome.kind === 'measured' ? shakeWithAnswer : shakeWithDaemon;
  return [shakenFinding(site.name, await shake(site.link, material, { kind: 'site', name: site.name }), Date.now())];
}

async function witnessPart(config: LoadedConfig, material: TlsMaterial | null): Promise<readonly Finding[]> {
  const { reach } = await import('../../preflight/answer.ts');
  const { address } = config.witness;
  const outcome = await reach(address);
  if (outcome !== 'ok') {
    const text = `nothing answers on ${address.text} (${outcome}): start \`tercet witness run\` there, and look at its firewall`;
    return [{ level: 'bad', subject: 'witness', text }];
  }
  const found: Finding = { level: 'good', subject: 'witness', text: `something listens on ${address.text}` };
  if (material === null) return [found];
  const { shakeWithDaemon, shakenFinding }: Certificates = await import('../../preflight/certificates.ts');
  return [found, shakenFinding('the witness', await shakeWithDaemon(address, material, { kind: 'witness', name: '' }), Date.now())];
}

/** One line for each finding. */
function tell(context: CliContext, findings: readonly Finding[]): void {
  const mark = styled(context);
  const words = { good: 'good    ', doubtful: 'doubtful', bad: 'BAD     ' } as const;
  for (const { level, subject, text } of findings) {
    const word = words[level];
    print(context, `${level === 'bad' ? mark('bad', word) : word}  ${subject}: ${text}`);
  }
}

function report(context: CliContext, flags: Flags, findings: readonly Finding[]): void {
  const bad = findings.filter((finding) => finding.level === 'bad').length;
  const doubtful = findings.filter((finding) => finding.level === 'doubtful').length;
  if (flags.json) printJson(context, { site: flags.site, bad, doubtful, findings });
  else {
    tell(context, findings);
    print(
      context,
      bad === 0
        ? `${flags.site} is fit to go${doubtful === 0 ? '' : `, with ${countText(doubtful, 'doubt')}`}`
        : `${countText(bad, 'thing')} must be mended first`,
    );
  }
  if (bad > 0) context.process.exitCode = EXIT.notInState;
}
