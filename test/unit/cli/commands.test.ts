// The commands, from their command line to their exit code, against daemons and a witness that speak the real API on real sockets.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { styleText } from 'node:util';

import { readAddress } from '../../../src/api/address.ts';
import { addPointRoutes } from '../../../src/api/points.ts';
import { startControl } from '../../../src/api/server.ts';
import { VERSION } from '../../../src/api/program.ts';
import { runCli } from '../../../src/cli/app.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import type { Screen } from '../../../src/cli/screen.ts';
import type { StatusReport } from '../../../src/cli/status-report.ts';
import { EXIT } from '../../../src/core/base/errors.ts';
import type { Decision, OrderOutcome, SiteStatus } from '../../../src/core/site/contract.ts';
import { memoryStore } from '../../../src/witness/memory-store.ts';
import { startWitness } from '../../../src/witness/server.ts';
import { freePort } from '../../support/free-port.ts';
import { mirrorSample, pointSample, statusSample } from './sample.ts';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface World {
  /** Runs a command line with this world's configuration. */
  run(line: string, context?: Partial<Pick<CliContext, 'ask' | 'colour' | 'screen'>>): Promise<Outcome>;
  /** Orders that the daemons were given. */
  readonly orders: string[];
  readonly folder: string;
}

/** Runs a command line. */
async function tercet(inputs: readonly string[], context: Partial<CliContext> = {}): Promise<Outcome> {
  let out = '';
  let err = '';
  const fake: CliContext['process'] = {
    stdout: { write: (text: string) => void (out += text) },
    stderr: { write: (text: string) => void (err += text) },
    env: { STRICLI_NO_COLOR: '1' },
  };
  await runCli(inputs, { process: fake, env: {}, colour: false, ask: null, ...context });
  return { code: Number(fake.exitCode ?? 0), out, err };
}

const DONE: OrderOutcome = { kind: 'done', text: 'it is so' };

const DECISION: Decision = {
  atMillis: 1_700_000_000_000,
  event: 'claim.begin',
  rule: '5 claim',
  text: 'it asks the witness for epoch 3',
  inputs: {
    role: 'claiming',
    epoch: 2,
    received: 1200,
    durable: 1200,
    committed: 1200,
    consistent: true,
    unclean: false,
    promiseMillis: 0,
    witness: { revision: 7, epoch: 2, primary: 'beta', flags: { alpha: true, beta: true }, ageMillis: 12 },
    peers: [{ site: 'beta', connected: false, flag: null, received: null, leaseMillis: null }],
  },
};

/** Notes the orders about points that a site gets. */
function pointOrders(site: string, orders: string[], outcome: OrderOutcome): ReturnType<Parameters<typeof addPointRoutes>[1]> {
  return {
    createPoint: async ({ name, at }) => {
      orders.push(`${site}: point ${name} at ${JSON.stringify(at)}`);
      return outcome;
    },
    removePoint: async (name) => {
      orders.push(`${site}: point ${name} removed`);
      return outcome;
    },
  };
}

