// The configuration: what a sound one becomes, and the exact sentence for each fault.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { EXIT, TercetError } from '../../../src/core/base/errors.ts';
import {
  groupNumbers,
  groupShape,
  siteNumbers,
  siteShape,
  topShape,
  tlsShape,
  volumeShape,
  witnessShape,
} from '../../../src/daemon/config-schema.ts';
import { groupOf, loadConfig, parseConfig, replicaFolder, siteOf, tlsFilesOf } from '../../../src/daemon/config.ts';
import { SAMPLE } from './sample.ts';

const FILE = '/etc/tercet/tercet.toml';

/** The fault lines that a text brings. */
function faultsOf(text: string): string[] {
  try {
    parseConfig(text, FILE);
  } catch (error) {
    assert.ok(error instanceof TercetError, String(error));
    assert.equal(error.code, 'TERCET_CONFIG');
    assert.equal(error.exit, EXIT.configuration);
    const [first, ...lines] = error.message.split('\n');
    const found = lines.map((line) => line.trim());
    assert.equal(first, `the configuration ${FILE} has ${error.facts['count']} fault(s):`);
    if (!found[0]?.includes('not TOML')) assert.equal(found.length, error.facts['count']);
    return found;
  }
  return [];
}

/** The sample with one part replaced, which must be in it. */
function spoilt(part: string, replacement: string): string {
  assert.ok(SAMPLE.includes(part), part);
  return SAMPLE.replace(part, replacement);
}

test('a sound configuration becomes complete values with every default', () => {
  const config = parseConfig(SAMPLE, FILE);
  assert.equal(config.insecure, false);
  assert.equal(config.witness.address.text, '127.0.0.1:7400');
  assert.deepEqual(
    config.sites.map((site) => [site.name, site.data, site.link.text, site.nbd.map((address) => address.text), site.control.text]),
    [
      ['alpha', '/srv/alpha', '127.0.0.1:7410', ['127.0.0.1:10809', 'unix:/run/alpha-nbd.sock'], 'unix:/run/alpha.sock'],
      ['beta', '/srv/beta', '127.0.0.1:7411', ['127.0.0.1:10810'], '127.0.0.1:7511'],
      ['gamma', '/etc/tercet/gamma-data', '[::1]:7412', ['127.0.0.1:10811'], 'unix:/run/gamma.sock'],
    ],
  );
  const [group] = config.groups;
  assert.ok(group !== undefined);
  const { volumes, ...numbers } = group;
  assert.deepEqual(numbers, {
    name: 'db',
    sites: [
      { name: 'alpha', mode: 'sync' },
      { name: 'beta', mode: 'sync' },
      { name: 'gamma', mode: 'async' },
    ],
    timings: {
      leaseMillis: 1800,
      heartbeatMillis: 250,
      peerTimeoutMillis: 1000,
      witnessRetryMillis: 500,
      driftShare: 0.02,
      holdMillis: 60_000,
      asyncDelayMillis: 20,
    },
    segmentBytes: 64 * 1024 * 1024,
    capacityBytes: 1024 * 1024 * 1024,
    setAsideBytes: 0,
    sidefileGuide: 'newest',
    recordsMax: 0,
    preElection: false,
    thread: false,
    destageIdleMillis: 1000,
    rpoSeconds: 0,
    rpoAlertPercent: 100,
    destageBacklogBytes: 256 * 1024 * 1024,
    scrub: null,
    bitmapChunkBytes: 64 * 1024,
    scanUnitBytes: 256 * 1024 * 1024,
  });
  assert.deepEqual(
    volumes.map((volume) => [volume.name, volume.sizeBytes, [...volume.base]]),
    [
      ['disk0', 1024 * 1024 * 1024, []],
      [
        'log',
        8192,
        [
          ['alpha', '/dev/vg/log'],
          ['beta', '/etc/tercet/images/log.img'],
        ],
      ],
    ],
  );
  assert.equal(replicaFolder(siteOf(config, 'beta'), 'db'), '/srv/beta/db');
});

const LOOPBACK =
  'must be a loopback address, because connections of hosts need not be encrypted; add [tls] and set nbd_tls = "required" for the site, or use a unix socket, or put "insecure = true" at the top of the file if this network is trusted';
