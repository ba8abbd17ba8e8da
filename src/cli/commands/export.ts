// tercet export: a raw image of a volume, as of one moment, out of the copy of a site, whose daemon runs or is stopped.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { bytesText } from '../../api/text.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig, volumeOf } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
}

/** Changes nothing of the copy. */
export const exportCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Write a volume into a file, as of one moment',
    fullDescription:
      'The daemon of the site sends the volume as of one record, while hosts go on; a mirror does so without their noticing. Where it does not run, its copy on ' +
      'this machine is read as of the newest record, and nothing of it is changed. The image is raw and sparse, and appears under its name when it is whole; a ' +
      'file that is there is never written over. Other forms: qemu-img convert. Exit code 3 when there is no image as of one moment, or the file cannot be ' +
      'written.',
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
      site: { kind: 'parsed', parse: String, brief: 'The site whose copy it is', placeholder: 'NAME' },
    },
  },
  async func(this: CliContext, flags: Flags, name: string, file: string) {
    const config = await readConfig(this, flags);
    const { group, volume } = volumeOf(config, name, 'tercet export');
    const source = { site: config.siteOf(flags.site), group, volume: volume.name };
    const { exportStopped, hasCopy, writeImage } = await import('../../daemon/export.ts');
    const interrupted = new AbortController();
    const { signal } = interrupted;
    const interrupt = (): void => interrupted.abort();
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const each of signals) process.once(each, interrupt);
    const fromDaemon = async (): ReturnType<typeof writeImage> => {
      const client = await clientOf(config, flags.site);
      return writeImage(name, file, () => client.image(group.name, volume.name), signal);
    };
    const found = (text: string): void => print(this, `the copy at ${flags.site}: ${text}`);
    try {
      const made = hasCopy(source)
        ? await exportStopped(source, file, { signal, found }).catch((error: unknown) => {
            if (error instanceof TercetError && error.code === 'TERCET_REPLICA_LOCKED') return fromDaemon();
            throw error;
          })
        : await fromDaemon();
      const time = made.timeMillis === null ? '' : ` of ${new Date(made.timeMillis).toISOString()}`;
      print(
        this,
        `${made.file}: ${name} as of record (${made.epoch}, ${made.seq})${time}; ${bytesText(made.sizeBytes)}, of which ${bytesText(made.dataBytes)} are data`,
      );
    } finally {
      for (const each of signals) process.off(each, interrupt);
    }
  },
});
