// `npm run package`: builds what is installed on machines without npm, without a network: a Debian package, a tarball, and one file that unpacks
// itself. Each holds the programs, their libraries and the Node.js that they run on. With --fast they are packed quickly and large: for tests.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

import { VERSION } from '../src/api/program.ts';
import { manualPages } from './package/manual.ts';

const ROOT = join(import.meta.dirname, '..');
const MAINTAINER = 'The Tercet developers <tercet@localhost>';
/** Of the text, not of the build: the same sources give the same package. */
const PACKAGE_DATE = 'Sun, 29 Nov 2026 00:00:00 +0000';
const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' } as const;

/** What libraries bring along beside what runs: their tests, sources of what is compiled, measurements, the ways of their makers; and what is for another libc. */
const UNNEEDED =
  /\/(docs?|tests?|benchmarks?|examples|fixtures|\.[^/]+)$|^\/(test|bench|example|bin|cnoke)\.c?js$|\/CMakeLists\.txt$|\/eslint\.config\.[cm]?js$|\/tsconfig[^/]*$|\/musl_[^/]+$|\.(md|map|html|[cm]?ts|cc|hh|h|S|asm|inc|def)$/;

interface PackageJson {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

function run(command: string, args: readonly string[], cwd: string = ROOT): void {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with exit code ${status}`);
}

function readPackage(folder: string): PackageJson {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageJson;
}

/** Names of all libraries that the programs need, those of the libraries too; Node.js itself is packed by itself. */
function libraries(): readonly string[] {
  const found = new Set<string>();
  const walk = (names: readonly string[]): void => {
    for (const name of names) {
      const folder = join(ROOT, 'node_modules', name);
      // An optional library for another kind of machine is not there.
      if (found.has(name) || !existsSync(folder)) continue;
      found.add(name);
      const { dependencies = {}, optionalDependencies = {} } = readPackage(folder);
      walk([...Object.keys(dependencies), ...Object.keys(optionalDependencies)]);
    }
  };
  walk(Object.keys(readPackage(ROOT).dependencies ?? {}));
  return [...found].sort();
}

/** Puts everything into a folder that looks like /usr: bin, lib/tercet, share. */
function fill(usr: string): void {
  const lib = join(usr, 'lib/tercet');
  mkdirSync(join(lib, 'bin'), { recursive: true });
  run(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-p',
    'tsconfig.build.json',
    '--outDir',
    join(lib, 'dist'),
    '--declaration',
    'false',
  ]);
  cpSync(join(ROOT, 'src/page'), join(lib, 'dist/page'), { recursive: true, filter: (path) => !path.endsWith('.json') });
  for (const name of ['launch.js', 'tercet.js', 'tercetd.js']) cpSync(join(ROOT, 'bin', name), join(lib, 'bin', name));
  cpSync(join(ROOT, 'package.json'), join(lib, 'package.json'));
  cpSync(process.execPath, join(lib, 'bin/node'));
  for (const name of libraries()) {
    const from = join(ROOT, 'node_modules', name);
    const needed = (path: string): boolean => !UNNEEDED.test(path.slice(from.length));
    cpSync(from, join(lib, 'node_modules', name), { recursive: true, filter: needed });
  }
  for (const program of ['tercet', 'tercetd']) {
    const text = readFileSync(join(ROOT, 'packaging/launcher.sh'), 'utf8').replaceAll('PROGRAM', program);
    write(join(usr, 'bin', program), text, 0o755);
  }
  for (const [name, text] of manualPages()) write(join(usr, `share/man/man${name.at(-1)}/${name}.gz`), gzipSync(text, { level: 9 }), 0o644);
  for (const [name, place] of [
    ['tercet.bash', 'share/bash-completion/completions/tercet'],
    ['_tercet', 'share/zsh/vendor-completions/_tercet'],
    ['tercet.fish', 'share/fish/vendor_completions.d/tercet.fish'],
  ] as const)
    write(join(usr, place), readFileSync(join(ROOT, 'packaging/completion', name)), 0o644);
  const doc = join(usr, 'share/doc/tercet');
  for (const name of readdirSync(join(ROOT, 'examples')))
    cpSync(join(ROOT, 'examples', name), join(doc, 'examples', name), { recursive: true });
  for (const name of ['grafana', 'prometheus']) cpSync(join(ROOT, 'packaging', name), join(doc, name), { recursive: true });
  write(join(doc, 'CHANGELOG.md.gz'), packedText('CHANGELOG.md'), 0o644);
  write(join(doc, 'node.LICENSE.gz'), packedText(`node_modules/node-linux-${process.arch}/LICENSE`), 0o644);
  withoutEmpty(lib);
}

/** A text as Debian has them in its packages. */
function packedText(path: string): Uint8Array {
  return gzipSync(readFileSync(join(ROOT, path)), { level: 9 });
}

/** Takes away the folders of which nothing was needed. */
function withoutEmpty(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) withoutEmpty(join(folder, entry.name));
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

function write(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true }).reduce((sum, name) => sum + statSync(join(folder, String(name))).size, 0);
}

function debian(folder: string, usr: string, options: { out: string; fast: boolean; architecture: string }): void {
  const root = join(folder, 'deb');
  mkdirSync(join(root, 'DEBIAN'), { recursive: true });
  cpSync(usr, join(root, 'usr'), { recursive: true });
  for (const name of readdirSync(join(ROOT, 'packaging/systemd')).filter((each) => /\.(service|socket)$/.test(each)))
    write(join(root, 'usr/lib/systemd/system', name), readFileSync(join(ROOT, 'packaging/systemd', name)), 0o644);
  write(join(root, 'etc/default/tercet-witness'), readFileSync(join(ROOT, 'packaging/systemd/tercet-witness.default')), 0o644);
  write(join(root, 'usr/share/doc/tercet/copyright'), readFileSync(join(ROOT, 'packaging/debian/copyright')), 0o644);
  const changes = `tercet (${VERSION}) unstable; urgency=medium\n\n  * What has changed is in CHANGELOG.md.gz.\n\n -- ${MAINTAINER}  ${PACKAGE_DATE}\n`;
  write(join(root, 'usr/share/doc/tercet/changelog.gz'), gzipSync(changes, { level: 9 }), 0o644);
  // Made here, so that whoever writes a configuration does not have to think of it.
  mkdirSync(join(root, 'etc/tercet'), { recursive: true });
  for (const name of ['postinst', 'prerm', 'postrm', 'conffiles'])
    write(join(root, 'DEBIAN', name), readFileSync(join(ROOT, 'packaging/debian', name)), name === 'conffiles' ? 0o644 : 0o755);
  const control = [
    'Package: tercet',
    `Version: ${VERSION}`,
    `Architecture: ${options.architecture}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${Math.ceil(sizeOf(root) / 1024)}`,
    'Depends: libc6 (>= 2.28), libstdc++6 (>= 9), passwd',
    'Suggests: nbd-client, qemu-utils',
    'Section: admin',
    'Priority: optional',
    'Description: block volumes mirrored over three sites',
    ' Hosts use the volumes over NBD. Each write is held by a second site before it',
    ' is answered, a third one follows in order, and a small witness remembers who',
    ' may serve. Node.js is included.',
  ];
  write(join(root, 'DEBIAN/control'), `${control.join('\n')}\n`, 0o644);
  const packed = options.fast ? ['-Zgzip', '-z1'] : ['-Zxz', '-z6'];
  run('dpkg-deb', ['--root-owner-group', ...packed, '--build', root, join(options.out, `tercet_${VERSION}_${options.architecture}.deb`)]);
}

function tarball(folder: string, usr: string, options: { out: string; fast: boolean }): void {
  const name = `tercet-${VERSION}-linux-${process.arch}`;
  const tree = join(folder, name);
  cpSync(usr, tree, { recursive: true });
  cpSync(join(ROOT, 'packaging/systemd'), join(tree, 'share/doc/tercet/systemd'), { recursive: true });
  const file = join(options.out, `${name}.tar.gz`);
  run('tar', [
    '--sort=name',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '-I',
    options.fast ? 'gzip -1' : 'gzip -9',
    '-cf',
    file,
    '-C',
    folder,
    name,
  ]);
  const archive = readFileSync(file);
  const digest = createHash('sha256').update(archive).digest('hex').slice(0, 16);
  const script = readFileSync(join(ROOT, 'packaging/self-extract.sh'), 'utf8').replace('DIGEST', digest);
  const head = script.replace('LINES', String(script.split('\n').length));
  write(join(options.out, `${name}.run`), Buffer.concat([Buffer.from(head), archive]), 0o755);
}

function main(): void {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(ROOT, 'dist/packages') },
      fast: { type: 'boolean', default: false },
      only: { type: 'string' },
    },
  });
  const architecture = ARCHITECTURES[process.arch as keyof typeof ARCHITECTURES] as string | undefined;
  if (architecture === undefined) throw new Error(`there are no packages for ${process.arch}`);
  const folder = mkdtempSync(join(tmpdir(), 'tercet-package-'));
  try {
    mkdirSync(values.out, { recursive: true });
    const usr = join(folder, 'usr');
    fill(usr);
    if (values.only !== 'tarball') debian(folder, usr, { ...values, architecture });
    if (values.only !== 'deb') tarball(folder, usr, values);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const name of readdirSync(values.out))
    console.log(`${join(values.out, name)}  ${(statSync(join(values.out, name)).size / 1024 / 1024).toFixed(1)} MiB`);
}

main();