const SIZE = 'must be a number of bytes, or a whole number with B, KiB, MiB, GiB or TiB, such as "20GiB"';

const FAULTS: readonly { kind: string; part: string; replacement: string; fault: string }[] = [
  {
    kind: 'text that is not TOML',
    part: 'size = 8192',
    replacement: 'size = ',
    fault: 'line 34, column 8: this is not TOML: invalid value',
  },
  {
    kind: 'an unknown key like a known one',
    part: 'lease_millis = 1800',
    replacement: 'lease_milis = 1800',
    fault: 'line 26: group.db.lease_milis = 1800: is not a key here; did you mean "lease_millis"?',
  },
  {
    kind: 'an unknown key like none',
    part: 'address = "127.0.0.1:7400"',
    replacement: 'address = "127.0.0.1:7400"\ncolour = "red"',
    fault: 'line 4: witness.colour = "red": is not a key here; known are address',
  },
  {
    kind: 'a key of the top inside a table',
    part: 'lease_millis = 1800',
    replacement: 'insecure = true',
    fault: 'line 26: group.db.insecure = true: belongs at the top of the file, before the first [table]',
  },
  {
    kind: 'a missing key',
    part: 'data = "/srv/beta"\n',
    replacement: '',
    fault: 'line 11: site.beta.data is missing: it must be the path of a folder, such as "/var/lib/tercet"',
  },
  {
    kind: 'a missing table',
    part: '[witness]\naddress = "127.0.0.1:7400"',
    replacement: '',
    fault: 'line 1: witness is missing: it must be a table: add [witness] with address = "HOST:PORT"',
  },
  {
    kind: 'a value of a wrong type',
    part: 'lease_millis = 1800',
    replacement: 'lease_millis = "1800"',
    fault: 'line 26: group.db.lease_millis = "1800": must be a whole number from 100 to 60000; the default is 1500',
  },
  {
    kind: 'a number outside its range',
    part: 'lease_millis = 1800',
    replacement: 'hold_seconds = -1',
    fault: 'line 26: group.db.hold_seconds = -1: must be a whole number from 0 to 86400; the default is 60',
  },
  {
    kind: 'a number that a double cannot hold',
    part: 'lease_millis = 1800',
    replacement: 'hold_seconds = 9007199254740993',
    fault: 'line 26: group.db.hold_seconds = 9007199254740993: must be a whole number from 0 to 86400; the default is 60',
  },
  {
    kind: 'a list that is not one',
    part: 'nbd = ["127.0.0.1:10810"]',
    replacement: 'nbd = "127.0.0.1:10810"',
    fault:
      'line 14: site.beta.nbd = "127.0.0.1:10810": must be a list of addresses, such as ["10.0.0.1:10809", "unix:/run/tercet/nbd.sock"]',
  },
  {
    kind: 'an empty list of addresses',
    part: 'nbd = ["127.0.0.1:10810"]',
    replacement: 'nbd = []',
    fault: 'line 14: site.beta.nbd = []: must have at least one address, such as "unix:/run/tercet/nbd.sock"',
  },
  {
    kind: 'an address without a port',
    part: 'address = "127.0.0.1:7400"',
    replacement: 'address = "127.0.0.1"',
    fault: 'line 3: witness.address = "127.0.0.1": must be HOST:PORT, such as "10.0.0.1:7410"',
  },
  {
    kind: 'a unix socket for links',
    part: 'link = "127.0.0.1:7411"',
    replacement: 'link = "unix:/run/link.sock"',
    fault: 'line 13: site.beta.link = "unix:/run/link.sock": must be HOST:PORT, such as "10.0.0.1:7410"',
  },
  {
    kind: 'a relative path of a socket',
    part: 'unix:/run/gamma.sock',
    replacement: 'unix:gamma.sock',
    fault: 'line 21: site.gamma.control = "unix:gamma.sock": must be unix: and an absolute path, such as "unix:/run/tercet/control.sock"',
  },
  {
    kind: 'an address in the open',
    part: 'nbd = ["127.0.0.1:10810"]',
    replacement: 'nbd = ["10.0.0.2:10810"]',
    fault: `line 14: site.beta.nbd[0] = "10.0.0.2:10810": ${LOOPBACK}`,
  },
  {
    kind: 'a control address that strangers reach',
    part: 'control = "127.0.0.1:7511"',
    replacement: 'control = "10.0.0.2:7511"',
    fault:
      'line 15: site.beta.control = "10.0.0.2:7511": must be unix:/PATH or a loopback address: without [tls] it obeys whoever can connect',
  },
  {
    kind: 'an address twice',
    part: 'nbd = ["127.0.0.1:10810"]',
    replacement: 'nbd = ["127.0.0.1:10809"]',
    fault: 'line 14: site.beta.nbd[0] = "127.0.0.1:10809": is the address of site.alpha.nbd.0 too: give each listener its own',
  },
  {
    kind: 'a data folder inside another',
    part: 'data = "/srv/beta"',
    replacement: 'data = "/srv/alpha/inner"',
    fault: 'line 12: site.beta.data = "/srv/alpha/inner": overlaps with site.alpha.data on the same machine: give each site its own folder',
  },
  {
    kind: 'a bad name',
    part: 'name = "log"',
    replacement: 'name = "my log"',
    fault: 'line 33: group.db.volume[1].name = "my log": a name must be 1 to 32 of a-z, 0-9 and "-"',
  },
  {
    kind: 'a bad name of a table',
    part: '[site.beta]',
    replacement: '[site."../x"]\ndata = "/x"\nlink = "127.0.0.1:1"\nnbd = ["127.0.0.1:2"]\ncontrol = "127.0.0.1:3"\n[site.beta]',
    fault: 'line 11: site."../x" is not a name: a name must be 1 to 32 of a-z, 0-9 and "-"',
  },
  {
    kind: 'a site that does not exist',
    part: 'sites = ["alpha", "beta", "gamma"]',
    replacement: 'sites = ["alpha", "bta", "gamma"]',
    fault: 'line 24: group.db.sites[1] = "bta": is not a site of this file; did you mean "beta"?',
  },
  {
    kind: 'a site twice',
    part: 'sites = ["alpha", "beta", "gamma"]',
    replacement: 'sites = ["alpha", "beta", "alpha", "gamma"]',
    fault: 'line 24: group.db.sites[2] = "alpha": is named twice: remove one',
  },
  {
    kind: 'an async site outside the group',
    part: 'sites = ["alpha", "beta", "gamma"]',
    replacement: 'sites = ["alpha", "beta"]',
    fault: 'line 25: group.db.async[0] = "gamma": is not among the sites of the group: alpha, beta',
  },
  {
    kind: 'an async site twice',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma", "gamma"]',
    fault: 'line 25: group.db.async[1] = "gamma": is named twice: remove one',
  },
  {
    kind: 'a bitmap-only site outside the group',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nbitmap_only = ["delta"]',
    fault: 'line 26: group.db.bitmap_only[0] = "delta": is not among the sites of the group: alpha, beta, gamma',
  },
  {
    kind: 'a bitmap-only site for which writers are to wait',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nbitmap_only = ["gamma"]\noverflow = { gamma = "stop" }',
    fault:
      'line 27: group.db.overflow.gamma must be "bitmap" for a site that is bitmap_only: no records are held for which writers could wait',
  },
  {
    kind: 'a bounded link to a site outside the group',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nlink_mib_per_second = { delta = 5 }',
    fault: 'line 26: group.db.link_mib_per_second.delta is not among the sites of the group: alpha, beta, gamma',
  },
  {
    kind: 'a link that is bounded to next to nothing',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nlink_mib_per_second = { gamma = 0.1 }',
    fault:
      'line 26: group.db.link_mib_per_second.gamma = 0.1: must be a number from 0.25 to 1048576: what a primary sends that site at most in a second, in MiB',
  },
  {
    kind: 'streams to a site outside the group',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nstreams = { delta = 2 }',
    fault: 'line 26: group.db.streams.delta is not among the sites of the group: alpha, beta, gamma',
  },
  {
    kind: 'more streams than a link may have',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nstreams = { gamma = 9 }',
    fault:
      'line 26: group.db.streams.gamma = 9: must be a whole number from 1 to 8: over how many connections records and images go to that site',
  },
  {
    kind: 'records folded for a site outside the group',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nfold_millis = { delta = 100 }',
    fault: 'line 26: group.db.fold_millis.delta is not among the sites of the group: alpha, beta, gamma',
  },
  {
    kind: 'records folded for longer than far may be behind',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nfold_millis = { gamma = 60001 }',
    fault:
      'line 26: group.db.fold_millis.gamma = 60001: must be a whole number from 0 to 60000: for how many milliseconds records for that site are collected, of which only the newest content travels',
  },
  {
    kind: 'a sidefile in memory at a sync site',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nsidefile = { beta = "memory" }',
    fault:
      'line 26: group.db.sidefile.beta = "memory": must be "disk" for a sync site, which may have to serve what hosts were told is safe: name beta in async, or leave it out',
  },
  {
    kind: 'a sidefile that is neither here nor there',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nsidefile = { gamma = "tape" }',
    fault: 'line 26: group.db.sidefile.gamma = "tape": must be "disk" or "memory": where that site keeps its sidefile',
  },
  {
    kind: 'a sidefile in memory at a site outside the group',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nsidefile = { delta = "memory" }',
    fault: 'line 26: group.db.sidefile.delta is not among the sites of the group: alpha, beta, gamma',
  },
  {
    kind: 'a scan unit that is no power of two',
    part: 'async = ["gamma"]',
    replacement: 'async = ["gamma"]\nscan_unit_mib = 48',
    fault: 'line 26: group.db.scan_unit_mib = 48: must be a power of two, because coarse digests are made of finer ones',
  },
  {
    kind: 'sites that are all async',
    part: 'async = ["gamma"]',
    replacement: 'async = ["alpha", "gamma", "beta"]',
    fault: 'line 25: group.db.async names every site of the group, but none of them could serve by itself: leave one out',
  },
  {
    kind: 'a size with a decimal unit',
    part: 'size = "1GiB"',
    replacement: 'size = "1GB"',
    fault: `line 30: group.db.volume[0].size = "1GB": ${SIZE}`,
  },
  {
    kind: 'a size that is no number',
    part: 'size = 8192',
    replacement: 'size = true',
    fault: `line 34: group.db.volume[1].size = true: ${SIZE}`,
  },
  {
    kind: 'a size that is not whole blocks',
    part: 'size = 8192',
    replacement: 'size = 10000',
    fault: 'line 34: group.db.volume[1].size = 10000: must be a multiple of 4096 bytes: the nearest are 8192 and 12288',
  },
  {
    kind: 'a size of nothing',
    part: 'size = 8192',
    replacement: 'size = "0 GiB"',
    fault: 'line 34: group.db.volume[1].size = "0 GiB": must be at least 4096 bytes, one block',
  },
  {
    kind: 'a size beyond the largest',
    part: 'size = 8192',
    replacement: 'size = "2000TiB"',
    fault: 'line 34: group.db.volume[1].size = "2000TiB": must be at most 1024TiB',
  },
  {
    kind: 'a base for a site outside the group',
    part: 'base = { alpha = "/dev/vg/log", beta = "images/log.img" }',
    replacement: 'base = { delta = "/dev/vg/log" }',
    fault: 'line 35: group.db.volume[1].base.delta = "/dev/vg/log": is for a site that the group does not have: alpha, beta, gamma',
  },
  {
    kind: 'a base of two volumes',
    part: 'size = "1GiB"',
    replacement: 'size = "1GiB"\nbase = { alpha = "/dev/vg/log" }',
    fault:
      'line 36: group.db.volume[1].base.alpha = "/dev/vg/log": is the base of another volume of that site too: give each volume its own',
  },
  {
    kind: 'a volume twice',
    part: 'name = "log"',
    replacement: 'name = "disk0"',
    fault: 'line 33: group.db.volume[1].name = "disk0": is the name of another volume of the group: rename one',
  },
  {
    kind: 'volumes that are not tables',
    part: '[[group.db.volume]]\nname = "disk0"\nsize = "1GiB"\n',
    replacement: '[group.other]\nsites = ["alpha"]\nvolume = [7]\n',
    fault: 'line 30: group.other.volume[0] = 7: must be a table',
  },
  {
    kind: 'heartbeats too rare for the lease',
    part: 'lease_millis = 1800',
    replacement: 'heartbeat_millis = 500',
    fault:
      'line 26: group.db.heartbeat_millis = 500: must be less than a third of lease_millis (1500), so that two lost heartbeats end nothing: at most 499',
  },
  {
    kind: 'a peer timeout shorter than two heartbeats',
    part: 'lease_millis = 1800',
    replacement: 'peer_timeout_millis = 400',
    fault: 'line 26: group.db.peer_timeout_millis = 400: must be at least two heartbeats: 500 or more',
  },
  {
    kind: 'a default that another value makes wrong',
    part: 'lease_millis = 1800',
    replacement: 'lease_millis = 900',
    fault:
      'line 23: group.db.peer_timeout_millis = 1000 (the default): must be at most lease_millis (900): service would stop before a silent peer is excluded',
  },
  {
    kind: 'segments too large for the sidefile',
    part: 'lease_millis = 1800',
    replacement: 'segment_mib = 512',
    fault:
      'line 26: group.db.segment_mib = 512: must be at most a quarter of sidefile_mib (1024), because whole segments are given back: at most 256',
  },
  {
    kind: 'a destage backlog too large for the sidefile',
    part: 'lease_millis = 1800',
    replacement: 'destage_backlog_mib = 513',
    fault: 'line 26: group.db.destage_backlog_mib = 513: must be at most half of sidefile_mib (1024): at most 512',
  },
];