/** Sites alpha and beta with control sockets; only those in `statuses` have a daemon, and each says what is given for it. */
async function world(t: TestContext, statuses: Readonly<Record<string, SiteStatus>>, outcome: OrderOutcome = DONE): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-cli-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const witnessPort = await freePort();
  const site = (name: string, port: number): string =>
    `[site.${name}]\ndata = "${name}"\nlink = "127.0.0.1:${port}"\nnbd = ["unix:/x/${name}"]\ncontrol = "unix:${folder}/${name}.sock"\n`;
  const file = join(folder, 'tercet.toml');
  const sites = `${site('alpha', 1)}${site('beta', 2)}${site('gamma', 3)}`;
  const group = '[group.db]\nsites = ["alpha", "beta", "gamma"]\nasync = ["gamma"]\n[[group.db.volume]]\nname = "disk0"\nsize = "1GiB"\n';
  writeFileSync(file, `[witness]\naddress = "127.0.0.1:${witnessPort}"\n${sites}${group}`);
  const orders: string[] = [];
  for (const [name, status] of Object.entries(statuses)) {
    const reading = readAddress(`unix:${folder}/${name}.sock`);
    assert.ok('address' in reading);
    const control = await startControl(
      {
        status: () => ({ site: status.site, version: '0.1.0', tls: null, groups: [status] }),
        explain: async (group) => ({ site: status.site, group, sentences: [`${name} says why.`], decisions: [DECISION] }),
        create: async () => {
          orders.push(`${name}: create`);
          return outcome;
        },
        promote: async (_group, { force }) => {
          orders.push(`${name}: promote${force ? ' by force' : ''}`);
          return outcome;
        },
        resync: async (_group, { site, algorithm, compare, confirm }) => {
          orders.push(`${name}: resync ${site} by ${algorithm} at the ${compare}${confirm ? ', confirmed' : ''}`);
          return outcome;
        },
        pause: async (_group, { site, force }) => {
          orders.push(`${name}: pause ${site}${force ? ' by force' : ''}`);
          return outcome;
        },
        resume: async (_group, site) => {
          orders.push(`${name}: resume ${site}`);
          return outcome;
        },
        switchover: async (_group, { to, dryRun }) => {
          orders.push(`${name}: switchover to ${to}${dryRun ? ', dry run' : ''}`);
          return outcome;
        },
        replaceWitness: async () => {
          orders.push(`${name}: replace the witness`);
          return outcome;
        },
        drain: async () => {
          orders.push(`${name}: drain`);
          return outcome;
        },
      },
      reading.address,
      { log: () => {}, more: (app) => addPointRoutes(app, () => pointOrders(name, orders, outcome)) },
    );
    t.after(() => control.close());
  }
  const run: World['run'] = (line, context = {}) => tercet([...line.split(' '), '--config', file], context);
  return { run, orders, folder };
}

test('status of a well group is one line and exit code 0', async (t) => {
  const { run } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  assert.deepEqual(await run('status'), {
    code: EXIT.done,
    out: 'db: alpha serves (epoch 3), beta in step, gamma 12 records (48.0 KiB, 0.2 s) behind, beta covers gamma for 976.0 MiB or 8 min more\n',
    err: '',
  });
});

test('status --json is the whole report', async (t) => {
  const { run, folder } = await world(t, { alpha: statusSample() });
  const { code, out } = await run('status --json');
  assert.equal(code, EXIT.done);
  const report = JSON.parse(out) as StatusReport;
  assert.deepEqual(Object.keys(report), ['well', 'sites', 'groups']);
  assert.deepEqual(report.groups[0]?.sites, [statusSample()]);
  assert.deepEqual(
    report.sites.map(({ site, reachable, address }) => [site, reachable, address]),
    [
      ['alpha', true, `unix:${folder}/alpha.sock`],
      ['beta', false, `unix:${folder}/beta.sock`],
      ['gamma', false, `unix:${folder}/gamma.sock`],
    ],
  );
});

test('status --watch draws until q is pressed, and gives the terminal back', async (t) => {
  const { run } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  let press: (key: string) => void = () => {};
  const drawn: string[][] = [];
  let closed = 0;
  const screen = (): Screen => ({
    columns: 80,
    rows: 24,
    draw: (lines) => {
      drawn.push([...lines]);
      press('q');
    },
    onKey: (listener) => (press = listener),
    onChange: () => {},
    close: () => void closed++,
  });
  assert.deepEqual(await run('status --watch', { screen }), { code: EXIT.done, out: '', err: '' });
  assert.match(drawn.flat().join('\n'), /WELL[^]*alpha serves, epoch 3, mirrored/);
  assert.equal(closed, 1);
  const nowhere = await run('status --watch');
  assert.equal(nowhere.code, EXIT.usage);
  assert.match(nowhere.err, /--watch needs a terminal/);
  assert.equal((await run('status --watch --json', { screen })).code, EXIT.usage);
});

test('status of a group in trouble ends with 3, and with 4 when nobody answers', async (t) => {
  const trouble = await world(t, { alpha: statusSample({ protection: 'solo' }) });
  const told = await trouble.run('status', { colour: true });
  assert.equal(told.code, EXIT.notInState);
  assert.equal(told.out.split('\n')[0], `db: ${styleText('red', 'new writes are on alpha alone', { validateStream: false })}`);
  const silent = await world(t, {});
  const nobody = await silent.run('status');
  assert.equal(nobody.code, EXIT.unreachable);
  assert.match(
    nobody.out,
    /^db: no site of the group answers from here\nsite alpha: the daemon at unix:.*alpha.sock does not answer \(ENOENT\)/,
  );
});

