// tercet doctor: looks at the copies of a site while its daemon does not run, and on request sets those aside that a start would refuse.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { WitnessView } from '../../api/schema.ts';
import { EXIT, TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { configFlag, print, printJson, readConfig } from '../context.ts';
import { readView, witnessOf } from './witness.ts';

type Diagnosis = Awaited<ReturnType<typeof import('../../daemon/doctor.ts').diagnose>>;

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly base: boolean;
  readonly repair: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

const MEANINGS = {
  absent: 'no copy here',
  sound: 'sound: a start uses it as it is',
  mends: 'a start mends it, and nothing that was on stable storage is lost',
  damaged: 'damaged: a start does not use it, or must not; it has to be filled from another site',
} as const;

/** Exit code 0: every copy is sound or mends itself; 3: one is damaged. */
export const doctorCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Look at the copies of a site whose daemon does not run',
    fullDescription:
      'Opens each copy as the daemon would, without changing anything, and says what a start would do. With --base every block of the base images is compared ' +
      'with its digest. With --repair a damaged copy is set aside, whole, so that the next start fills a new one from another site; it refuses (exit code 5) ' +
      'when the witness does not say that another site may serve. Exit code 3 when a copy is damaged.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site, on whose machine this runs', placeholder: 'NAME' },
      base: { kind: 'boolean', brief: 'Read every block of the base images, too', default: false },
      repair: { kind: 'boolean', brief: 'Set damaged copies aside', default: false },
      yes: { kind: 'boolean', brief: 'Do not ask', default: false },
      json: { kind: 'boolean', brief: 'Print it as JSON: docs/reference/cli-json.md', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const site = config.siteOf(flags.site);
    const { diagnose, setAside } = await import('../../daemon/doctor.ts');
    const groups = config.groups.filter((group) => group.sites.some((copy) => copy.name === site.name));
    const found: { group: GroupConfig; diagnosis: Diagnosis }[] = [];
    for (const group of groups) found.push({ group, diagnosis: await diagnose(site, group, { base: flags.base }) });
    if (flags.json) printJson(this, { site: site.name, groups: found.map(({ diagnosis }) => diagnosis) });
    else for (const { diagnosis } of found) for (const line of linesOf(diagnosis)) print(this, line);
    const damaged = found.filter(({ diagnosis }) => diagnosis.verdict === 'damaged');
    if (!flags.repair) {
      if (damaged.length > 0) this.process.exitCode = EXIT.notInState;
      return;
    }
    for (const { group } of damaged) {
      await makeSure(this, { config, group, flags });
      print(this, `${group.name}: set aside as ${setAside(site, group, new Date())}; start the daemon, and a primary fills a new copy`);
    }
  },
});

function linesOf({ group, verdict, findings, folder, marks, epoch, bases }: Diagnosis): readonly string[] {
  const at = marks === null ? '' : `; epoch ${epoch}, records up to ${marks.received}, of which ${marks.destaged} are in the base images`;
  const checked = bases.map(({ volume, checkedBytes }) => `${group}: ${checkedBytes} bytes of ${volume} compared with their digests`);
  return [`${group}: ${MEANINGS[verdict]} (${folder}${at})`, ...findings.map((finding) => `${group}: ${finding}`), ...checked];
}

/** Whoever sets the last good copy aside has lost it: another one must be allowed to serve, by the witness's word. */
async function makeSure(
  context: CliContext,
  { config, group, flags }: { config: LoadedConfig; group: GroupConfig; flags: Flags },
): Promise<void> {
  const view: WitnessView | null = await readView(await witnessOf(config), group.name);
  const others = (view?.copies ?? []).filter((copy) => copy.site !== flags.site && copy.mode === 'sync' && copy.flag);
  if (others.length === 0) {
    const reason = `no other copy of ${group.name} may serve by the witness's word, so this may be the only one with all writes`;
    throw new TercetError('TERCET_UNSAFE', {
      reason,
      remedy: 'bring another site up to date first, or promote one by force and know what is lost',
    });
  }
  if (flags.yes) return;
  if (context.ask === null)
    throw new TercetError('TERCET_BAD_REQUEST', {
      what: '`tercet doctor`',
      reason: '--repair asks first, and there is no terminal: add --yes',
    });
  if (await context.ask(`Set the copy of ${group.name} at ${flags.site} aside? ${others.map(({ site }) => site).join(', ')} may serve.`))
    return;
  throw new TercetError('TERCET_NOT_IN_STATE', { what: 'nothing was changed', reason: 'the question was answered with no' });
}
