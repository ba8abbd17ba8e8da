// Foreign clients judge the NBD server of a running cluster: qemu-img, qemu-io, nbdcopy, nbdinfo, nbdsh, fio with verification. What they write
// is on all three copies in the end.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { mustRun, runTool } from '../../demo/tools.ts';
import type { TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';

/** An image with data, holes and unaligned edges; as large as the volume. */
function makeImage(test: TestCluster, name: string): string {
  const path = join(test.layout.folder, name);
  writeFileSync(path, '');
  truncateSync(path, test.layout.sizeBytes);
  const bytes = randomBytes(5 * MIB + 123);
  writeFileSync(path, bytes, { flag: 'r+' });
  truncateSync(path, test.layout.sizeBytes);
  return path;
}

/** Runs Debian's own nbdsh: the Python that is first in PATH may be another, which does not have Debian's modules. */
function nbdsh(args: readonly string[]): Promise<string> {
  return mustRun('/usr/bin/python3', ['-m', 'nbd', ...args]);
}

test('qemu-img and nbdcopy copy images in and out over TCP and unix sockets', async () => {
  await withCluster({}, async (test) => {
    const image = makeImage(test, 'image.raw');
    const tcp = test.uri('alpha', 'tcp');
    const unix = test.uri('alpha', 'unix');
    const back = join(test.layout.folder, 'back.raw');

    await mustRun('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image, tcp]);
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', image, unix]);
    await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', unix, back]);
    assert.ok(readFileSync(image).equals(readFileSync(back)), 'what qemu-img reads is what it wrote');
    assert.ok(statSync(back).blocks * 512 < 16 * MIB, 'holes stay holes');

    const other = makeImage(test, 'other.raw');
    await mustRun('nbdcopy', ['--flush', other, unix]);
    await mustRun('nbdcopy', [tcp, back]);
    assert.ok(readFileSync(other).equals(readFileSync(back)), 'what nbdcopy reads is what it wrote');
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', other, tcp]);
    await test.compareCopies();
    assert.ok(readFileSync(other).equals(readFileSync(join(test.member('gamma').layout.data, 'demo', 'base-disk0.img'))), 'far has it too');
  });
});

test('nbdinfo sees the export, its size, what it can do and where its holes are; and other sites pass their hosts on to it', async () => {
  await withCluster({ group: { lease_millis: 6000, peer_timeout_millis: 5000 } }, async (test) => {
    const uri = test.uri('alpha');
    const info = JSON.parse(await mustRun('nbdinfo', ['--json', uri])) as { exports: Record<string, unknown>[] };
    const [found] = info.exports;
    assert.ok(found, 'there is an export');
    assert.equal(found['export-name'], 'demo/disk0');
    assert.equal(found['export-size'], test.layout.sizeBytes);
    for (const able of ['can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn']) assert.equal(found[able], true, able);
    const dirty = ['alpha', 'beta', 'gamma'].map((site) => `x-tercet:dirty:${site}`);
    assert.deepEqual(found['contexts'], ['base:allocation', ...dirty]);
    const list = await mustRun('nbdinfo', ['--list', `nbd://${test.member('alpha').layout.nbd.text}`]);
    assert.match(list, /demo\/disk0/);

    await nbdsh(['-u', uri, '-c', `h.pwrite(b"x" * 65536, 1024 * 1024)`, '-c', 'h.flush()']);
    const map = JSON.parse(await mustRun('nbdinfo', ['--map', '--json', uri])) as { offset: number; length: number; type: number }[];
    assert.deepEqual(
      map.map(({ offset, length, type }) => [offset, length, type]),
      [
        [0, MIB, 3],
        [MIB, 65536, 0],
        [MIB + 65536, test.layout.sizeBytes - MIB - 65536, 3],
      ],
    );

    for (const site of ['beta', 'gamma'] as const) {
      // Any address works: the connection is passed on.
      assert.match(await mustRun('nbdinfo', ['--list', `nbd://${test.member(site).layout.nbd.text}`]), /demo\/disk0/);
      const passed = JSON.parse(await mustRun('nbdinfo', ['--map', '--json', test.uri(site)])) as unknown[];
      assert.deepEqual(passed, map);
      await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 9 2M 64k', '-c', 'flush', '-c', 'read -P 9 2M 64k', test.uri(site, 'unix')]);
      await nbdsh(['-u', uri, '-c', `assert h.pread(65536, 2 * 1024 * 1024) == b"\\x09" * 65536`, '-c', 'h.trim(65536, 2 * 1024 * 1024)']);
      // Unless it is asked for at this very site.
      const refused = await runTool('qemu-img', ['info', `${test.uri(site)}@direct`]);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /served by alpha/);
    }
    const image = makeImage(test, 'passed.raw');
    await mustRun('nbdcopy', ['--flush', image, test.uri('gamma')]);
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', image, test.uri('beta')]);
    assert.notEqual((await runTool('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', `${test.uri('beta')}@ro`])).code, 0);
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 4k', `${test.uri('beta')}@ro`]);
    const unknown = await runTool('nbdinfo', [uri.replace('disk0', 'nosuch')]);
    assert.notEqual(unknown.code, 0);
    assert.match(unknown.stderr, /demo\/nosuch/);
  });
});