test('what nobody has written fits a small sidefile by itself', () => {
  const [group] = parseConfig(spoilt('lease_millis = 1800', 'sidefile_mib = 128'), 'tercet.toml').groups;
  assert.deepEqual([group?.segmentBytes, group?.destageBacklogBytes], [32 * 1024 * 1024, 64 * 1024 * 1024]);
  const fault =
    'line 27: group.db.segment_mib = 64: must be at most a quarter of sidefile_mib (128), because whole segments are given back: at most 32';
  assert.equal(faultsOf(spoilt('lease_millis = 1800', 'sidefile_mib = 128\nsegment_mib = 64'))[0], fault);
});

for (const { kind, part, replacement, fault } of FAULTS) {
  test(`the configuration is refused for ${kind}`, () => {
    assert.equal(faultsOf(spoilt(part, replacement))[0], fault);
  });
}

test('a scrub is by sha256 and repairs unless the configuration says otherwise', () => {
  const scrubOf = (keys: string): unknown => parseConfig(spoilt('[group.db]', `[group.db]\n${keys}`), FILE).groups[0]?.scrub;
  const week = 7 * 86_400_000;
  assert.deepEqual(scrubOf('scrub = "weekly"'), {
    everyMillis: week,
    algorithm: 'sha256',
    reportOnly: false,
    bytesPerSecond: 0,
    window: null,
  });
  const keys = [
    'scrub = "weekly"',
    'scrub_digest = "sha1"',
    'scrub_repairs = false',
    'scrub_mib_per_second = 3',
    'scrub_window = "22:00-06:30"',
  ];
  assert.deepEqual(scrubOf(keys.join('\n')), {
    everyMillis: week,
    algorithm: 'sha1',
    reportOnly: true,
    bytesPerSecond: 3 * 1024 * 1024,
    window: { fromMinute: 1320, toMinute: 390 },
  });
});