test('a site whose control address is answered by another one counts as not reachable', async (t) => {
  const { run } = await world(t, { alpha: statusSample(), beta: statusSample() });
  const { out } = await run('status --json');
  const report = JSON.parse(out) as StatusReport;
  assert.match(
    report.sites[1]?.error ?? '',
    /^the daemon of beta at unix:.*beta.sock does not answer \(site alpha answers there; run this command on the machine of beta\)/,
  );
  const { code, err } = await run('promote db --site beta');
  assert.equal(code, EXIT.unreachable);
  assert.match(err, /site alpha answers there; run this command on the machine of beta/);
});

test('status --site asks one site only, and only of its groups', async (t) => {
  const { run } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  const { out, code } = await run('status --site beta');
  assert.equal(out, 'db: beta following alpha, which cannot be asked from here\n');
  assert.equal(code, EXIT.done);
  const none = await run('status --site delta');
  assert.deepEqual(none, {
    code: EXIT.usage,
    out: '',
    err: 'tercet: there is no site "delta": the configuration has alpha, beta, gamma\n',
  });
});

test('create goes to the first site of the group, or to the one that is named', async (t) => {
  const { run, orders } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  assert.deepEqual(await run('create db'), { code: EXIT.done, out: 'it is so\n', err: '' });
  await run('create db --first beta');
  assert.deepEqual(orders, ['alpha: create', 'beta: create']);
});

test('create refuses a first site that is async or elsewhere, and a group that is not there', async (t) => {
  const { run, orders } = await world(t, { alpha: statusSample() });
  const async = await run('create db --first gamma');
  assert.equal(async.code, EXIT.usage);
  assert.equal(async.err, 'tercet: bad request to `tercet create`: gamma is async in group db; the first site must be a sync one\n');
  const elsewhere = await run('create db --first delta');
  assert.equal(elsewhere.err, 'tercet: bad request to `tercet create`: delta is not a site of group db, which has alpha, beta, gamma\n');
  const group = await run('create web');
  assert.deepEqual([group.code, group.err], [EXIT.usage, 'tercet: there is no group "web" here: the configuration has db\n']);
  assert.deepEqual(orders, []);
});

test('an order that the site refuses ends with the reason, the way out, and its exit code', async (t) => {
  const { run } = await world(t, { alpha: statusSample() }, { kind: 'refused', text: 'beta may have more', remedy: 'start beta first' });
  assert.deepEqual(await run('create db'), {
    code: EXIT.notInState,
    out: '',
    err: 'tercet: group db was not created: beta may have more; start beta first\n',
  });
  assert.deepEqual(await run('promote db --site alpha'), {
    code: EXIT.unsafe,
    out: '',
    err: 'tercet: refused, because data could be lost: beta may have more; way out: start beta first\n',
  });
});

test('resync says what its digest proves, and offers or orders a confirmation', async (t) => {
  const { run, orders } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  const strong = await run('resync db --site beta --confirm');
  assert.match(strong.out, /sha256 is taken as proved equal/);
  const weak = await run('resync db --site beta --digest crc32 --start primary');
  assert.match(weak.out, /--confirm has everything compared again by sha256/);
  await run('resync db --site beta --digest md5 --compare mirror --confirm');
  assert.deepEqual(orders, [
    'beta: resync beta by sha256 at the primary',
    'alpha: resync beta by crc32 at the primary',
    'beta: resync beta by md5 at the mirror, confirmed',
  ]);
});

test('pause and resume go to the primary, and a refusal to pause is one for the sake of data', async (t) => {
  const { run, orders } = await world(t, { alpha: mirrorSample({ site: 'alpha' }), beta: statusSample({ site: 'beta' }) });
  assert.equal((await run('pause db --site gamma')).code, EXIT.done);
  assert.equal((await run('pause db --site alpha --force')).code, EXIT.done);
  assert.equal((await run('resume db --site gamma')).code, EXIT.done);
  assert.deepEqual(orders, ['beta: pause gamma', 'beta: pause alpha by force', 'beta: resume gamma']);
  assert.equal((await run('pause db --site delta')).code, EXIT.usage);

  const other = await world(t, { alpha: statusSample() }, { kind: 'refused', text: 'it is the only mirror', remedy: 'add --force' });
  assert.deepEqual(await other.run('pause db --site beta'), {
    code: EXIT.unsafe,
    out: '',
    err: 'tercet: refused, because data could be lost: it is the only mirror; way out: add --force\n',
  });
  assert.equal((await other.run('resume db --site beta')).code, EXIT.notInState);
});