test('single bytes, zeroes, trims and FUA at any place are right', async () => {
  await withCluster({}, async (test) => {
    const script = [
      'import random',
      'random.seed(7)',
      'size = h.get_size()',
      'model = bytearray(1 << 20)',
      'base = size - len(model)',
      'for i in range(400):',
      '    at = random.randrange(len(model)); n = min(random.choice([1, 3, 511, 512, 4095, 4096, 4097, 20000]), len(model) - at)',
      '    what = random.randrange(5)',
      '    if what < 3:',
      '        data = random.randbytes(n); model[at:at+n] = data',
      '        h.pwrite(data, base + at, nbd.CMD_FLAG_FUA if what == 2 else 0)',
      '    elif what == 3:',
      '        model[at:at+n] = bytes(n); h.zero(n, base + at, nbd.CMD_FLAG_NO_HOLE if i % 2 else 0)',
      '    else:',
      // What a trim leaves is not promised to the byte: only whole blocks are given up, and edges stay.
      '        first = (at + 4095) // 4096 * 4096; last = (at + n) // 4096 * 4096',
      '        h.trim(n, base + at)',
      '        if first < last: model[first:last] = h.pread(last - first, base + first)',
      '    if i % 40 == 0: h.flush()',
      '    at = random.randrange(len(model)); n = min(random.randrange(1, 9000), len(model) - at)',
      '    assert h.pread(n, base + at) == model[at:at+n], (i, at, n)',
      'assert h.pread(len(model), base) == model',
      'for bad in (lambda: h.pread(1, size), lambda: h.pwrite(b"x" * 2, size - 1), lambda: h.trim(4096, size)):',
      '    try: bad()',
      '    except nbd.Error: pass',
      '    else: raise AssertionError("a request out of range was taken")',
      'assert h.pread(len(model), base) == model',
    ].join('\n');
    const file = join(test.layout.folder, 'script.py');
    writeFileSync(file, script);
    // Strictness off: the server is to be asked what the library would refuse by itself.
    await nbdsh(['-u', test.uri('alpha'), '-c', 'h.set_strict_mode(0)', '-c', `exec(open(${JSON.stringify(file)}).read())`]);
    await mustRun('qemu-io', [
      '-f',
      'raw',
      '-c',
      'write -P 7 512 1536',
      '-c',
      'write -z -u 1M 64k',
      '-c',
      'discard 2M 64k',
      '-c',
      'read -P 7 512 1536',
      test.uri('alpha', 'unix'),
    ]);
    await test.compareCopies();
  });
});

test('fio finds every block that it wrote, random and mixed, with several connections', async () => {
  await withCluster({}, async (test) => {
    const common = [
      '--ioengine=nbd',
      `--uri=${test.uri('alpha', 'unix')}`,
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_state_save=0',
      '--output-format=terse',
      '--minimal',
    ];
    await mustRun('fio', ['--name=random', '--rw=randwrite', '--bs=4k', '--size=32m', '--iodepth=32', ...common]);
    await mustRun('fio', [
      '--name=sizes',
      '--rw=randwrite',
      '--bsrange=512-128k',
      '--bs_unaligned=0',
      '--offset=32m',
      '--size=24m',
      '--iodepth=8',
      ...common,
    ]);
    await mustRun('fio', [
      '--name=mixed',
      '--rw=randrw',
      '--bs=4k',
      '--size=8m',
      '--numjobs=3',
      '--offset_increment=8m',
      '--fsync=16',
      '--iodepth=4',
      '--thread',
      ...common,
    ]);
    await test.compareCopies();
  });
});