test('a wildcard is refused as an address that others connect to', () => {
  const text = `insecure = true\n${spoilt('link = "127.0.0.1:7411"', 'link = "0.0.0.0:7411"')}`;
  assert.deepEqual(faultsOf(text), [
    'line 14: site.beta.link = "0.0.0.0:7411": must be the address that the other sites connect to, not a wildcard',
  ]);
});

test('insecure = true allows addresses that other machines reach, but not for control', () => {
  const open = SAMPLE.replace('127.0.0.1:10810', '0.0.0.0:10810').replace('127.0.0.1:7400', '10.0.0.9:7400');
  assert.equal(faultsOf(open).length, 2);
  assert.deepEqual(faultsOf(`insecure = true\n${open}`), []);
  const control = open.replace('127.0.0.1:7511', '10.0.0.2:7511');
  assert.equal(faultsOf(`insecure = true\n${control}`).length, 1);
});

test('with certificates links and the witness may be reached from other machines, and hosts in plain text may not', () => {
  const tls = '\n[tls]\nca = "tls/ca.crt"\ncert = "tls/{site}.crt"\nkey = "/keys/{site}.key"\n';
  const open = SAMPLE.replace('127.0.0.1:7411', '10.0.0.2:7411').replace('127.0.0.1:7400', '10.0.0.9:7400');
  assert.equal(faultsOf(open).length, 2);
  assert.match(
    faultsOf(open)[0] ?? '',
    /without \[tls\] nothing is encrypted; add \[tls\] with ca, cert and key, or put "insecure = true"/,
  );
  assert.deepEqual(faultsOf(open + tls), []);
  assert.equal(faultsOf(open.replace('127.0.0.1:10810', '10.0.0.2:10810') + tls).length, 1);
  assert.match(faultsOf(`${open}\n[tls]\nca = "a"\n`).join(), /tls.cert is missing.*tls.key is missing/);
  const config = parseConfig(SAMPLE + tls, FILE);
  assert.deepEqual(tlsFilesOf(config, 'beta'), { ca: '/etc/tercet/tls/ca.crt', cert: '/etc/tercet/tls/beta.crt', key: '/keys/beta.key' });
  assert.equal(tlsFilesOf(parseConfig(SAMPLE, FILE), 'beta'), null);
});