test('promote --force shows what is known of the loss and asks first', async (t) => {
  const { run, orders, folder } = await world(t, {
    beta: mirrorSample({ peers: [{ ...statusSample().peers[0], site: 'alpha', lagRecords: 7, lagSeconds: 1.5 } as never] }),
  });
  const loss =
    'beta has all records up to (epoch 3, 1200). The primary it knows is alpha; last known, that had 7 records more (1.5 s). ' +
    'Records that are not here are lost for good, acknowledged ones too.\n';
  // The other copies cannot be asked from here, and that is said.
  const bound = /^What alpha holds beyond beta is not known: it cannot be asked from here .*\nWhat gamma holds .*\n/m;
  const nobody = await run('promote db --site beta --force');
  assert.match(nobody.out, bound);
  assert.deepEqual(
    { ...nobody, out: nobody.out.replace(bound, '') },
    {
      code: EXIT.usage,
      out: loss,
      err: 'tercet: bad request to `tercet promote`: --force asks first, and there is no terminal to ask at: add --yes\n',
    },
  );
  const dry = await run(`promote db --site beta --force --dry-run --export ${folder}/loss.json`);
  assert.deepEqual([dry.code, dry.err, dry.out.replace(bound, '')], [EXIT.done, '', loss]);
  const written = JSON.parse(readFileSync(`${folder}/loss.json`, 'utf8')) as { promoted: string; losses: { site: string }[] };
  assert.deepEqual([written.promoted, written.losses.map(({ site }) => site)], ['beta', ['alpha', 'gamma']]);
  assert.match((await run(`promote db --site beta --force --yes --export ${folder}/loss.json`)).err, /cannot be written \(EEXIST\)/);
  assert.equal((await run('promote db --site beta --dry-run')).code, EXIT.usage);
  assert.deepEqual(orders, []);
  const questions: string[] = [];
  const answering =
    (yes: boolean): CliContext['ask'] =>
    async (question) => {
      questions.push(question);
      return yes;
    };
  const no = await run('promote db --site beta --force', { ask: answering(false) });
  assert.deepEqual([no.code, no.err], [EXIT.notInState, 'tercet: beta was not promoted: the question was answered with no\n']);
  assert.deepEqual(orders, []);
  const yes = await run('promote db --site beta --force', { ask: answering(true) });
  assert.deepEqual([yes.code, yes.out.replace(bound, '')], [EXIT.done, `${loss}it is so\n`]);
  assert.deepEqual(questions, Array(2).fill('Make beta the primary of db with what it has?'));
  await run('promote db --site beta --force --yes');
  await run('promote db --site beta');
  assert.deepEqual(orders, ['beta: promote by force', 'beta: promote by force', 'beta: promote']);
});

test('explain asks every site that is there for its sentences and its last decisions', async (t) => {
  const { run, folder } = await world(t, { alpha: statusSample(), beta: mirrorSample() });
  const { code, out } = await run('explain db');
  assert.equal(code, EXIT.done);
  const decided = '  Decided there, newest last:\n    2023-11-14T22:13:20.000Z  it asks the witness for epoch 3 [rule 5 claim]\n';
  assert.ok(out.startsWith(`alpha:\n  alpha says why.\n${decided}beta:\n  beta says why.\n${decided}`), out);
  assert.ok(out.includes(`the daemon at unix:${folder}/gamma.sock does not answer`), out);
  assert.equal((await run('explain db --site beta --decisions 0')).out, 'beta:\n  beta says why.\n');
  const json = JSON.parse((await run('explain db --json')).out) as unknown[];
  assert.deepEqual(json[0], { site: 'alpha', group: 'db', sentences: ['alpha says why.'], decisions: [DECISION] });
  assert.equal((await run('explain db --site gamma')).code, EXIT.unreachable);
});

