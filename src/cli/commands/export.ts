// tercet export: a raw image of a volume, as of one moment, out of the copy of a site whose daemon is stopped.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { bytesText } from '../../api/text.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { configFlag, print, readConfig, volumeOf } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
}

/** Changes nothing of the copy. */
export const exportCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Write a volume into a file, as of one moment',
    fullDescription:
      'Reads the copy of a site whose daemon is stopped, and changes nothing of it: stop the daemon of a mirror, export, and start it again; hosts go on meanwhile, ' +
      'and the mirror gets what it has missed. The image is raw and sparse, and holds everything up to the newest record that the site has. It ' +
      'appears under its name when it is whole; a file that is there is never written over. Other forms: qemu-img convert. Exit code 3 when the copy ' +
      'is not whole, or the file cannot be written.',
  },
  parameters: {
    positional: {
      kind: 'tuple',
      parameters: [
        { brief: 'The volume', parse: String, placeholder: 'GROUP/VOLUME' },
        { brief: 'The file to write', parse: String, placeholder: 'FILE' },
      ],
    },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose copy it is, on whose machine this runs', placeholder: 'NAME' },
    },
  },
  async func(this: CliContext, flags: Flags, name: string, file: string) {
    const config = await readConfig(this, flags);
    const { group, volume } = volumeOf(config, name, 'tercet export');
    const site = config.siteOf(flags.site);
    const { exportVolume } = await import('../../daemon/export.ts');
    const interrupted = new AbortController();
    const interrupt = (): void => interrupted.abort();
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.once(signal, interrupt);
    try {
      const made = await exportVolume({ site, group, volume: volume.name }, file, interrupted.signal);
      for (const finding of made.findings) print(this, `the copy at ${site.name}: ${finding}`);
      const time = made.timeMillis === null ? '' : ` of ${new Date(made.timeMillis).toISOString()}`;
      print(
        this,
        `${made.file}: ${name} as of record (${made.epoch}, ${made.seq})${time}; ${bytesText(made.sizeBytes)}, of which ${bytesText(made.dataBytes)} are data`,
      );
    } catch (error) {
      if (!(error instanceof TercetError) || error.code !== 'TERCET_REPLICA_LOCKED') throw error;
      const reason = `the daemon of ${site.name} has the copy open: stop the daemon of a mirror, and export there`;
      throw new TercetError('TERCET_NOT_IN_STATE', { what: `${name} was not exported`, reason }, { cause: error });
    } finally {
      for (const signal of signals) process.off(signal, interrupt);
    }
  },
});