test('hosts may come from other machines where TLS is required of them', () => {
  const tls = '\n[tls]\nca = "tls/ca.crt"\ncert = "tls/{site}.crt"\nkey = "/keys/{site}.key"\n';
  const open = SAMPLE.replace('nbd = ["127.0.0.1:10810"]', 'nbd = ["10.0.0.2:10810"]\nnbd_tls = "required"');
  assert.deepEqual(faultsOf(open + tls), []);
  assert.match(
    faultsOf(open.replace('"required"', '"optional"') + tls).join(),
    /set nbd_tls = "required" for the site, or use a unix socket/,
  );
  assert.match(faultsOf(open).join(), /nbd_tls = "required": needs certificates: add \[tls\]/);
  assert.match(faultsOf(open.replace('"required"', '"yes"') + tls).join(), /nbd_tls = "yes": must be "off", "optional" or "required"/);
  const modes = (text: string): string[] => parseConfig(text, FILE).sites.map((site) => `${site.nbdTls} ${site.nbdClients}`);
  assert.deepEqual(modes(SAMPLE), ['off certificate', 'off certificate', 'off certificate']);
  assert.deepEqual(modes(open + tls), ['optional certificate', 'required certificate', 'optional certificate']);
});

test('sites of different machines may use the same folders and sockets', () => {
  const site = (name: string, host: string): string =>
    `[site.${name}]\ndata = "/var/lib/tercet"\nlink = "${host}:7410"\nnbd = ["unix:/run/nbd.sock"]\ncontrol = "unix:/run/control.sock"\n`;
  const rest = '[witness]\naddress = "10.0.0.9:7400"\n[group.g]\nsites = ["a", "b"]\n[[group.g.volume]]\nname = "v"\nsize = 4096\n';
  assert.deepEqual(faultsOf(`insecure = true\n${site('a', '10.0.0.1')}${site('b', '10.0.0.2')}${rest}`), []);
  assert.equal(faultsOf(`insecure = true\n${site('a', '10.0.0.1')}${site('b', '10.0.0.1')}${rest}`).length, 4);
});