test('switchover, failback and demote go to any site that can be asked; the order names who is to serve', async (t) => {
  const { run, orders } = await world(t, { beta: mirrorSample(), gamma: mirrorSample() });
  assert.deepEqual(await run('switchover db --to beta'), { code: EXIT.done, out: 'it is so\n', err: '' });
  await run('switchover db --dry-run');
  await run('failback db');
  await run('demote db --site alpha');
  assert.deepEqual(orders, [
    'beta: switchover to beta',
    'beta: switchover to null, dry run',
    'beta: switchover to alpha',
    'beta: switchover to null',
  ]);
  assert.deepEqual(await run('demote db --site beta'), { code: EXIT.done, out: 'beta is not primary of db: alpha is\n', err: '' });
  assert.equal((await run('switchover db --to delta')).code, EXIT.usage);
});

test('a planned change that is refused ends with the reason, the way out, and 3', async (t) => {
  const { run } = await world(t, { beta: mirrorSample() }, { kind: 'refused', text: 'alpha stays primary: beta lags', remedy: 'wait' });
  const { code, err } = await run('switchover db');
  assert.deepEqual([code, err], [EXIT.notInState, 'tercet: group db was not handed over: alpha stays primary: beta lags; wait\n']);
});

test('a daemon that is not there ends an order with 4', async (t) => {
  const { run } = await world(t, {});
  const { code, err } = await run('promote db --site alpha');
  assert.equal(code, EXIT.unreachable);
  assert.match(err, /^tercet: the daemon at unix:.*alpha.sock does not answer \(ENOENT\): is it running, and is this its address\?\n$/);
});

test('witness status says what the witness knows, or that nothing answers there', async (t) => {
  const { folder } = await world(t, {});
  const witness = await startWitness({ dataFolder: folder, store: memoryStore('w-1'), log: () => {} });
  t.after(() => witness.close());
  const config = (port: number): string => {
    const site = '[site.alpha]\ndata = "d"\nlink = "127.0.0.1:1"\nnbd = ["127.0.0.1:2"]\ncontrol = "127.0.0.1:3"\n';
    const file = join(folder, `witness-${port}.toml`);
    writeFileSync(
      file,
      `[witness]\naddress = "127.0.0.1:${port}"\n${site}[group.db]\nsites = ["alpha"]\n[[group.db.volume]]\nname = "v"\nsize = 4096\n`,
    );
    return file;
  };
  const file = config(witness.address.port);
  const unknown = await tercet(['witness', 'status', '--config', file]);
  assert.deepEqual(unknown, { code: EXIT.notInState, out: 'db: the witness does not know it: not created yet, or deleted\n', err: '' });
  const copies = [{ site: 'alpha', mode: 'sync' }];
  const operation = { kind: 'create', requestId: 'r1', group: 'db', from: 'alpha', groupId: 'g1', copies, first: 'alpha' };
  const created = await fetch(`http://127.0.0.1:${witness.address.port}/v1/groups/db/operations`, {
    method: 'POST',
    body: JSON.stringify(operation),
  });
  assert.equal(created.status, 200);
  const known = await tercet(['witness', 'status', '--config', file]);
  assert.deepEqual(known, { code: EXIT.done, out: 'db: epoch 0, primary none, revision 1; flags: alpha true\n', err: '' });
  const { out } = await tercet(['witness', 'status', '--json', '--config', file]);
  const json = JSON.parse(out) as { address: string; groups: { group: string; view: { instance: string } }[] };
  assert.equal(json.groups[0]?.view.instance, witness.instance);
  const port = await freePort();
  const silent = await tercet(['witness', 'status', '--config', config(port)]);
  assert.deepEqual(silent, {
    code: EXIT.unreachable,
    out: '',
    err: `tercet: the witness at 127.0.0.1:${port} does not answer (ECONNREFUSED): is it running, and is this its address?\n`,
  });
});

test('witness run refuses an address in the open, and one that is none', async () => {
  const open = await tercet(['witness', 'run', '--data', '/x', '--listen', '10.0.0.9:7400']);
  assert.deepEqual([open.code, open.out], [EXIT.usage, '']);
  assert.match(
    open.err,
    /10.0.0.9:7400 is reached from other machines; add --ca, --cert and --key, or --insecure if this network is trusted/,
  );
  const none = await tercet(['witness', 'run', '--data', '/x', '--listen', 'here']);
  assert.equal(none.code, EXIT.usage);
  assert.match(none.err, /must be HOST:PORT, such as 10.0.0.9:7400/);
});