test('all faults are reported at once, in the order of the file', () => {
  const text = SAMPLE.replace('127.0.0.1:7400', 'nonsense')
    .replace('data = "/srv/beta"\n', '')
    .replace('async = ["gamma"]', 'async = ["delta", 3]')
    .replace('lease_millis', 'lease_milis')
    .replace('size = 8192', 'size = 1');
  assert.deepEqual(
    faultsOf(text).map((line) => line.replace(/^line (\d+): (\S+).*$/, '$1 $2')),
    ['3 witness.address', '11 site.beta.data', '24 group.db.async[1]', '25 group.db.lease_milis', '33 group.db.volume[1].size'],
  );
});

test('an empty file lacks everything, and says so', () => {
  assert.deepEqual(
    faultsOf('').map((line) => line.replace(/: it .*$/, '')),
    ['line 1: witness is missing', 'line 1: site is missing', 'line 1: group is missing'],
  );
});

test('a file that cannot be read is named with the reason', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const missing = join(folder, 'none.toml');
  assert.throws(() => loadConfig(missing), {
    code: 'TERCET_CONFIG_UNREADABLE',
    message: `the configuration ${missing} cannot be read (ENOENT): give its path with --config, or make it readable`,
  });
  const large = join(folder, 'large.toml');
  writeFileSync(large, '#'.repeat(1024 * 1024 + 1));
  assert.throws(() => loadConfig(large), { code: 'TERCET_CONFIG_UNREADABLE' });
  const good = join(folder, 'good.toml');
  writeFileSync(good, SAMPLE);
  assert.equal(loadConfig(good).groups.length, 1);
});

test('sites and groups that are not there are refused with those that are', () => {
  const config = parseConfig(SAMPLE, FILE);
  assert.throws(() => siteOf(config, 'delta'), { message: 'there is no site "delta": the configuration has alpha, beta, gamma' });
  assert.throws(() => groupOf(config, 'x'), { message: 'there is no group "x" here: the configuration has db' });
});

test('every example is sound', () => {
  const folder = join(import.meta.dirname, '../../../examples');
  const files = readdirSync(folder).filter((name) => name.endsWith('.toml'));
  assert.ok(files.length >= 2);
  for (const name of files) loadConfig(join(folder, name));
});

test('the reference page has a row for each key, with its default and range', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/reference/config.md'), 'utf8');
  const rows = new Map(
    page
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => line.split('|').map((cell) => cell.trim()))
      .map((cells) => [cells[1]?.replaceAll('`', '') ?? '', cells.slice(2)]),
  );
  const keys = [topShape, tlsShape, witnessShape, siteShape, groupShape, volumeShape].flatMap((shape) => Object.keys(shape));
  const tables = ['tls', 'witness', 'site', 'group', 'volume'];
  assert.deepEqual([...rows.keys()].sort(), keys.filter((key) => !tables.includes(key)).sort());
  for (const [key, option] of Object.entries(groupNumbers)) {
    const cells = rows.get(key) ?? [];
    assert.equal(cells[0], String(option.fallback), `default of ${key}`);
    assert.equal(cells[1], `${option.min} to ${option.max}`, `range of ${key}`);
  }
  for (const [key, option] of Object.entries(siteNumbers)) {
    const cells = rows.get(key) ?? [];
    assert.equal(cells[0], String(option.fallback), `default of ${key}`);
    assert.ok(cells[1]?.startsWith(`${option.min} to ${option.max}: `), `range of ${key}`);
  }
});

test('each volume says what becomes of its requests while nobody may serve', () => {
  const config = parseConfig(
    SAMPLE.replace('lease_millis = 1800', 'lease_millis = 1800\nhold_seconds = 30')
      .replace('size = "1GiB"', 'size = "1GiB"\nfail_after_seconds = 5')
      .replace('size = 8192', 'size = 8192\nunserved = "hold"'),
    '/etc/tercet/tercet.toml',
  );
  assert.deepEqual(
    config.groups[0]?.volumes.map((volume) => volume.holdMillis),
    [5_000, Infinity],
  );
  assert.deepEqual(
    parseConfig(SAMPLE, '/etc/tercet/tercet.toml').groups[0]?.volumes.map((volume) => volume.holdMillis),
    [60_000, 60_000],
  );
  assert.throws(() => parseConfig(SAMPLE.replace('size = 8192', 'size = 8192\nunserved = "wait"'), 'x.toml'), /"fail" or "hold"/);
});