test('check-config counts what is sound and reports what is not', async (t) => {
  const { run, folder } = await world(t, {});
  const sound = await run('check-config');
  assert.deepEqual(sound, { code: EXIT.done, out: `${folder}/tercet.toml is sound: 3 sites, 1 group, 1 volume\n`, err: '' });
  writeFileSync(join(folder, 'bad.toml'), 'insecure = 1');
  const bad = await tercet(['check-config'], { env: { TERCET_CONFIG: join(folder, 'bad.toml') } });
  assert.equal(bad.code, EXIT.configuration);
  assert.match(bad.err, /^tercet: the configuration .*bad.toml has 4 fault\(s\):\n  line 1: insecure = 1: must be true or false/);
  const missing = await tercet(['check-config']);
  assert.equal(missing.code, EXIT.configuration);
  assert.match(missing.err, /the configuration \/etc\/tercet\/tercet.toml cannot be read/);
});

test('wrong command lines end with 2 and say what was meant', async () => {
  for (const [line, text] of [
    ['statsu', /status/],
    ['status --jsn', /--json/],
    ['create', /GROUP/],
    ['promote db', /--site/],
  ] as const) {
    const { code, err } = await tercet(line.split(' '));
    assert.equal(code, EXIT.usage, line);
    assert.match(err, text);
  }
});

test('version and help are answered on standard output', async () => {
  assert.deepEqual(await tercet(['version']), { code: EXIT.done, out: `tercet ${VERSION}\n`, err: '' });
  const help = await tercet(['--help']);
  assert.equal(help.code, EXIT.done);
  for (const command of ['status', 'create', 'promote', 'witness', 'check-config', 'version']) assert.match(help.out, new RegExp(command));
});

test('points are made, listed and removed at the site that is named', async (t) => {
  const lost = pointSample({ name: 'night', state: 'lost', why: 'no room', pinnedBytes: 0, timeMillis: null, connections: 0 });
  const { run, orders } = await world(t, { alpha: statusSample(), beta: mirrorSample({ points: [pointSample(), lost] }) });
  assert.equal((await run('point create db noon --site beta')).code, EXIT.done);
  await run('point create db noon --site beta --at 1190');
  await run('point create db noon --site alpha --at 2025-11-29T21:00:00.5+01:00');
  await run('point remove db noon --site beta');
  assert.deepEqual(orders, [
    'beta: point noon at null',
    'beta: point noon at {"seq":1190}',
    'alpha: point noon at {"timeMillis":1764446400500}',
    'beta: point noon removed',
  ]);
  for (const at of ['noon', '-1', '2025-11-29', '2025-13-29T21:00:00Z'])
    assert.equal((await run(`point create db noon --site beta --at=${at}`)).code, EXIT.usage, at);
  assert.equal((await run('point create db noon --site delta')).code, EXIT.usage);
  const list = await run('point list db --site beta');
  assert.deepEqual(list, {
    code: EXIT.done,
    out: [
      'beta  noon  record 1190 of 2025-11-29T20:00:00.000Z  ready, 1 connection, keeps 40.0 KiB',
      'beta  night  record 1190  lost: no room',
      '',
    ].join('\n'),
    err: '',
  });
  assert.match((await run('point list db')).out, /gamma.sock does not answer .*\nbeta {2}noon /, 'a site that does not answer is named');
  const [first] = JSON.parse((await run('point list db --json')).out) as { site: string; points: unknown[] }[];
  assert.deepEqual(first, { site: 'alpha', points: [] });
});

test('a point that cannot be made or removed is an error', async (t) => {
  const { run } = await world(t, { alpha: statusSample() }, { kind: 'refused', text: 'it is not there', remedy: 'look again' });
  for (const line of ['point create db noon --site alpha', 'point remove db noon --site alpha'])
    assert.deepEqual(await run(line), { code: EXIT.notInState, out: '', err: 'tercet: point noon: it is not there; look again\n' });
});
